"""Compares the template with the functions' sources: each permission needs a dependency, and each variable is read."""

import json
import re
from pathlib import Path

from checks import AUTHORIZED, USES, check
from template import listed, target, text

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "functions" / "shared"

# The only crate through which a function can call a service. KMS has two: one signs, the other seals.
CRATE_OF = {"dynamodb": "rootcast-ledger", "kms": "rootcast-vault", "seal": "rootcast-seal", "tag": "rootcast-vault"}
CRATE_OF |= {"sqs": "rootcast-queue", "ssm": "aws-sdk-ssm", "events": "rootcast-events", "lambda": "aws-sigv4"}
SEALING = {"kms:Decrypt", "kms:GenerateDataKey"}
# Permissions that the Lambda service uses with the function's role; our code does not use them.
BY_LAMBDA = {"logs:CreateLogStream", "logs:PutLogEvents", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
# Variables that a dependency reads, with the dependency.
READ_ELSEWHERE = {"RUST_LOG": "lambda_runtime's tracing subscriber", "AWS_ENDPOINT_URL": "aws-config"}
# Crates that come with another one: a function that does not use them gets no permission.
OPTIONAL = {"tag", "seal", "lambda"}
# The queue to which Lambda, and not our code, sends events that were not carried out.
UNDONE = {"EventDeadLetters"}
TABLE_OR_QUEUE = re.compile(r"(?P<table>[A-Z]+)_TABLE|(?P<queue>[A-Z]+)_QUEUE_URL")


def package(function):
    """The folder of a function: the function's name without the stack's name."""
    return ROOT / "functions" / text(function["FunctionName"]).removeprefix("${AWS::StackName}-")


def needs(folder):
    """Names of a package's own non-test dependencies."""
    manifest = (folder / "Cargo.toml").read_text()
    section = re.search(r"^\[dependencies\]\n(.*?)(?=^\[|\Z)", manifest, re.M | re.S)
    return set(re.findall(r"^([A-Za-z0-9_-]+)(?:\.workspace)? *=", section.group(1), re.M)) if section else set()


def dependencies(folder):
    """Names of a package's non-test dependencies, including those of our own crates."""
    named = needs(folder)
    for crate in sorted(name for name in named if name.startswith("rootcast-")):
        named |= dependencies(SHARED / crate.removeprefix("rootcast-"))
    return named


def code(folder):
    """A package's Rust code without its unit tests, which are at the end of a file."""
    files = [path.read_text() for path in sorted((folder / "src").rglob("*.rs"))]
    return "\n".join(re.split(r"^#\[cfg\(test\)\]\nmod ", file, flags=re.M)[0] for file in files)


def signing_key_policies():
    """The policies with which keys are made, by their role; "leaves" is added to that of roots with LeavesFromRoot."""
    read = {path.stem: json.loads(path.read_text()) for path in (SHARED / "vault/src/policies").glob("*.json")}
    return {role: policy.get("Statement", [policy]) for role, policy in read.items()}


def by_keys(folder, of=("root", "issuing", "leaves")):
    """What signing keys themselves permit the role of the function in this folder."""
    for role in of:
        for statement in signing_key_policies()[role]:
            roles = statement["Condition"].get("ArnLike", {}).get("aws:PrincipalArn", [])
            if statement["Effect"] == "Allow" and f"ROLES/{folder}/*" in listed(roles):
                yield from listed(statement["Action"])


# Who may do what with a signing key, by its role. Nobody else may do anything, and no function anything else.
MAKERS = {"conduct", "regenerate"}
LOOK = {"kms:GetPublicKey": MAKERS, "kms:DescribeKey": MAKERS, "kms:CreateAlias": MAKERS, "kms:ScheduleKeyDeletion": {"conduct"}, "kms:CancelKeyDeletion": {"conduct"}}
KEY_USERS = {
    "root": LOOK | {"kms:Sign": MAKERS, "kms:EnableKey": MAKERS, "kms:DisableKey": MAKERS},
    "issuing": {action: {"conduct"} for action in LOOK} | {"kms:Sign": {"issue"}, "kms:GetPublicKey": {"conduct", "issue"}},
    "leaves": {"kms:Sign": {"issue"}, "kms:GetPublicKey": {"issue"}},
}


@check
def signing_keys_are_used_as_written_here(template):
    functions = {package(properties).name for _, properties in template.of("Lambda::Function")}
    for role, wanted in KEY_USERS.items():
        found = {}
        for function in functions:
            for action in by_keys(function, (role,)):
                found.setdefault(action, set()).add(function)
        for action in sorted(set(wanted) | set(found)):
            if found.get(action) != wanted.get(action):
                yield f"{role} keys permit {action} to {found.get(action)}, not to {wanted.get(action)}"
        for statement in signing_key_policies()[role]:
            named = listed(statement["Condition"].get("ArnLike", {}).get("aws:PrincipalArn", []))
            if statement["Condition"] == {"ArnNotLike": {"aws:PrincipalArn": "ROLES/*"}}:
                uses = {action for action in listed(statement["Action"]) if action.removeprefix("kms:") in USES}
                if uses:
                    yield f"{role} keys: an administrator may {sorted(uses)}"
            elif not named or {name for name in named if not re.fullmatch(r"ROLES/[a-z]+/\*", name)}:
                yield f"{role} keys, statement {statement['Sid']}: it names {named}"


@check
def a_root_that_signs_leaves_is_awake(template):
    def equal(name, value):
        return {"Fn::Equals": [{"Ref": name}, value]}

    for rule in template.source.get("Rules", {}).values():
        asserted = [each["Assert"] for each in rule["Assertions"]]
        if rule.get("RuleCondition") == equal("LeavesFromRoot", "true") and equal("RootKeySleeps", "false") in asserted:
            return
    yield "no rule: a root that signs every certificate could sleep"


# KMS accepts these in a role's policy, and refuses a key policy with one of them as malformed:
# https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
ONLY_IN_ROLES = {"aws:resourcetag", "kms:resourcetag", "kms:resourcealiases"}


@check
def kms_accepts_the_key_policies(template):
    policies = {name: key["KeyPolicy"]["Statement"] for name, key in template.of("KMS::Key")} | signing_key_policies()
    for name, statements in policies.items():
        for statement in statements:
            for key in {key for keys in statement.get("Condition", {}).values() for key in keys}:
                if key.split("/")[0].lower() in ONLY_IN_ROLES:
                    yield f"{name}, statement {statement['Sid']}: KMS accepts {key} in no key policy"


@check
def no_role_deletes_a_named_key(template):
    retired = {"Fn::Sub": "alias/rootcast/${AWS::StackName}/retired/*"}
    named = {
        "ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/*"},
        "ForAllValues:StringNotLike": {"kms:ResourceAliases": retired},
    }
    for function, properties in template.of("Lambda::Function"):
        denied = any(
            owner == template.role_of(function)
            and (statement["Effect"], statement["Resource"], statement.get("Condition")) == ("Deny", "*", named)
            and "kms:ScheduleKeyDeletion" in listed(statement["Action"])
            for owner, statement in template.statements()
        )
        if not denied and "kms:ScheduleKeyDeletion" in by_keys(package(properties).name):
            yield f"{function} may delete a key that has a name, and none of a retired one: one that has signed"


@check
def dependencies_are_permissions(template):
    for function, properties in template.of("Lambda::Function"):
        needed = dependencies(package(properties))
        # console has the route table and the API's JSON from crates that also call AWS, and makes no client for them.
        makes_clients = any(name.startswith("aws-sdk-") for name in needs(package(properties)))
        actions = {action for action, _ in template.allowed(function)} | set(by_keys(package(properties).name))
        actions -= BY_LAMBDA
        used = {"seal" if action in SEALING else action.split(":")[0] for action in actions}
        for service in sorted(used):
            if CRATE_OF.get(service) not in needed:
                yield f"{function} may call {service}, and depends on no crate that does"
        for service, crate in CRATE_OF.items():
            if makes_clients and crate in needed and service not in used and service not in OPTIONAL:
                yield f"{function} depends on {crate}, and may not call {service}"


@check
def variables_name_what_the_role_allows(template):
    for function, properties in template.of("Lambda::Function"):
        allowed = {resource for _, resource in template.allowed(function) if resource in template.resources}
        kinds = {name for name in allowed if template.resources[name]["Type"] in ("AWS::DynamoDB::Table", "AWS::SQS::Queue")}
        named = set()
        for variable, value in properties["Environment"]["Variables"].items():
            if TABLE_OR_QUEUE.fullmatch(variable):
                named.add(target(value))
        for name in sorted((kinds - UNDONE) ^ named):
            yield f"{function}: {name} is {'allowed and not named' if name in kinds else 'named and not allowed'}"


@check
def variables_are_read(template):
    known = {name for _, p in template.of("Lambda::Function") for name in p["Environment"]["Variables"]} - set(READ_ELSEWHERE)
    for function, properties in template.of("Lambda::Function"):
        folder = package(properties)
        own = code(folder)
        shared = "\n".join(code(SHARED / name.removeprefix("rootcast-")) for name in dependencies(folder) if name.startswith("rootcast-"))
        given = set(properties["Environment"]["Variables"]) - set(READ_ELSEWHERE)
        for variable in sorted(given):
            if f'"{variable}"' not in own + shared:
                yield f"{function} is given {variable}, and nothing in it reads that"
        for variable in sorted(known - given):
            if f'"{variable}"' in own:
                yield f"{function} reads {variable}, and is not given it"


@check
def an_empty_endpoint_is_left_out(template):
    wanted = {"Fn::If": ["HasEndpoint", {"Ref": "EndpointUrl"}, {"Ref": "AWS::NoValue"}]}
    for function, properties in template.of("Lambda::Function"):
        if properties["Environment"]["Variables"].get("AWS_ENDPOINT_URL") != wanted:
            yield f"{function}: on AWS the SDK would take an empty AWS_ENDPOINT_URL for an address"


def rows():
    """The functions' own tables of routes, of the API and of the pages: method, path and the function's folder."""
    table = "".join(re.findall(r"^table! \{\n(.*?)^\}", (SHARED / "gate/src/routes.rs").read_text(), re.M | re.S))
    found = re.findall(r'^    [A-Z_]+: (\w+) (\w+) "([^"]+)" needs ', table, re.M)
    return [(method.lower(), path, function.lower()) for function, method, path in found]


def leads(method, path, routes):
    """The route that API Gateway selects: the one with the most literal parts; greedy routes come last."""

    def fits(route):
        wanted, parts = route.split("/")[1:], path.split("/")[1:]
        if wanted[-1].endswith("+}"):
            wanted, parts = wanted[:-1], parts[: len(wanted) - 1] if len(parts) >= len(wanted) else []
        return len(wanted) == len(parts) and all(w.startswith("{") or w == p for w, p in zip(wanted, parts))

    def rank(route):
        return ("+}" not in route, sum(not part.startswith("{") for part in route.split("/")))

    found = [route for route in routes if fits(route) and {method, "x-amazon-apigateway-any-method"} & routes[route].keys()]
    methods = routes[max(found, key=rank, default="/$default")]
    return methods.get(method) or methods["x-amazon-apigateway-any-method"]


@check
def routes_are_those_of_the_table(template):
    folders = {name: package(properties).name for name, properties in template.of("Lambda::Function")}
    table = rows()
    for folder in sorted({function for _, _, function in table}):
        if re.search(r"\.(route|route_service|nest)\(", code(ROOT / "functions" / folder)):
            yield f"{folder} has a route that is not of the table"
    routes = {}
    for (path, method), (name, _, _) in template.routes().items():
        routes.setdefault(path, {})[method] = folders[template.integrations()[name]]
    for method, path, function in table:
        if leads(method, path, routes) != function:
            yield f"{method} {path} leads to {leads(method, path, routes)}, and the table says {function}"
    for path, method in AUTHORIZED:
        if leads(method, path, {other: routes[other] for other in routes if other != path}) != "catalog":
            yield f"{method} {path}: another route leads around API Gateway's authorizer"
    known = {(method, path.lower()) for method, path, _ in table}
    for path, methods in routes.items():
        for method in methods:
            if method != "x-amazon-apigateway-any-method" and (method, path.lower()) not in known:
                yield f"there is a route {method} {path}, of which the table says nothing"
