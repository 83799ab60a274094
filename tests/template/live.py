"""Compares the template with what runs already: an update of a stack in use, and metrics that the functions really emit."""

import json
import re
import sys
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

import deployment  # noqa: F401: adds its checks
from checks import check, metrics
from options import Deployment, references
from sources import ROOT, SHARED, code, package
from template import target, text

sys.path.insert(0, str(ROOT / "infra/release"))
import adopt  # noqa: E402

# What the last release deployed, of all that holds data or a name: written by `check.py --release` when a release is made.
RELEASED = Path(__file__).with_name("released.json")
# A change of one of these makes CloudFormation replace the resource: its data is lost or its name taken.
REPLACED = {
    "DynamoDB::Table": ["TableName", "KeySchema", "BillingMode", "TimeToLiveSpecification"],
    "KMS::Key": ["KeySpec", "KeyUsage", "MultiRegion"],
    "SQS::Queue": ["QueueName", "FifoQueue"],
    "Lambda::Function": ["FunctionName", "PackageType"],
    "IAM::Role": ["Path", "RoleName"],
    "Events::EventBus": ["Name"],
    "ApiGatewayV2::Api": ["ProtocolType"],
    "Logs::LogGroup": ["LogGroupName"],
}


def held(template):
    """What a stack keeps over an update, and parameters with their types: by logical id."""
    state = Deployment(template, {})
    kept = {}
    for kind, properties in REPLACED.items():
        for name, given in state.of(kind):
            kept[name] = {"type": kind, **{each: given[each] for each in properties if each in given}}
            if kind == "DynamoDB::Table":
                kept[name]["attributes"] = {each["AttributeName"]: each["AttributeType"] for each in given["AttributeDefinitions"]}
                kept[name]["indexes"] = {each["IndexName"]: [each["KeySchema"], each["Projection"]] for each in given.get("GlobalSecondaryIndexes", [])}
    return {"resources": kept, "parameters": {name: each["Type"] for name, each in template.source["Parameters"].items()}, "outputs": sorted(template.source["Outputs"])}


def release(template):
    RELEASED.write_text(json.dumps(held(template), indent=1, sort_keys=True) + "\n")


@check
def an_update_keeps_what_a_stack_holds(template):
    released, now = json.loads(RELEASED.read_text()), held(template)
    for name, before in released["resources"].items():
        after = now["resources"].get(name)
        if after is None:
            yield f"{name} ({before['type']}) would be deleted, or left behind without a stack"
            continue
        for key in sorted((set(before) | set(after)) - {"attributes", "indexes"}):
            if before.get(key) != after.get(key):
                yield f"{name}: {key} was {before.get(key)} and is {after.get(key)}: it would be replaced"
        old, new = before.get("indexes", {}), after.get("indexes", {})
        for index in set(old) & set(new):
            if old[index] != new[index]:
                yield f"{name}: CloudFormation cannot change the index {index}; make one of another name, and delete this one a release later"
        if len(set(old) ^ set(new)) > 1:
            yield f"{name}: DynamoDB makes or deletes one index an update, and not {sorted(set(old) ^ set(new))}"
        for attribute in set(before.get("attributes", {})) & set(after.get("attributes", {})):
            if before["attributes"][attribute] != after["attributes"][attribute]:
                yield f"{name}: the type of {attribute} cannot change"
    for name, kind in released["parameters"].items():
        if now["parameters"].get(name) != kind:
            yield f"the parameter {name} ({kind}) is {now['parameters'].get(name, 'gone')}: whoever has set it cannot update"
    for name in set(released["outputs"]) - set(now["outputs"]):
        yield f"the output {name} is gone: scripts and `rootcast` read it"


@check
def an_adopted_stack_keeps_what_is_retained(template):
    """What infra/release/adopt.py takes out of the file, against the parsed template."""
    retained = {name: each for name, each in template.source["Resources"].items() if each.get("DeletionPolicy") == "RetainExceptOnCreate"}
    for given in ({name: name.lower() for name in retained}, {name: name.lower() for name, each in retained.items() if "Condition" not in each}):
        text_of, resources = adopt.main(given)
        taken = yaml_parse(text_of)
        wanted = {name: retained[name] for name in given}
        if len(given) == len(retained) and {name: each | {"DeletionPolicy": "RetainExceptOnCreate"} for name, each in taken["Resources"].items()} != wanted:
            yield f"adopt.py takes {sorted(taken['Resources'])}, and not as they are"
        if set(taken["Resources"]) != set(given) or "Transform" in taken or len(text_of.encode()) > 51200:
            yield f"adopt.py takes {sorted(taken['Resources'])}, in {len(text_of.encode())} bytes of 51200"
        if {each["LogicalResourceId"]: next(iter(each["ResourceIdentifier"].values())) for each in resources} != given:
            yield f"adopt.py imports {resources}"
        for name in set(references(taken["Resources"])) - set(taken["Resources"]) - set(taken["Parameters"]):
            if not name.startswith("AWS::"):
                yield f"adopt.yaml refers to {name}, which nothing retains"


# Metrics of AWS itself that we watch, with their dimension.
OF_AWS = {
    ("AWS/ApiGateway", "5xx"): "ApiId",
    ("AWS/Backup", "NumberOfBackupJobsFailed"): "BackupVaultName",
    ("AWS/DynamoDB", "WriteThrottleEvents"): "TableName",
    ("AWS/Events", "TriggeredRules"): "RuleName",
    ("AWS/Lambda", "Errors"): "FunctionName",
    ("AWS/Lambda", "RecursiveInvocationsDropped"): "FunctionName",
    ("AWS/Lambda", "Throttles"): "FunctionName",
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): "QueueName",
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): "QueueName",
}
FILTERED = "Rootcast/${AWS::StackName}"


def emitted(template):
    """Names of metrics: of the namespace Rootcast, that a function counts, and of filters on a line that a function really logs."""
    names = re.findall(r'Self::(\w+) => "\1"', (SHARED / "core/src/metric.rs").read_text())
    everything = "\n".join(code(folder.parent) for folder in (ROOT / "functions").rglob("src") if folder.parent.name != "core")
    counted = {name for name in names if re.search(rf"Metric::{name}\b", everything)}
    logs = {target(function["LoggingConfig"]["LogGroup"]): code(package(function)) for _, function in template.of("Lambda::Function")}
    filtered = set()
    for _, each in template.of("Logs::MetricFilter"):
        if each["FilterPattern"] in logs[target(each["LogGroupName"])]:
            filtered |= {one["MetricName"] for one in each["MetricTransformations"] if text(one["MetricNamespace"]) == FILTERED}
    return counted, filtered


@check
def alarms_watch_what_is_emitted(template):
    counted, filtered = emitted(template)
    for name, alarm in template.of("CloudWatch::Alarm"):
        for metric in metrics(alarm):
            space, watched = text(metric["Namespace"]), metric["MetricName"]
            dimensions = [each["Name"] for each in metric.get("Dimensions", [])]
            known = {"Rootcast": watched in counted and ["Stack"], FILTERED: watched in filtered and []}
            if dimensions != known.get(space, [OF_AWS.get((space, watched))]):
                yield f"{name}: nobody emits {watched} of {space} with {dimensions}"
    for name, each in template.of("CloudWatch::Dashboard"):
        for space, watched in re.findall(r'\["(Rootcast[^"]*)", "(\w+)"', text(each["DashboardBody"])):
            if watched not in (counted if space == "Rootcast" else filtered if space == FILTERED else ()):
                yield f"{name}: nobody emits {watched} of {space}"
        json.loads(text(each["DashboardBody"]))


@check
def the_guide_counts_the_alarms(template):
    alarms = [alarm for _, alarm in Deployment(template, {}).of("CloudWatch::Alarm")]
    watched, guide = sum(len(metrics(alarm)) for alarm in alarms), (ROOT / "infra/README.md").read_text()
    if f"{len(alarms)} alarms on {watched} metrics" not in guide:
        yield f"infra/README.md does not say that there are {len(alarms)} alarms on {watched} metrics"


@check
def the_guide_names_every_parameter(template):
    guide = (ROOT / "infra/README.md").read_text() + (ROOT / "README.md").read_text()
    for name in template.source["Parameters"]:
        if f"`{name}`" not in guide:
            yield f"{name} is in no guide"
