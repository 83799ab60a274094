"""Asks every route of the API's description, by a seed; prints schemathesis' report, and in the last line how many routes."""

import json
import os
import subprocess
import sys
import tempfile

url, certificate = sys.argv[1:]
given = json.load(sys.stdin)
here = os.path.dirname(os.path.abspath(__file__))
with tempfile.TemporaryDirectory() as folder:
    report = os.path.join(folder, "report.json")
    command = [
        *(sys.executable, "-I", "-B", "-c", "from schemathesis.cli import schemathesis; schemathesis()", "--config-file", os.path.join(here, "schemathesis.toml")),
        *("run", given["document"], "--url", url, "--tls-verify", certificate, "--seed", str(given["seed"]), "--no-color"),
        *("--header", f"Authorization: Bearer {given['token']}", "--report", "json", "--report-json-path", report),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    print(done.stdout, done.stderr)
    if done.returncode:
        sys.exit(done.returncode)
    with open(report, encoding="utf-8") as file:
        print(json.dumps(json.load(file)["operations"]))
