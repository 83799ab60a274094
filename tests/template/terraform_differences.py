"""What Terraform evaluated, read back in CloudFormation's shape, against what CloudFormation makes of template.yaml. Differences that are meant
are here, each with its reason."""

import json
import re
import sys
from pathlib import Path

from cloudformation import Stack

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "infra" / "terraform" / "generator"))

from expressions import snake  # noqa: E402
from generate import At, Module  # noqa: E402
from kinds import KINDS  # noqa: E402

# (type, property) → why it differs.
DIFFERENT = {
    ("AWS::ApiGatewayV2::Stage", "Tags"): "SAM's tag says that SAM made it",
    ("AWS::Lambda::Function", "Tags"): "SAM's tag says that SAM made it",
}

# Terraform's attributes that no property of the template gives → why they are there.
ADDED = {
    "depends_on": "CloudFormation waits for a role's policies because they are part of the role",
    "name": "Terraform needs a name where CloudFormation makes one up",
    "alarm_name": "as name",
    "statement_id": "as name",
    "protocol_type": "Terraform needs it, CloudFormation reads it from the OpenAPI document",
    "rule": "leads from a target to its rule",
    "event_bus_name": "leads from a target to its rule's bus; `default` is what CloudFormation means by none",
    "role": "leads from a policy to its role",
    "policy_arn": "leads from an attachment to the policy",
    "restrictions": "Terraform needs it; CloudFront has none if nothing is said",
    "source_code_hash": "lets Terraform see that a package changed",
    "tags": "the module's variable `tags`",
    "tags_all": "computed from `tags`",
    "function_name": "leads from a setting to its function",
}

# Resources that no part of the template gives → why they are there.
ALONE = {"aws_cloudformation_stack.outputs": "the outputs where `rootcast --stack` looks for them"}

# What AWS makes up, by Terraform's type; for every other type its ARN.
MADE_UP = {
    "aws_apigatewayv2_api": ("id", "arn", "api_endpoint"),
    "aws_apigatewayv2_stage": (),
    **{each: () for each in ("aws_apigatewayv2_api_mapping", "aws_backup_selection", "aws_sns_topic_policy", "aws_cloudwatch_log_metric_filter")},
    **{each: ("id",) for each in ("aws_cloudfront_cache_policy", "aws_security_group", "aws_vpc_endpoint")},
    "aws_backup_plan": ("arn", "id"),
    "aws_cloudfront_distribution": ("arn", "id", "domain_name"),
    "aws_cloudwatch_event_bus_policy": (),
    "aws_kms_key": ("arn", "key_id", "id"),
    "aws_lambda_event_source_mapping": ("uuid",),
    "aws_lambda_function_event_invoke_config": (),
    "aws_lambda_permission": (),
    "aws_sqs_queue": ("arn", "url", "id"),
    "aws_sqs_queue_policy": (),
}


def differences(template, parameters, state, outputs):
    module = Module(template)
    names = dict(pair for name in template["Resources"] for pair in named(module, name, state))
    stack = Stack(template, "rootcast", parameters, names)
    there, seen = stack.resources(), set()
    for name, resource in template["Resources"].items():
        kind = KINDS[resource["Type"]]
        at = At(module, name, state)
        if (name in there) != bool(at.instances):
            yield f"{name}: {'only template.yaml' if name in there else 'only Terraform'} has it"
        if name not in there or not at.instances:
            continue
        at.written()
        seen |= {(kind.type, at.label), *((block.labels[0], block.labels[1]) for block in at.blocks)}
        read = {key: shape.read(at, at.instances[0]) for key, shape in kind.given.items()}
        for key in sorted(read.keys() | there[name].keys()):
            ours = plain(there[name].get(key))
            theirs = without_defaults(plain(read.get(key)), ours)
            if ours != theirs and (resource["Type"], key) not in DIFFERENT and not (ours is None and made_up(kind, key, theirs)):
                yield f"{name}.{key}: template.yaml has {shortened(ours)}, Terraform {shortened(theirs)}"
        yield from (f"{name}: Terraform adds {what}" for what in added(kind, at))
    for kind, labelled in state.items():
        for label in labelled:
            if (kind, label) not in seen and f"{kind}.{label}" not in ALONE:
                yield f"{kind}.{label}: only Terraform has it"
    expected = {snake(key): plain(value) for key, value in stack.outputs().items()}
    found = {key: plain(value) for key, value in outputs.items() if value is not None}
    yield from (f"output {key}: template.yaml has {expected.get(key)}, Terraform {found.get(key)}" for key in sorted(expected.keys() | found.keys()) if expected.get(key) != found.get(key))


def named(module, name, state):
    """What `Ref` and other names give: what Terraform evaluated, or the mock made up. So every reference to it is compared."""
    kind, at = module.known[name][0], At(module, name, state)
    paths = {key: path for key, path in kind.attributes.items() if not path.startswith("arn")}
    for key, path in {"": kind.ref, **paths}.items():
        yield f"{name}.{key}".rstrip("."), at_path(at.instances[0], path) if at.instances else f"no {name}"


def at_path(value, path):
    """Of an attribute in a block: `block[0].attribute`."""
    for part in re.findall(r"\w+", path):
        value = value[int(part)] if part.isdigit() else value[part]
    return value


def added(kind, at):
    """Attributes with a value that no property gives, and nobody explains."""
    read = names_of(kind.given)
    for key, value in at.instances[0].items():
        if key not in read and key not in ADDED and key not in ("arn", "id", *MADE_UP.get(kind.type, ())) and not is_default(value):
            yield f"{key} = {shortened(value)}"


def names_of(given):
    return {name for shape in given.values() for name in ([shape.name] if hasattr(shape, "name") else names_of(getattr(shape, "given", {})) | getattr(shape, "names", set()))}


def made_up(kind, key, value):
    """Whether a value that the template does not give comes from the mock, or is the name that the module makes."""
    shape = kind.given.get(key)
    return getattr(shape, "name", None) in (kind.name, *ADDED) or is_default(value)


def is_default(value):
    """Nothing, or what the mock of the provider makes up for what AWS computes: eight random characters."""
    return value in (None, "", False, 0, "0", "false", [], {}) or (isinstance(value, str) and re.fullmatch("[a-z0-9]{8}", value) is not None)


def without_defaults(value, ours):
    """Without what the mock made up within a block, and the template says nothing of."""
    if isinstance(value, dict) and isinstance(ours, dict):
        return {key: without_defaults(each, ours.get(key)) for key, each in value.items() if key in ours or not is_default(each)}
    if isinstance(value, list) and isinstance(ours, list) and len(value) == len(ours):
        # What has the most in common, so that the order does not count.
        left = list(value)
        pairs = [(left.pop(max(range(len(left)), key=lambda at: alike(left[at], each))), each) for each in ours]
        return [without_defaults(each, our) for each, our in pairs]
    return value


def alike(one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        return sum(one[key] == other[key] for key in one.keys() & other.keys())
    return one == other


def plain(value):
    """Without the differences in writing that AWS does not see: texts for scalars, the order of lists."""
    if isinstance(value, dict):
        found = {key: plain(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each is not None}
    if isinstance(value, list):
        return sorted(map(plain, value), key=lambda each: json.dumps(each, sort_keys=True))
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def shortened(value):
    text = json.dumps(value)
    return text if len(text) < 300 else text[:300] + "..."
