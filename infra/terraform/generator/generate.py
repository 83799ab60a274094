#!/usr/bin/env python3
"""Writes the module's .tf files from template.yaml: `python3 infra/terraform/generator/generate.py`

tests/template/check.py compares the files with the template, so run this after each change of template.yaml."""

import copy
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULE = HERE.parent
ROOT = MODULE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "template")]

from expressions import Expressions, Unknown, condition_name, intrinsic, snake, terraform_type  # noqa: E402
from hcl import Block, Call, Choice, Raw, Under, document, quoted  # noqa: E402
from kinds import KINDS  # noqa: E402
from shapes import ordered, shaped, whole  # noqa: E402

HEADING = "Made from template.yaml, which says why each value is what it is. Do not edit: see generator/generate.py."
# Where a resource goes that belongs to no function.
FILES = {
    "ApiGatewayV2": "api",
    "Backup": "backups",
    "CloudFront": "edge",
    "CloudWatch": "alarms",
    "DynamoDB": "tables",
    "EC2": "network",
    "Events": "events",
    "IAM": "policies",
    "KMS": "keys",
    "Lambda": "code_signing",
    "Logs": "api",
    "SNS": "alarms",
    "SQS": "queues",
}
# The order within a file.
ORDER = ["Function", "Role", "LogGroup", "EventInvokeConfig", "EventSourceMapping", "Rule", "Api", "Stage", "Alarm", "Permission"]
RETAINED = ("Retain", "RetainExceptOnCreate")


class At:
    """The resource that is being written, or read back from `state`: Terraform type → label → instances, each with its attributes."""

    def __init__(self, module, name, state=None):
        resource = module.resources[name]
        self.module, self.id, self.properties = module, name, resource.get("Properties", {})
        self.kind, self.condition = module.known[name]
        self.within = self.condition
        self.label = snake(name)
        self.address = f"{self.kind.type}.{self.label}{'[0]' if self.condition else ''}"
        self.snake, self.last, self.blocks, self.state = snake, [], [], state
        self.instances = (state or {}).get(self.kind.type, {}).get(self.label, [])

    def under(self, condition):
        other = copy.copy(self)
        other.within = condition or self.within
        return other

    def value(self, value, document=False):
        return self.module.x.value(value, self.within, document)

    def count(self):
        return [("count", Choice(condition_name(self.within), 1, 0))] if self.within else []

    def resource(self, kind, label, body):
        """Another one, for a part of this resource."""
        self.blocks.append(Block("resource", [kind, label], [*self.count(), *body]))  # of the same list for each `under`

    def children(self, kind):
        found = self.state.get(kind, {}) if self.state else {}
        ours = sorted(label for label in found if label == self.label or label.startswith(self.label + "_"))
        return [instance for label in ours for instance in found[label]]

    def policies_of(self, role):
        """Addresses of everything that says what a role may do."""
        other = At(self.module, role)
        other.written()
        return [f"{block.labels[0]}.{block.labels[1]}" for block in other.blocks]

    def written(self):
        """The resource itself, and those for parts of it."""
        kind, body = self.kind, self.count()
        given = shaped(self.properties, kind.given, self, self.module.resources[self.id]["Type"])
        if kind.name and kind.name not in [entry[0] for entry in given if isinstance(entry, tuple)]:
            body.append((kind.name, self.made_up()))
        body += [*given, *kind.always, *([("tags", Raw("var.tags"))] if kind.tagged else [])]
        body = [*ordered(body), *self.last]
        if self.module.resources[self.id].get("DeletionPolicy") in RETAINED:
            body.append(Block("lifecycle", [], [("prevent_destroy", True)]))
        return [Block("resource", [kind.type, self.label], body), *self.blocks]

    def made_up(self):
        """A name where CloudFormation makes one up."""
        if self.kind.name == "statement_id":
            return self.id
        if self.kind.type == "aws_apigatewayv2_api":
            return Raw("var.name")
        dashed = self.label.replace("_", "-")
        return Raw(f'"${{var.name}}-${{local.region}}-{dashed}"' if self.kind.of_account else f'"${{var.name}}-{dashed}"')


class Module:
    def __init__(self, template):
        self.template = template
        self.resources = template["Resources"]
        unknown = sorted({each["Type"] for each in self.resources.values()} - set(KINDS))
        if unknown:
            raise Unknown(f"no Terraform resource is known for {', '.join(unknown)}: add it to infra/terraform/generator/kinds.py")
        self.known = {name: (KINDS[each["Type"]], each.get("Condition")) for name, each in self.resources.items()}
        self.x = Expressions(template, self.known)

    def files(self):
        """Name → text."""
        by_file = {}
        last = len(ORDER)
        kinds = {name: each["Type"].split("::")[2] for name, each in self.resources.items()}
        for name in sorted(self.resources, key=lambda each: ORDER.index(kinds[each]) if kinds[each] in ORDER else last):
            by_file.setdefault(self.file_of(name), []).extend(At(self, name).written())
        files = {f"{name}.tf": document(HEADING, blocks) for name, blocks in by_file.items()}
        files["main.tf"] = document(HEADING, self.main())
        files["variables.tf"] = document(HEADING, self.variables())
        files["outputs.tf"] = document(HEADING, self.outputs())
        return files

    def functions(self):
        return [name for name, each in self.resources.items() if each["Type"] == "AWS::Lambda::Function"]

    def file_of(self, name):
        """A function's own for what belongs to it."""
        functions = self.functions()
        properties = self.resources[name].get("Properties", {})
        refers = {name, *references([properties.get(key, {}) for key in ("FunctionName", "Targets", "Dimensions")])}
        for function in functions:
            its = self.resources[function]["Properties"]
            used = [intrinsic(its["Role"])[1][0], intrinsic(its["LoggingConfig"]["LogGroup"])[1]]
            logs = (intrinsic(properties.get("LogGroupName")) or (0, 0))[1]
            if function in refers or name in used or logs in used:
                return snake(function)
        return FILES[self.resources[name]["Type"].split("::")[1]]

    def main(self):
        fixed = {
            "account_id": "data.aws_caller_identity.current.account_id",
            "partition": "data.aws_partition.current.partition",
            # `name` until version 5 of the provider, `region` from 6 on; `id` in both.
            "region": "data.aws_region.current.id",
            "url_suffix": "data.aws_partition.current.dns_suffix",
        }
        conditions = [(snake(name), Raw(self.x.condition(each))) for name, each in self.template["Conditions"].items()]
        provider = Block("required_providers", [], [("aws", {"source": "hashicorp/aws", "version": ">= 5.100"})])
        return [
            # 1.9: a variable's validation may refer to other variables.
            Block("terraform", [], [("required_version", ">= 1.9"), provider]),
            Block("data", ["aws_caller_identity", "current"]),
            Block("data", ["aws_partition", "current"]),
            Block("data", ["aws_region", "current"]),
            Block("locals", [], [(name, Raw(each)) for name, each in fixed.items()]),
            Block("locals", [], conditions, before="Conditions of template.yaml."),
        ]

    def variables(self):
        own = [
            ("name", "string", "rootcast", "Name of the installation, with which every name begins: the stack's name in the documentation.", [
                (Raw('can(regex("^[A-Za-z][A-Za-z0-9-]{0,27}$", var.name))'), "name must begin with a letter, and have at most 28 letters, digits and dashes."),
            ]),
            ("packages", "string", None, "Folder that `cargo lambda build --release --arm64 --output-format zip` wrote (target/lambda): NAME/bootstrap.zip for each function.", []),
            ("tags", "map(string)", {}, "Tags of every resource.", []),
        ]
        parameters = [
            (snake(name), terraform_type(each), default_of(each), self.words(each["Description"]), validations(snake(name), each))
            for name, each in self.template["Parameters"].items()
        ]
        rules = self.rules()
        return [variable(name, kind, default, text, [*checks, *rules.get(name, [])]) for name, kind, default, text, checks in own + parameters]

    def rules(self):
        """Rules of the template, as validations of the first variable that they name."""
        found = {}
        for rule in self.template.get("Rules", {}).values():
            asked = self.x.condition(rule["RuleCondition"]) if "RuleCondition" in rule else "true"
            name = next(references(rule))
            for each in rule["Assertions"]:
                then = self.x.condition(each["Assert"])
                message = self.words(each["AssertDescription"]).rstrip(".") + "."
                found.setdefault(snake(name), []).append((Raw(f"!({asked}) || {then}"), message))
        return found

    def words(self, text):
        """A description that names parameters, with the variables' names."""
        text = " ".join(text.split())
        for name in self.template["Parameters"]:
            if "_" in snake(name):
                text = re.sub(rf"\b{name}\b", snake(name), text)
        return text

    def outputs(self):
        outputs = self.template["Outputs"]
        def value(each, document=False):
            condition = each.get("Condition")
            found = self.x.value(each["Value"], condition, document)
            return Under(condition_name(condition), {"Value": found} if document else found) if condition else {"Value": found} if document else found

        blocks = [
            Block("output", [snake(name)], [("description", self.words(each["Description"])), ("value", whole(value(each)))])
            for name, each in outputs.items()
        ]
        body = {
            "Resources": {"Nothing": {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
            "Outputs": {name: value(each, document=True) for name, each in outputs.items()},
        }
        stack = [("name", Raw("var.name")), ("template_body", Call("jsonencode", body)), ("tags", Raw("var.tags"))]
        found = "The outputs again, where `rootcast --stack` looks for them. The stack has no resource that costs or does anything."
        return [*blocks, Block("resource", ["aws_cloudformation_stack", "outputs"], stack, before=found)]


def variable(name, kind, default, text, checks):
    body = [("description", text), ("type", Raw(kind))]
    if default is not None:
        body.append(("default", default))
    body.append(("nullable", False))
    body += [Block("validation", [], [("condition", condition), ("error_message", message)]) for condition, message in checks]
    return Block("variable", [name], body)


def default_of(parameter):
    kind, default = terraform_type(parameter), parameter.get("Default")
    if default is None:
        return None
    if kind == "list(string)":
        return [each for each in default.split(",") if each]
    if kind == "number":
        return int(default)
    return default == "true" if kind == "bool" else str(default)


def validations(name, parameter):
    kind, it = terraform_type(parameter), f"var.{name}"
    if "AllowedValues" in parameter and kind != "bool":
        allowed = ", ".join(str(each) if kind == "number" else quoted(str(each)) for each in parameter["AllowedValues"])
        yield Raw(f"contains([{allowed}], {it})"), f"{name} must be one of {', '.join(map(str, parameter['AllowedValues']))}."
    if "AllowedPattern" in parameter:
        pattern = f"^(?:{parameter['AllowedPattern']})$"
        checked = f"alltrue([for each in {it} : can(regex({quoted(pattern)}, each))])" if kind == "list(string)" else f"can(regex({quoted(pattern)}, {it}))"
        yield Raw(checked), parameter.get("ConstraintDescription") or f"{name} must match {parameter['AllowedPattern']}"
    for key, sign, text in (("MinValue", ">=", "at least {}"), ("MaxValue", "<=", "at most {}")):
        if key in parameter:
            yield Raw(f"{it} {sign} {parameter[key]}"), f"{name} must be {text.format(parameter[key])}."
    for key, sign, text in (("MinLength", ">=", "at least {}"), ("MaxLength", "<=", "at most {}")):
        if key in parameter:
            yield Raw(f"length({it}) {sign} {parameter[key]}"), f"{name} must have {text.format(parameter[key])} characters."


def references(value):
    """Logical ids and parameters, in their order."""
    if isinstance(value, dict):
        if "Ref" in value:
            yield value["Ref"]
        elif "Fn::GetAtt" in value:
            yield value["Fn::GetAtt"][0]
        value = list(value.values())
    for each in value if isinstance(value, list) else []:
        yield from references(each)


def written(files, folder):
    """The module's files become these."""
    for old in folder.glob("*.tf"):
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (folder / name).write_text(text)


def main():
    import check

    python = check.venv()
    if Path(sys.prefix) != python.parents[1]:
        os.execv(python, [str(python), "-I", "-B", str(HERE / "generate.py")])
    from template import Template

    try:
        written(Module(Template.read(ROOT / "template.yaml").translated).files(), MODULE)
    except Unknown as missing:
        sys.exit(str(missing))


if __name__ == "__main__":
    main()
