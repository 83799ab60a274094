"""A SAM template with its translation to CloudFormation, and queries for the checks."""

import copy
import logging
import os
import re

os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")

from samtranslator.translator.transform import transform  # noqa: E402: reads the region when it is imported
from samtranslator.yaml_helper import yaml_parse  # noqa: E402


# Hide its warning that it could not send usage metrics.
logging.getLogger("samtranslator").setLevel(logging.ERROR)


class NoManagedPolicies:
    """AWS's managed policies by name, which the translator requires. Our policies are inline, so there are none."""

    def load(self):
        return {}


class Template:
    """`source`: the SAM template; `resources`: the resources for CloudFormation."""

    def __init__(self, source):
        self.source = source
        packaged = copy.deepcopy(source)
        for resource in packaged["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                # As `sam package` does: CloudFormation only accepts code in S3.
                resource["Properties"]["CodeUri"] = "s3://artifacts/" + resource["Properties"]["CodeUri"]
        self.translated = transform(packaged, {}, NoManagedPolicies())
        self.resources = self.translated["Resources"]

    @staticmethod
    def read(path):
        return Template(yaml_parse(path.read_text()))

    def mutated(self, change):
        """The same template after `change` edited its source."""
        source = copy.deepcopy(self.source)
        change(source)
        return Template(source)

    def of(self, kind):
        """Logical id and properties of every resource of a type, `Lambda::Function`."""
        return [(name, r["Properties"]) for name, r in self.resources.items() if r["Type"] == "AWS::" + kind]

    def default(self, value):
        """The literal, or the default of the referenced parameter."""
        if isinstance(value, dict) and set(value) == {"Ref"}:
            return self.source["Parameters"].get(value["Ref"], {}).get("Default")
        return value

    def statements(self):
        """(owner, statement) of every identity policy: inline in a role, or one of our managed policies."""
        for name, role in self.of("IAM::Role"):
            for policy in role.get("Policies", []):
                for statement in policy["PolicyDocument"]["Statement"]:
                    yield name, statement
        for name, policy in self.of("IAM::ManagedPolicy"):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement

    def routes(self):
        """(path, method) → (integration's name, authorizer or None, condition or None) of every route of the HTTP API."""
        routes = {}
        for _, api in self.of("ApiGatewayV2::Api"):
            for path, item in api["Body"]["paths"].items():
                condition, operations = under_condition(item)
                for method, operation in operations.items():
                    if method != "parameters":
                        schemes = [scheme for each in operation.get("security", []) for scheme in each]
                        name = operation["x-amazon-apigateway-integration"]["$ref"].rsplit("/", 1)[1]
                        routes[path, method] = (name, schemes[0] if schemes else None, condition)
        return routes

    def integrations(self):
        """Name → logical id of the function, of what the HTTP API's routes lead to."""
        bodies = (api["Body"] for _, api in self.of("ApiGatewayV2::Api"))
        return {name: target(each["uri"]) for body in bodies for name, each in body["components"]["x-amazon-apigateway-integrations"].items()}

    def role_of(self, function):
        """Logical id of the role of the function with this logical id."""
        return target(self.resources[function]["Properties"]["Role"])

    def allowed(self, function):
        """(action, logical id of the resource or None) pairs that a function's own role allows."""
        role = self.role_of(function)
        for owner, statement in self.statements():
            if owner == role and statement["Effect"] == "Allow":
                for action in listed(statement["Action"]):
                    for resource in listed(statement["Resource"]):
                        yield action, target(resource)


def under_condition(value):
    """The condition and the value under it; None and the value itself if it is unconditional."""
    if isinstance(value, dict) and "Fn::If" in value:
        return value["Fn::If"][0], value["Fn::If"][1]
    return None, value


def listed(value):
    return value if isinstance(value, list) else [value]


def text(value):
    """The text of a literal or of an Fn::Sub, with its placeholders; empty for any other reference."""
    if isinstance(value, dict):
        value = value.get("Fn::Sub", "")
    return value if isinstance(value, str) else ""


def target(value):
    """The logical id that a Ref, GetAtt or Sub leads to; None for a literal or a pseudo parameter."""
    if isinstance(value, dict):
        if "Ref" in value:
            return value["Ref"]
        if "Fn::GetAtt" in value:
            attribute = value["Fn::GetAtt"]
            return attribute.split(".")[0] if isinstance(attribute, str) else attribute[0]
        found = re.search(r"\$\{([A-Za-z0-9]+)(\.|\})", text(value))
        return found.group(1) if found else None
    return None
