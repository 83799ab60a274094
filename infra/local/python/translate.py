"""Translates template.yaml (SAM, on stdin or by path) to plain CloudFormation for the local cloud, as JSON on stdout.

    translate.py TEMPLATE BUCKET [PARAMETER=VALUE ...]

Four differences from a deployment on AWS:
1. SAM is translated here, by AWS's own translator: the local cloud accepts the raw file but gives the API no routes.
2. A function's `CodeUri: target/lambda/<name>/` becomes `s3://BUCKET/<name>.zip`, to which the caller uploads it.
3. The translator writes an HTTP API's routes into an OpenAPI `Body`, which the local cloud ignores silently.
   Each operation of the Body becomes the Route that API Gateway would create, each integration that several share an
   Integration, each OpenID Connect security scheme an Authorizer, and a part of the Body under a condition becomes a
   resource with that condition.
4. CloudFormation converts a parameter's text to a number where a property requires one. The local cloud compares the
   text of `MaximumConcurrency` with a number, and then polls no queue.
"""

import json
import os
import re
import sys

# The translator asks botocore for the region while it loads; no call leaves this process.
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.public.exceptions import InvalidDocumentException
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


class Policies:
    """Managed policies by name. They cannot be looked up outside AWS, and template.yaml names none."""

    def load(self):
        return {}


# The local cloud lets everybody do everything anyway, and backs nothing up.
UNKNOWN = {"AWS::Events::EventBusPolicy", "AWS::Backup::BackupSelection"}
ALARM = "AWS::CloudWatch::Alarm"
INTEGRATIONS = "x-amazon-apigateway-integrations"


def without_unknown(template):
    """Without the resources that the local cloud refuses, and that nothing refers to: also alarms on the sum of metrics."""
    refused = [name for name, r in template["Resources"].items() if r["Type"] in UNKNOWN or (r["Type"] == ALARM and "Metrics" in r["Properties"])]
    for name in refused:
        del template["Resources"][name]


def code_from_bucket(template, bucket):
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        properties = resource["Properties"]
        uri = properties.get("CodeUri", template.get("Globals", {}).get("Function", {}).get("CodeUri"))
        if not isinstance(uri, str):
            sys.exit(f"{name}: CodeUri has to be a folder (target/lambda/<function>/), not {uri!r}")
        properties["CodeUri"] = f"s3://{bucket}/{os.path.basename(uri.rstrip('/'))}.zip"


def routes_from_body(template):
    resources = template["Resources"]
    for api, resource in list(resources.items()):
        if resource["Type"] != "AWS::ApiGatewayV2::Api" or "Body" not in resource["Properties"]:
            continue
        properties = resource["Properties"]
        body = properties.pop("Body")
        components = body.get("components", {})
        schemes = authorizers(resources, api, components.get("securitySchemes", {}))
        title = body.get("info", {}).get("title")
        properties.setdefault("Name", title if title else api)
        properties.setdefault("ProtocolType", "HTTP")
        for name, each in components.get(INTEGRATIONS, {}).items():
            integration(resources, api, name, each, {})
        for path, item in body["paths"].items():
            only_if, item = under_condition(item)
            for method, operation in item.items():
                if method == "parameters":
                    continue
                needed = [scheme for each in operation.get("security", []) for scheme in each]
                if len(needed) > 1:
                    sys.exit(f"{api}: {path} asks for {needed}: the local cloud takes one authorizer a route")
                authorization = schemes[needed[0]] if needed else {}
                leads = operation["x-amazon-apigateway-integration"]
                shared = leads.get("$ref", "").removeprefix(f"#/components/{INTEGRATIONS}/")
                name = re.sub(r"\W|_", "", f"{verb(method)}{path}")  # the same in an update
                if not shared:
                    integration(resources, api, name, leads, only_if)
                route(resources, api, name, f"{verb(method)} {path}", shared or name, authorization, only_if)


def under_condition(value):
    """The condition (none if there is none) and the value under it; SAM and CloudFormation write it as `Fn::If`."""
    if not isinstance(value, dict) or "Fn::If" not in value:
        return {}, value
    name, there, otherwise = value["Fn::If"]
    if otherwise != {"Ref": "AWS::NoValue"}:
        sys.exit(f"a part of the API is one thing or another under {name}: the local cloud takes it or leaves it")
    return {"Condition": name}, there


def authorizers(resources, api, schemes):
    """A Route's authorization properties, by the name of the security scheme."""
    said = {}
    for name, scheme in schemes.items():
        only_if, scheme = under_condition(scheme)
        if scheme.get("x-amazon-apigateway-authtype") == "awsSigv4":
            said[name] = {"AuthorizationType": "AWS_IAM"}
            continue
        authorizer = scheme["x-amazon-apigateway-authorizer"]
        if authorizer["type"] != "jwt":
            sys.exit(f"{api}: the authorizer {name} is not carried over to the local cloud: its routes would be open there")
        jwt = authorizer["jwtConfiguration"]
        resources[f"{api}Authorizer{name}"] = {
            **only_if,
            "Type": "AWS::ApiGatewayV2::Authorizer",
            "Properties": {
                "ApiId": {"Ref": api},
                "AuthorizerType": "JWT",
                "IdentitySource": [authorizer["identitySource"]],
                "JwtConfiguration": {"Audience": jwt["audience"], "Issuer": jwt["issuer"]},
                "Name": name,
            },
        }
        said[name] = {"AuthorizationType": "JWT", "AuthorizerId": {"Ref": f"{api}Authorizer{name}"}}
    return said


def integration(resources, api, name, said, only_if):
    resources[f"{api}Integration{name}"] = {
        **only_if,
        "Type": "AWS::ApiGatewayV2::Integration",
        "Properties": {
            "ApiId": {"Ref": api},
            "IntegrationType": said["type"].upper(),
            "IntegrationMethod": said["httpMethod"],
            "IntegrationUri": said["uri"],
            "PayloadFormatVersion": said["payloadFormatVersion"],
        },
    }


def verb(method):
    return "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()


def route(resources, api, name, key, leads, authorization, only_if):
    if f"{api}Route{name}" in resources:
        sys.exit(f"{api}: {key} and another route have one name")
    resources[f"{api}Route{name}"] = {
        **only_if,
        "Type": "AWS::ApiGatewayV2::Route",
        "Properties": {
            "ApiId": {"Ref": api},
            "RouteKey": "$default" if key.endswith("$default") else key,
            "Target": {"Fn::Join": ["/", ["integrations", {"Ref": f"{api}Integration{leads}"}]]},
            **authorization,
        },
    }


def concurrency_as_number(template, values):
    for resource in template["Resources"].values():
        scaling = resource.get("Properties", {}).get("ScalingConfig", {})
        most = scaling.get("MaximumConcurrency")
        if isinstance(most, dict):
            name = most["Ref"]
            scaling["MaximumConcurrency"] = int(values.get(name, template["Parameters"][name].get("Default")))


def main(path, bucket, *parameters):
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    code_from_bucket(template, bucket)
    values = dict(pair.split("=", 1) for pair in parameters)
    try:
        plain = transform(template, values, Policies())
    except InvalidDocumentException as refused:
        sys.exit(f"{path} is not valid SAM: {refused.message} " + " ".join(cause.message for cause in refused.causes))
    without_unknown(plain)
    routes_from_body(plain)
    concurrency_as_number(plain, values)
    json.dump(plain, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
