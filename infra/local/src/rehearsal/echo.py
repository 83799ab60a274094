#!/usr/bin/env python3
import json, os, urllib.request

runtime = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
print("an echo runs", flush=True)
while True:
    with urllib.request.urlopen(f"{runtime}/next") as invocation:
        request, event = invocation.headers["Lambda-Runtime-Aws-Request-Id"], json.load(invocation)
    answer = {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
    urllib.request.urlopen(f"{runtime}/{request}/response", json.dumps(answer).encode())
