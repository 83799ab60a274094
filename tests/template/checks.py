"""Checks across the resources of the template, and checks that linters do not have.

Each check takes a `Template` and yields findings. A check has the name of its function.
"""

import json
import re

from template import listed, target, text, under_condition

FUNCTIONS = {"Regenerate", "Conduct", "Worker", "Issue", "Catalog", "Import", "Retry", "Login", "Console", "Rotate"}
# Keys that the template creates, and by role what it may do with them, by the encryption context that this requires.
OPEN, SEAL = "kms:Decrypt", "kms:GenerateDataKey"
SEALS = {
    "SealingKey": {
        "WorkerRole": {"rootcast:certificate": {OPEN}, "rootcast:device": {OPEN}},
        "ImportRole": {"rootcast:certificate": {OPEN, SEAL}},
        "CatalogRole": {"rootcast:device": {SEAL}},
    },
    "AccessKey": {role: {"rootcast:access-key": {OPEN}} for role in ("CatalogRole", "ImportRole")},
}
# The key that the template creates to sign the audit's heads, and the role that does.
NOTARY = {"AuditKey": "RotateRole"}

# An allowed resource with a wildcard needs a reason. (owner, statement) → why the resource cannot be named.
WILDCARDS = {
    ("RegenerateRole", "CreateKey"): "CreateKey has no resource type; the request must carry the stack's tag",
    ("RegenerateRole", "TagKey"): "CreateKey tags a key whose id is not known yet; a tag permits nothing",
    ("RegenerateRole", "NameKey"): "an alias a root, all under the stack's name; the key's own policy must permit it too",
    ("RegenerateRole", "FindKeys"): "tag:GetResources takes neither resource nor condition; it reads names and tags",
    ("ConductRole", "CreateKey"): "CreateKey has no resource type; the request must carry the stack's tag",
    ("ConductRole", "TagKey"): "CreateKey tags a key whose id is not known yet; a tag permits nothing",
    ("ConductRole", "FindKeys"): "tag:GetResources takes neither resource nor condition; it reads names and tags",
    ("ConductRole", "NameKey"): "an alias a root, all under the stack's name; the key's own policy must permit it too",
    ("WorkerRole", "Credentials"): "a credential a device, all under the prefix of the deployment",
    ("CatalogRole", "Parameters"): "a credential a device, all under the prefix of the deployment, and only their tags",
    ("AuditCopies", "Copy"): "an object a statement, all in the stack's folder of the auditors' bucket",
    ("Traces", "Record"): "X-Ray has no resource for a segment",
    ("BackupService", "Copies"): "a backup has no name before it is made; all are of the stack's own tables",
    ("NetworkInterfaces", "Attach"): "interfaces are made by the service at run time; the functions' own code is denied it",
}

CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


@check
def wildcards_have_a_reason(template):
    used = set()
    for owner, statement in template.statements():
        if statement["Effect"] != "Allow":
            continue
        name = (owner, statement.get("Sid"))
        for action in listed(statement["Action"]):
            if "*" in action:
                yield f"{owner}: {action} is more than one action"
        if any("*" in text(resource) for resource in listed(statement["Resource"])):
            used.add(name)
            if name not in WILDCARDS:
                yield f"{owner}, statement {name[1]}: a resource with a wildcard, and no reason in WILDCARDS"
    for name in set(WILDCARDS) - used:
        yield f"{name}: a reason for a wildcard that is not there"


@check
def roles_hold_only_what_is_written_here(template):
    for name, role in template.of("IAM::Role"):
        for policy in listed(role.get("ManagedPolicyArns", [])):
            choices = policy["Fn::If"][1:] if isinstance(policy, dict) and "Fn::If" in policy else [policy]
            for choice in (each for choice in choices for each in listed(choice)):
                if target(choice) not in ("AWS::NoValue", "NetworkInterfaces", "AuditCopies", "Traces"):
                    yield f"{name}: the managed policy {choice} is not ours"
                if target(choice) == "AuditCopies" and name != "RotateRole":
                    yield f"{name} puts copies of heads into the auditors' bucket"
    roles = [template.role_of(name) for name, _ in template.of("Lambda::Function")]
    if len(set(roles)) != len(roles):
        yield f"two functions share a role: {roles}"


@check
def keys_are_bound_to_the_stack(template):
    stack = {"Ref": "AWS::StackName"}
    for owner, statement in template.statements():
        if statement["Effect"] == "Deny":
            continue
        actions = [action for action in listed(statement["Action"]) if action.startswith("kms:")]
        condition = statement.get("Condition", {})
        named = {target(resource) for resource in listed(statement["Resource"])}
        if actions and named <= set(SEALS):
            for key in named:
                contexts = SEALS[key].get(owner, {})
                allowed = [may for context, may in contexts.items() if condition == {"Null": {f"kms:EncryptionContext:{context}": "false"}}]
                if not allowed or set(actions) - allowed[0]:
                    yield f"{owner}: {actions} with {key} of more than {' or '.join(contexts)}"
            continue
        if actions and named <= set(NOTARY):
            if any(owner != NOTARY[key] for key in named) or set(actions) - {"kms:GetPublicKey", "kms:Sign"}:
                yield f"{owner}: {actions} on {named}"
            continue
        asked = condition.get("StringEquals", {})
        for action in actions:
            if action == "kms:CreateAlias":
                if not all(text(each).endswith(":alias/rootcast/${AWS::StackName}/*") for each in listed(statement["Resource"])):
                    yield f"{owner}: {action} on more than the stack's aliases"
            elif action not in ("kms:CreateKey", "kms:TagResource"):
                yield f"{owner}: {action} on keys of others: only a root key's own policy permits its use"
            elif asked.get("aws:RequestTag/rootcast:stack") != stack:
                yield f"{owner}: {action} on keys of other stacks (no condition on aws:RequestTag/rootcast:stack)"
            elif action == "kms:TagResource" and (condition.get("StringEqualsIfExists", {}).get("aws:ResourceTag/rootcast:stack") != stack or condition.get("Null") != {"kms:ResourceAliases": "true"}):
                yield f"{owner}: {action} on keys that have a name or another stack's tag"


# The folder of the stack's roles, and of a function's.
ROLES = "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/rootcast/${AWS::Region}/${AWS::StackName}"
ACCOUNT = "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"
# What a sealing key's policy permits, and to whom: functions, or whoever is none.
SEALERS = {
    "SealingKey": {"kms:GenerateDataKey": {"catalog", "import"}, "kms:Decrypt": {"import", "worker"}},
    "AccessKey": {"kms:GenerateDataKey": None, "kms:Decrypt": {"catalog", "import"}},
    "AuditKey": {"kms:Sign": {"rotate"}},
}
SEALERS |= {"TablesKey": {}, "LogsKey": {}}
# Keys that a service uses: through it, for callers of this account, or for this stack's log groups.
LOG_GROUPS = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:"
BY_SERVICES = {
    "TablesKey": {
        "ThroughDynamoDb": {
            "AWS": "*",
            "StringEquals": {"kms:CallerAccount": {"Ref": "AWS::AccountId"}, "kms:ViaService": {"Fn::Sub": "dynamodb.${AWS::Region}.${AWS::URLSuffix}"}},
        }
    },
    "LogsKey": {
        "ByCloudWatchLogs": {
            "Service": {"Fn::Sub": "logs.${AWS::Region}.${AWS::URLSuffix}"},
            "ArnLike": {"kms:EncryptionContext:aws:logs:arn": [{"Fn::Sub": f"{LOG_GROUPS}/aws/{kind}/${{AWS::StackName}}-*"} for kind in ("lambda", "vendedlogs")]},
        }
    },
}
# What an administrator of a key may not do without changing its policy first, which CloudTrail records.
USES = {"Sign", "Decrypt", "Encrypt", "GenerateDataKey", "ReEncrypt", "CreateGrant", "DeriveSharedSecret", "GenerateMac", "*"}


def callers(statement):
    """The callers that a key policy's statement permits: functions, or None for whoever is no function of the stack."""
    conditions = {operator: listed(keys["aws:PrincipalArn"]) for operator, keys in statement["Condition"].items() if "aws:PrincipalArn" in keys}
    if list(conditions) == ["ArnNotLike"] and [text(each) or each for each in conditions["ArnNotLike"]] == [f"{ROLES}/*"]:
        return None
    named = [text(each) for each in conditions.get("ArnLike", [])]
    return {name.removeprefix(f"{ROLES}/").removesuffix("/*") for name in named} or {"*"}


@check
def key_policies_name_who_uses_a_key(template):
    for name, key in template.of("KMS::Key"):
        for statement in key["KeyPolicy"]["Statement"]:
            if statement["Sid"] in BY_SERVICES.get(name, {}):
                if statement["Principal"] | statement["Condition"] != BY_SERVICES[name][statement["Sid"]]:
                    yield f"{name}, statement {statement['Sid']}: used by others than the service for this stack"
                continue
            actions, may = listed(statement["Action"]), callers(statement)
            if text(statement["Principal"].get("AWS")) != ACCOUNT:
                yield f"{name}, statement {statement['Sid']}: a principal that is not the account, and would do without IAM"
            used = {action for action in actions if any(action.startswith(f"kms:{use}") for use in USES)}
            if not used:
                if may is not None and actions != ["kms:GetPublicKey"]:
                    yield f"{name}, statement {statement['Sid']}: {may} may do {actions}"
            for action in sorted(used):
                if action not in SEALERS[name] or may != SEALERS[name][action] or len(actions) > 1:
                    yield f"{name}, statement {statement['Sid']}: {may} may {action}"
    for function, properties in template.of("Lambda::Function"):
        folder = text(properties["FunctionName"]).removeprefix("${AWS::StackName}-")
        path = template.resources[template.role_of(function)]["Properties"].get("Path")
        if text(path) != f"/rootcast/${{AWS::Region}}/${{AWS::StackName}}/{folder}/":
            yield f"{function}: key policies look for its role under another path than {path}"


@check
def callers_are_made_where_they_are_administered(template):
    for owner, statement in template.statements():
        writes = set(listed(statement["Action"])) & {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}
        if writes and "Access" in {target(resource) for resource in listed(statement["Resource"])}:
            condition = statement.get("Condition", {})
            keys = condition.get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", ["*"])
            kinds = {key.split("#")[0] for key in keys}
            elsewhere = {"*", "access-key"} if owner == "LoginRole" else {"*", "access-key", "principal", "identity", "decision"}
            if kinds & elsewhere:
                yield f"{owner}: {sorted(writes)} on {keys}: who may call is said by access, and of access keys with AWS credentials"
            written = condition.get("ForAllValues:StringEquals", {}).get("dynamodb:Attributes", ["*"])
            if owner != "LoginRole" and kinds & {"grant", "refresh", "session", "token"} and set(written) != {"id", "expires"}:
                yield f"{owner}: {sorted(writes)} on {keys}: who has logged in is said by the function that checks it"


# What AWS Backup may do with every table, the audit's too: copy it, and delete its own copies.
BACKS_UP = {f"dynamodb:{action}" for action in ("CreateBackup", "DeleteBackup", "DescribeBackup", "DescribeTable", "ListTagsOfResource", "StartAwsBackupJob")}


@check
def the_audit_is_only_appended_to(template):
    for owner, statement in template.statements():
        if owner == "BackupService":
            beyond = {action for action in listed(statement["Action"]) if action.startswith("dynamodb:")} - BACKS_UP
            if beyond:
                yield f"{owner}: {sorted(beyond)} is no backup"
            continue
        copies = [action for action in listed(statement["Action"]) if action.startswith("s3:")]
        if copies and (owner != "AuditCopies" or copies != ["s3:PutObject"]):
            yield f"{owner}: {copies} on copies of the audit's heads"
        if "Audit" in {target(resource) for resource in listed(statement["Resource"])}:
            beyond = set(listed(statement["Action"])) - {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"}
            if beyond:
                yield f"{owner}: {sorted(beyond)} on what was recorded"
            if owner in ("WorkerRole", "NetworkInterfaces"):
                yield f"{owner} speaks to devices and reaches the audit"
        if "Heads" in {target(resource) for resource in listed(statement["Resource"])}:
            beyond = set(listed(statement["Action"])) - {"dynamodb:Query"}
            if beyond - {"dynamodb:PutItem"} or (beyond and owner != "RotateRole"):
                yield f"{owner}: {sorted(beyond)} on what was stated of the audit"


@check
def functions_write_their_own_log(template):
    groups = {}
    for function, properties in template.of("Lambda::Function"):
        group = target(properties.get("LoggingConfig", {}).get("LogGroup"))
        groups.setdefault(group, []).append(function)
        written = {resource for action, resource in template.allowed(function) if action.startswith("logs:")}
        if group not in template.resources or written != {group}:
            yield f"{function} logs to {group} and may write to {written}"
    for group, functions in groups.items():
        if len(functions) > 1:
            yield f"{group} is the log of {functions}"


@check
def schedules_are_well_formed(template):
    # EventBridge refuses a unit in the wrong grammatical number at deployment; no linter finds it earlier.
    rate = re.compile(r"rate\((1 (minute|hour|day)|([2-9]|[1-9]\d+) (minutes|hours|days))\)|cron\(\S+( \S+){5}\)")
    wakes = looks = lists = 0
    for name, rule in template.of("Events::Rule"):
        if "ScheduleExpression" not in rule:
            continue
        if not rate.fullmatch(rule["ScheduleExpression"]):
            yield f"{name}: {rule['ScheduleExpression']} is no schedule"
        for to in rule["Targets"]:
            wakes += target(to["Arn"]) == "Conduct" and to.get("Input") == '{"wake":"running"}'
            looks += target(to["Arn"]) == "Rotate"
            lists += target(to["Arn"]) == "Issue" and to.get("Input") == '{"wake":"lists"}'
    if wakes != 1:
        yield f"{wakes} schedules wake the conductor"
    if looks != 1:
        yield f"{looks} schedules look for what nears its end"
    if lists != 1:
        yield f"{lists} schedules renew the revocation lists"


@check
def every_working_queue_is_consumed_and_redriven(template):
    queues = dict(template.of("SQS::Queue"))
    consumers = [target(m["EventSourceArn"]) for _, m in template.of("Lambda::EventSourceMapping")]
    for name, queue in queues.items():
        if name.endswith("DeadLetters"):
            continue
        if consumers.count(name) != 1:
            yield f"{name} has {consumers.count(name)} consumers"
        dead = target(queue.get("RedrivePolicy", {}).get("deadLetterTargetArn"))
        sources = queues.get(dead, {}).get("RedriveAllowPolicy", {}).get("sourceQueueArns", [])
        own = text(queue.get("QueueName")).replace("${AWS::StackName}", "")
        if not own or [text(arn).split("${AWS::StackName}")[-1] for arn in sources] != [own]:
            yield f"{name}: its dead-letter queue {dead} does not take its messages, or others' too"
    policies = [policy for _, policy in template.of("SQS::QueuePolicy") if denies_plain_http(policy)]
    for name in set(queues) - {target(queue) for policy in policies for queue in policy["Queues"]}:
        yield f"{name} can be used without TLS"


def denies_plain_http(policy):
    denied = {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    return any(denied.items() <= statement.items() for statement in policy["PolicyDocument"]["Statement"])


@check
def time_limits_nest(template):
    functions, queues = dict(template.of("Lambda::Function")), dict(template.of("SQS::Queue"))
    parameters = template.source["Parameters"]
    limit = {name: template.default(f["Timeout"]) for name, f in functions.items()}
    hidden = {name: template.default(queue.get("VisibilityTimeout", 30)) for name, queue in queues.items()}
    device = parameters["DeviceTimeoutSeconds"]["Default"]
    if not device < limit["Worker"] <= hidden["TaskQueue"]:
        yield f"not device {device} s < worker {limit['Worker']} s ≤ visibility of a task {hidden['TaskQueue']} s"
    if not limit["Issue"] <= hidden["IssueQueue"]:
        yield f"not issue {limit['Issue']} s ≤ visibility of its messages {hidden['IssueQueue']} s"
    if hidden["ControlQueue"] < 6 * limit["Conduct"]:
        yield f"visibility of a control message {hidden['ControlQueue']} s is under six times conduct's {limit['Conduct']} s"
    # While one device hangs, a worker takes others in place of those that have ended, until a device's time is left: 1 % that hang cost a tenth.
    if limit["Worker"] < 6 * device:
        yield f"worker's {limit['Worker']} s are under six times a device's {device} s: one that hangs holds up nine others"
    for name in ("Regenerate", "Catalog", "Import", "Retry", "Login", "Console"):
        if limit[name] >= 30:
            yield f"{name} may run {limit[name]} s: the HTTP API answers for it at 30 s"
    # A message is replaced at its fifth receive, and up to three workers may die on a device before a fourth skips it.
    for name, least in (("TaskQueue", 18), ("IssueQueue", 10)):
        receives = queues[name].get("RedrivePolicy", {}).get("maxReceiveCount", 0)
        if receives < least:
            yield f"{name} puts a task aside at {receives} receives: throttles may send a healthy one there"


@check
def messages_in_flight_fit_a_queue(template):
    # SQS delivers nothing more while 120 000 messages of a queue are received and not deleted. A worker has Lambda's batch and as many that it
    # took itself; the other half is for devices that wait for their next try.
    most = template.source["Parameters"]["MaximumConcurrency"]["MaxValue"]
    for name, mapping in template.of("Lambda::EventSourceMapping"):
        if target(mapping.get("EventSourceArn")) == "TaskQueue" and 2 * most * mapping["BatchSize"] > 60_000:
            yield f"{name}: {most} workers with {mapping['BatchSize']} messages each leave too few of 120 000 in flight"


@check
def tables_have_their_keys(template):
    tables = dict(template.of("DynamoDB::Table"))
    keys = {name: [(k["AttributeName"], k["KeyType"]) for k in t["KeySchema"]] for name, t in tables.items()}
    one = [("id", "HASH")]
    wanted = {"Certificates": one, "Jobs": [("pk", "HASH"), ("sk", "RANGE")], "Devices": one, "Access": one}
    wanted["Audit"] = wanted["Heads"] = wanted["Jobs"]
    if keys != wanted:
        yield f"the tables' keys are {keys}"
    for name in ("Access", "Certificates"):
        if tables[name].get("TimeToLiveSpecification") != {"AttributeName": "expires", "Enabled": True}:
            yield f"tokens do not expire: {name} has no TTL on `expires`"
    for name, table in tables.items():
        for index in table.get("GlobalSecondaryIndexes", []):
            held = index["Projection"]
            if held["ProjectionType"] == "ALL" or "key" in held.get("NonKeyAttributes", []):
                yield f"{name}: the index {index['IndexName']} holds whole records, and with them sealed keys"


# Who gets in without a token of ours: API Gateway's authorizer, and the condition of the route.
AUTHORIZED = {("/sessions/iam", "post"): ("AWS_IAM", None), ("/sessions/oidc", "post"): ("Oidc", "HasOidc")}


@check
def the_gateway_authorizes_what_only_it_can(template):
    authorized = {route: (scheme, condition) for route, (_, scheme, condition) in template.routes().items() if scheme or condition}
    if authorized != AUTHORIZED:
        yield f"API Gateway authorizes {authorized}"
    for name, api in template.of("ApiGatewayV2::Api"):
        schemes = api["Body"].get("components", {}).get("securitySchemes", {})
        if schemes.get("AWS_IAM", {}).get("x-amazon-apigateway-authtype") != "awsSigv4":
            yield f"{name}: AWS_IAM verifies no signature"
        condition, oidc = under_condition(schemes.get("Oidc", {}))
        authorizer = oidc.get("x-amazon-apigateway-authorizer", {})
        wanted_jwt = {"issuer": {"Ref": "OidcIssuer"}, "audience": {"Ref": "OidcAudience"}}
        if condition != "HasOidc" or authorizer.get("type") != "jwt" or authorizer.get("jwtConfiguration") != wanted_jwt:
            yield f"{name}: Oidc is {oidc} under {condition}"


@check
def nobody_but_the_api_calls_a_function_as_one(template):
    own = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*/*"
    may = []
    for name, permission in template.of("Lambda::Permission"):
        if "SourceArn" not in permission:
            yield f"{name} lets every API or rule of every account call the function"
        elif permission["Principal"] == "apigateway.amazonaws.com":
            may.append(target(permission["FunctionName"]))
            if text(permission["SourceArn"]) != own:
                yield f"{name} lets another API call the function: {permission['SourceArn']}"
    if sorted(may) != sorted(template.integrations().values()):
        yield f"the API leads to {sorted(template.integrations().values())}, and may call {sorted(may)}"


# What anybody may fetch, and from which the throttle of nothing else takes.
PUBLIC = {"GET /crl/{signer}/{list}", "GET /bundle", "GET /.well-known/est/cacerts"}


@check
def the_routes_fit_api_gateway(template):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html; a template may have 1 000 000 bytes."""
    keys = {"$default" if path == "/$default" else f"{'ANY' if method.startswith('x-') else method.upper()} {path}" for path, method in template.routes()}
    if len(keys) > 300:
        yield f"{len(keys)} routes: API Gateway has 300 at most"
    for name, api in template.of("ApiGatewayV2::Api"):
        body = api["Body"]
        # A warning of the import fails the deployment: https://github.com/aws/serverless-application-model/issues/2424
        yield from (f"{name}: an import warns of a server without an address" for server in body.get("servers", []) if "url" not in server)
        for path, item in body["paths"].items():
            there = {each["name"] for each in under_condition(item)[1].get("parameters", []) if each["in"] == "path" and each["required"] and "schema" in each}
            if there != set(re.findall(r"\{([^}]+)\}", path)) or path.endswith("/"):
                yield f"{name}: {path} declares {sorted(there)}"
        if len(json.dumps(body)) > 100_000:
            yield f"{name}: its routes take {len(json.dumps(body))} bytes of the template's 1 000 000"
    for name, stage in template.of("ApiGatewayV2::Stage"):
        rates = {key: each["ThrottlingRateLimit"] for key, each in stage.get("RouteSettings", {}).items()}
        if not PUBLIC <= set(rates):
            yield f"{name}: what is public is not throttled apart from logins: {sorted(rates)}"
        yield from (f"{name}: there is no route {key} to throttle" for key in sorted(set(rates) - keys))
        together = sum(rates.get(key, stage["DefaultRouteSettings"]["ThrottlingRateLimit"]) for key in keys)
        # If each route has the default for itself. The account has 10 000 a second, for all of its APIs.
        if together > 6000:
            yield f"{name}: the routes together take {together} of the account's 10 000 requests a second"


def metrics(alarm):
    """The metrics of an alarm, also of one on their sum."""
    return [each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each] if "Metrics" in alarm else [alarm]


def looping(template):
    """Functions that can come back to themselves through queues: SQS hands the trace header on, by which Lambda counts rounds."""
    consumer = {target(m["EventSourceArn"]): target(m["FunctionName"]) for _, m in template.of("Lambda::EventSourceMapping")}
    leads = {name: {consumer[to] for action, to in template.allowed(name) if action == "sqs:SendMessage" and to in consumer} for name, _ in template.of("Lambda::Function")}

    def reached(name, seen):
        for to in leads[name] - seen:
            seen.add(to)
            reached(to, seen)
        return seen

    return {name for name in leads if name in reached(name, set())}


@check
def loops_are_allowed_where_they_are(template):
    loops = looping(template)
    if not loops:
        yield "no function comes back to itself: the conductor does"
    for name, function in template.of("Lambda::Function"):
        if (function.get("RecursiveLoop") == "Allow") != (name in loops):
            yield f"{name}: {'Lambda ends it after about 16 rounds' if name in loops else 'it allows a loop that nothing of it is in'}"


@check
def alarms_cover_what_can_go_wrong(template):
    watched = set()
    for _, alarm in template.of("CloudWatch::Alarm"):
        wakes = alarm["ComparisonOperator"] == "GreaterThanThreshold" and alarm["Threshold"] == 0
        for each in metrics(alarm) if wakes else []:
            for dimension in each.get("Dimensions", []):
                watched.add((each["Namespace"], each["MetricName"], dimension["Name"], target(dimension["Value"])))
    wanted = {("AWS/Lambda", "Errors", "FunctionName", name) for name, _ in template.of("Lambda::Function")}
    for name, _ in template.of("SQS::Queue"):
        if name.endswith("DeadLetters"):
            wanted.add(("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", name))
    ours = ("JobsPaused", "JobsFailed", "RootKeysAwake", "RootKeysPendingDeletion", "SigningKeysChanged", "LoginLocks", "EventsLost")
    wanted |= {("Rootcast", metric, "Stack", "AWS::StackName") for metric in ours}
    wanted |= {("AWS/Lambda", "Throttles", "FunctionName", name) for name, _ in template.of("Lambda::Function")}
    wanted |= {("AWS/Lambda", "RecursiveInvocationsDropped", "FunctionName", name) for name in looping(template)}
    wanted |= {("AWS/Events", "TriggeredRules", "RuleName", "StackKeysChanged"), ("AWS/Backup", "NumberOfBackupJobsFailed", "BackupVaultName", "BackupVault")}
    for missing in sorted(wanted - watched):
        yield f"no alarm on {missing}"
    aged = {target(a["Dimensions"][0]["Value"]) for _, a in template.of("CloudWatch::Alarm") if a.get("MetricName") == "ApproximateAgeOfOldestMessage"}
    for name in sorted({name for name, _ in template.of("SQS::Queue") if not name.endswith("DeadLetters")} - aged):
        yield f"no alarm on the age of the oldest message in {name}"
    if not any(alarm.get("MetricName") == "5xx" for _, alarm in template.of("CloudWatch::Alarm")):
        yield "no alarm on errors of the API"
    # Below half, at which the bundle is signed again, and early enough to mend what keeps it from that.
    low = [alarm["Threshold"] for _, alarm in template.of("CloudWatch::Alarm") if alarm.get("MetricName") == "BundleLifeLeft" and alarm["ComparisonOperator"] == "LessThanThreshold"]
    if not any(10 <= percent < 50 for percent in low):
        yield "no alarm before the signed bundle expires"
    for metric in ("RootDaysLeft", "CrlHoursLeft"):
        if not any(alarm.get("MetricName") == metric and alarm["ComparisonOperator"] == "LessThanThreshold" and alarm["Threshold"] > 0 for _, alarm in template.of("CloudWatch::Alarm")):
            yield f"no alarm on low {metric}"
    silence = {"MetricName": "AuditHeadsSigned", "TreatMissingData": "breaching", "ComparisonOperator": "LessThanThreshold", "Threshold": 1}
    if not any(silence.items() <= alarm.items() for _, alarm in template.of("CloudWatch::Alarm")):
        yield "no alarm says that the audit's heads are not signed"


@check
def parameters_explain_and_bound_themselves(template):
    for name, parameter in template.source["Parameters"].items():
        bounds = {"AllowedValues", "AllowedPattern", "MinValue"} & set(parameter)
        if not parameter.get("Description") or "Default" not in parameter:
            yield f"{name} has no description or no default"
        if not bounds and parameter["Type"] != "CommaDelimitedList":
            yield f"{name} takes anything"
    if template.default({"Ref": "Architecture"}) != "arm64":
        yield "arm64 is not the default"


@check
def requests_come_from_the_named_alone(template):
    """Whoever may put an event on the bus for requests may have it carried out."""
    policies = [p for _, p in template.of("Events::EventBusPolicy") if target(p["EventBusName"]) == "Requests"]
    named = [p["Statement"]["Condition"].get("ArnNotLike", {}).get("aws:PrincipalArn") for p in policies if p["Statement"]["Effect"] == "Deny"]
    if not named or any(value in (None, "*", ["*"]) for value in named):
        yield "no policy of the bus refuses whoever is not named"
    for name, rule in template.of("Events::Rule"):
        is_ours = "Requests" in str(rule.get("EventBusName"))
        is_aws = all(source.startswith("aws.") for source in rule.get("EventPattern", {}).get("source", [""]))
        if "EventPattern" in rule and not is_ours and not is_aws:
            yield f"{name}: its events come from a bus on which others may put events"
    for name, role in template.of("IAM::Role"):
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                if "events:PutEvents" in listed(statement["Action"]) and "Requests" in str(statement["Resource"]):
                    yield f"{name} may put requests"


@check
def outputs_name_what_a_caller_needs(template):
    names = {"ApiUrl", "ApiId", "ControlQueueUrl", "ControlDeadLettersUrl", "TaskQueueUrl", "TaskDeadLettersUrl"}
    names |= {"IssueQueueUrl", "IssueDeadLettersUrl", "EventDeadLettersUrl", "RequestsBus"}
    names |= {"AlarmTopic", "ApiDomainTarget", "PublicEdgeTarget"}
    names |= {f"{table}Table" for table, _ in template.of("DynamoDB::Table")}
    names |= {f"{function}Function" for function in FUNCTIONS} | {f"{key}Arn" for key in [*SEALS, *NOTARY]} | {"KeyRoles", "LeavesFromRoot"}
    for name in sorted(names ^ set(template.source["Outputs"])):
        yield f"{name} is an output too many or too few"
