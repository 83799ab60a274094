"""What the optional parameters add: the translated template as CloudFormation would deploy it, without and with each of them."""

import re

from checks import check
from template import listed, target

VPC = {"SubnetIds": "subnet-0a,subnet-0b", "SecurityGroupIds": "sg-0a"}
ARN = "arn:aws:{}:eu-central-1:111122223333:{}"
CERTIFICATE = ARN.format("acm", "certificate/00000000-0000-0000-0000-000000000000")
EDGE_CERTIFICATE = CERTIFICATE.replace("eu-central-1", "us-east-1")
API = {"ApiDomainName": "ca.example.com", "ApiCertificateArn": CERTIFICATE}
ALARM = {("CloudWatch::Alarm", "AlarmActions"), ("CloudWatch::Alarm", "OKActions")}
FUNCTION, ROLE, TABLE = "Lambda::Function", "IAM::Role", "DynamoDB::Table"

# Option → what is there before it, its parameters, the resources that it adds, the properties that it changes.
OPTIONS = {
    "roots that can be replicated": ({}, {"MultiRegionRoots": "true"}, set(), {(FUNCTION, "Environment"), (ROLE, "Policies")}),
    "a VPC": ({}, VPC, {"NetworkInterfaces"}, {(FUNCTION, "VpcConfig"), (ROLE, "ManagedPolicyArns")}),
    "IPv6 in it": (VPC, {"Ipv6": "true"}, set(), {(FUNCTION, "VpcConfig")}),
    "endpoints in it": (
        VPC,
        {"EndpointVpcId": "vpc-0123456789abcdef0", "EndpointRouteTableIds": "rtb-0123456789abcdef0,rtb-0123456789abcdef1"},
        {"TablesEndpoint", "QueuesEndpoint", "KeysEndpoint", "CredentialsEndpoint", "EventsEndpoint", "EndpointGroup"},
        set(),
    ),
    "endpoints, and no function that is in the VPC": ({}, {"EndpointVpcId": "vpc-0123456789abcdef0", "EndpointRouteTableIds": "rtb-0123456789abcdef0"}, set(), set()),
    "an edge": ({}, {"PublicEdge": "true"}, {"Edge", "EdgeCache", "EdgeRefusal"}, {(FUNCTION, "Environment")}),
    "an edge, and a base of one's own": ({"CrlBaseUrl": "http://crl.example.com"}, {"PublicEdge": "true"}, {"Edge", "EdgeCache", "EdgeRefusal"}, set()),
    "its name": (
        {"PublicEdge": "true"},
        {"PublicEdgeDomainName": "crl.example.com", "PublicEdgeCertificateArn": EDGE_CERTIFICATE},
        set(),
        {("CloudFront::Distribution", "DistributionConfig"), (FUNCTION, "Environment")},
    ),
    "its web ACL": (
        {"PublicEdge": "true"},
        {"PublicEdgeWebAclArn": "arn:aws:wafv2:us-east-1:111122223333:global/webacl/limits/00000000-0000-0000-0000-000000000000"},
        set(),
        {("CloudFront::Distribution", "DistributionConfig")},
    ),
    "a name of the API": ({}, API, {"ApiName", "ApiNameMapping"}, {("ApiGatewayV2::Api", "Body")}),
    "client certificates": (
        API | {"CrlBaseUrl": "http://crl.example.com"},
        {"ApiTruststoreUri": "s3://trust/clients.pem"},
        set(),
        {("ApiGatewayV2::DomainName", "MutualTlsAuthentication"), ("ApiGatewayV2::Api", "Body")},
    ),
    "a dashboard": ({}, {"Dashboard": "true"}, {"Overview"}, set()),
    "a topic of others": ({}, {"AlarmTopicArn": ARN.format("sns", "alarms")}, set(), ALARM),
    "a topic of its own": ({}, {"OwnAlarmTopic": "true"}, {"AlarmTopic", "AlarmTopicPolicy"}, ALARM | {("Events::Rule", "Targets")}),
    "an address": ({"OwnAlarmTopic": "true"}, {"AlarmEmail": "pki@example.com"}, {"AlarmSubscription"}, set()),
    "a boundary": ({"BackupDays": "35"}, {"PermissionsBoundaryArn": "arn:aws:iam::111122223333:policy/boundary"}, set(), {(ROLE, "PermissionsBoundary")}),
    "keys of its own": (
        {},
        {"CustomerKeys": "true"},
        {"TablesKey", "LogsKey"},
        {(TABLE, "SSESpecification"), ("Logs::LogGroup", "KmsKeyId"), ("Events::Rule", "EventPattern")},
    ),
    "tables that can be deleted": ({}, {"DeletionProtection": "false"}, set(), {(TABLE, "DeletionProtectionEnabled")}),
    "backups": ({}, {"BackupDays": "35"}, {"BackupVault", "BackupPlan", "BackupTables", "BackupService", "BackupsFailedAlarm"}, set()),
    "reserved concurrency": ({}, {"ApiReservedConcurrency": "20"}, set(), {(FUNCTION, "ReservedConcurrentExecutions")}),
    "traces": ({}, {"Tracing": "Active"}, {"Traces"}, {(FUNCTION, "TracingConfig"), (ROLE, "ManagedPolicyArns")}),
    "signed code": (
        {},
        {"SigningProfileVersionArns": ",".join([ARN.format("signer", "/signing-profiles/rootcast/abcdefghi1"), ARN.format("signer", "/signing-profiles/rootcast/abcdefghi2")])},
        {"CodeSigning"},
        {(FUNCTION, "CodeSigningConfigArn")},
    ),
    "copies of the audit": ({}, {"AuditBucket": "audit"}, {"AuditCopies"}, {(FUNCTION, "Environment"), (ROLE, "ManagedPolicyArns")}),
    "OpenID Connect": ({}, {"OidcIssuer": "https://id.example.com", "OidcAudience": "rootcast,page"}, set(), {("ApiGatewayV2::Api", "Body")}),
    "sign-in there": ({"OidcIssuer": "https://id.example.com", "OidcAudience": "rootcast,page"}, {"OidcClientId": "page"}, set(), {(FUNCTION, "Environment")}),
    "requesters": ({}, {"RequesterArns": "arn:aws:iam::111122223333:role/ops"}, set(), {("Events::EventBusPolicy", "Statement")}),
    "a local cloud": ({}, {"EndpointUrl": "http://127.0.0.1:4566"}, set(), {(FUNCTION, "Environment")}),
}

# What a rule has to refuse before anything is made.
REFUSED = [
    {"LeavesFromRoot": "true"},
    {"AlarmEmail": "pki@example.com"},
    {"OwnAlarmTopic": "true", "AlarmTopicArn": ARN.format("sns", "alarms")},
    VPC | {"EndpointVpcId": "vpc-0123456789abcdef0"},
    {"PublicEdgeDomainName": "crl.example.com", "PublicEdgeCertificateArn": EDGE_CERTIFICATE},
    {"PublicEdge": "true", "PublicEdgeDomainName": "crl.example.com"},
    {"ApiDomainName": "ca.example.com"},
    {"ApiTruststoreUri": "s3://trust/clients.pem", "CrlBaseUrl": "http://crl.example.com"},
    {"OidcClientId": "page"},
    {"OidcIssuer": "https://id.example.com", "OidcAudience": "rootcast", "OidcClientId": "page"},
    API | {"ApiTruststoreUri": "s3://trust/clients.pem"},
    API | {"ApiTruststoreUri": "s3://trust/clients.pem", "CrlBaseUrl": "http://crl.example.com", "PublicEdge": "true"},
]

NOTHING = {"Ref": "AWS::NoValue"}


class Deployment:
    """A template with parameters: its conditions, and the resources and outputs that are there."""

    def __init__(self, template, parameters):
        self.template = template.translated
        self.unfit = []
        self.values = {name: self.fit(name, str(parameters.get(name, p["Default"])), p) for name, p in self.template["Parameters"].items()}
        self.unfit += [f"there is no parameter {name}" for name in set(parameters) - set(self.values)]
        self.conditions = {name: self.holds(condition) for name, condition in self.template["Conditions"].items()}
        self.resources = self.there(self.template["Resources"])
        self.outputs = self.there(self.template["Outputs"])
        rules = self.template.get("Rules", {}).items()
        self.refused = [name for name, rule in rules if self.holds(rule["RuleCondition"]) and not all(self.holds(each["Assert"]) for each in rule["Assertions"])]

    def fit(self, name, value, parameter):
        wanted, pattern = parameter.get("AllowedValues"), parameter.get("AllowedPattern", ".*")
        if (wanted and value not in [str(each) for each in wanted]) or not re.fullmatch(pattern, value):
            self.unfit.append(f"{name} does not take {value}")
        return value.split(",") if parameter["Type"] == "CommaDelimitedList" else value

    def there(self, section):
        held = {name: each for name, each in section.items() if self.conditions.get(each.get("Condition"), True)}
        return {name: self.resolved({key: value for key, value in each.items() if key != "Condition"}) for name, each in held.items()}

    def holds(self, condition):
        ((function, given),) = condition.items()
        match function:
            case "Condition":
                return self.holds(self.template["Conditions"][given])
            case "Fn::Equals":
                return self.resolved(given[0]) == self.resolved(given[1])
            case "Fn::Not":
                return not self.holds(given[0])
            case "Fn::And":
                return all(self.holds(each) for each in given)
            case "Fn::Contains":
                return self.resolved(given[1]) in self.resolved(given[0])
            case "Fn::Or":
                return any(self.holds(each) for each in given)
        raise ValueError(f"{function} is no condition")

    def resolved(self, value):
        """Without the references to parameters, the alternatives that are not taken, and what has no value."""
        if isinstance(value, list):
            return [each for each in map(self.resolved, value) if each != NOTHING]
        if not isinstance(value, dict):
            return value
        if "Fn::If" in value:
            condition, yes, no = value["Fn::If"]
            return self.resolved(yes if self.conditions[condition] else no)
        if set(value) == {"Ref"}:
            return self.values.get(value["Ref"], value)
        if "Fn::Join" in value and isinstance(self.resolved(value["Fn::Join"][1]), list):
            between, parts = value["Fn::Join"][0], self.resolved(value["Fn::Join"][1])
            return between.join(parts) if all(isinstance(part, str) for part in parts) else {"Fn::Join": [between, parts]}
        return {key: held for key, held in ((key, self.resolved(each)) for key, each in value.items()) if held != NOTHING}

    def dangling(self):
        """References to what is not there."""
        for name, each in [*self.resources.items(), *self.outputs.items()]:
            for reference in references(each):
                if reference not in self.resources and reference not in self.values and not reference.startswith("AWS::"):
                    yield f"{name} refers to {reference}, which is not there"

    def of(self, kind):
        return [(name, each["Properties"]) for name, each in self.resources.items() if each["Type"] == "AWS::" + kind]


def references(value):
    """The logical ids that a value leads to."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "Ref":
                yield each
            elif key == "Fn::GetAtt":
                yield target(value)
            elif key == "Fn::Sub":
                text = each if isinstance(each, str) else each[0]
                yield from (name.split(".")[0] for name in re.findall(r"\$\{([A-Za-z0-9:.]+)\}", text))
            elif key == "DependsOn":
                yield from listed(each)
            else:
                yield from references(each)


def changes(before, after):
    """Properties of resources that are there both times, and differ: (type, property)."""
    for name in set(before.resources) & set(after.resources):
        one, other = before.resources[name], after.resources[name]
        for held in set(one["Properties"]) | set(other["Properties"]):
            if one["Properties"].get(held) != other["Properties"].get(held):
                yield one["Type"].removeprefix("AWS::"), held


@check
def options_add_what_they_say_and_nothing_else(template):
    states = [Deployment(template, {})]
    for option, (given, parameters, adds, changed) in OPTIONS.items():
        before, after = Deployment(template, given), Deployment(template, given | parameters)
        states += [before, after]
        there = (set(after.resources) - set(before.resources), set(changes(before, after)))
        if there != (adds, changed):
            yield f"{option}: adds {sorted(there[0])}, and changes {sorted(there[1])}"
        if set(before.resources) - set(after.resources):
            yield f"{option}: takes {sorted(set(before.resources) - set(after.resources))} away"
    everything = {name: value for _, parameters, _, _ in OPTIONS.values() for name, value in parameters.items() if name not in ("AlarmTopicArn", "ApiTruststoreUri")}
    for state in [*states, Deployment(template, everything)]:
        yield from (f"{state.values}: {each}" for each in [*state.unfit, *state.dangling(), *(f"refused by the rule {rule}" for rule in state.refused)])
    for condition in template.translated["Conditions"]:
        if {state.conditions[condition] for state in states} != {True, False}:
            yield f"{condition}: no option turns it on and off"


@check
def wrong_combinations_are_refused_at_once(template):
    for parameters in REFUSED:
        if not Deployment(template, parameters).refused:
            yield f"{parameters}: no rule refuses that"
    needed = {rule for parameters in REFUSED for rule in Deployment(template, parameters).refused}
    for rule in set(template.source["Rules"]) - needed:
        yield f"{rule}: a rule that refuses nothing of REFUSED"


@check
def options_reach_all_that_they_are_for(template):
    def state(option):
        given, parameters, _, _ = OPTIONS[option]
        return Deployment(template, given | parameters)

    for name, role in state("a boundary").of(ROLE):
        if not role.get("PermissionsBoundary"):
            yield f"{name} has no boundary"
    keyed = state("keys of its own")
    for name, table in keyed.of(TABLE):
        if target(table["SSESpecification"].get("KMSMasterKeyId")) != "TablesKey":
            yield f"{name} is encrypted with another key"
    for name, group in keyed.of("Logs::LogGroup"):
        if target(group.get("KmsKeyId")) != "LogsKey":
            yield f"{name} is encrypted with another key"
    protected = Deployment(template, {})
    for name, table in protected.of(TABLE):
        if table.get("DeletionProtectionEnabled") is not True:
            yield f"{name} can be deleted"
    backed = {target(each) for _, selection in state("backups").of("Backup::BackupSelection") for each in selection["BackupSelection"]["Resources"]}
    for name in {name for name, _ in protected.of(TABLE)} ^ backed:
        yield f"{name}: in the backups or a table, and not both"
    api = set(template.integrations().values())
    reserving = {name for name, function in state("reserved concurrency").of(FUNCTION) if "ReservedConcurrentExecutions" in function}
    for name in sorted(api ^ reserving):
        yield f"{name}: answers for the API or has reserved executions, and not both"
    for option, wanted in (("signed code", "CodeSigningConfigArn"), ("traces", "TracingConfig")):
        for name, function in state(option).of(FUNCTION):
            if function.get(wanted) in (None, {"Mode": "PassThrough"}):
                yield f"{name}: {option} leaves it out"
    for name, role in state("traces").of(ROLE):
        if {"Ref": "Traces"} not in role["ManagedPolicyArns"]:
            yield f"{name} may record no traces"
    for name, function in state("IPv6 in it").of(FUNCTION):
        if function.get("VpcConfig", {}).get("Ipv6AllowedForDualStack", True) is not True:
            yield f"{name} speaks no IPv6"


# Paths that every verifier may read, and those of them that hold their own signature.
PUBLIC = {"/crl/*", "/bundle", "/.well-known/est/cacerts"}
OVER_HTTP = {"/crl/*"}


@check
def the_edge_serves_what_is_public_alone(template):
    edge = Deployment(template, {"PublicEdge": "true"})
    ((name, distribution),) = edge.of("CloudFront::Distribution")
    config = distribution["DistributionConfig"]
    behaviours = {each["PathPattern"]: each for each in config["CacheBehaviors"]}
    if set(behaviours) != PUBLIC:
        yield f"{name} serves {sorted(behaviours)}"
    for path, each in [*behaviours.items(), ("everything else", config["DefaultCacheBehavior"])]:
        if each["AllowedMethods"] != ["GET", "HEAD"] or each["ViewerProtocolPolicy"] != ("allow-all" if path in OVER_HTTP else "https-only"):
            yield f"{name}: {path} takes {each['AllowedMethods']}, {each['ViewerProtocolPolicy']}"
        if target(each["CachePolicyId"]) != "EdgeCache":
            yield f"{name}: {path} is cached by another policy"
    refusal = config["DefaultCacheBehavior"].get("FunctionAssociations", [])
    if [(each["EventType"], target(each["FunctionARN"])) for each in refusal] != [("viewer-request", "EdgeRefusal")]:
        yield f"{name} passes on what is not public"
    ((_, cache),) = edge.of("CloudFront::CachePolicy")
    told = cache["CachePolicyConfig"]["ParametersInCacheKeyAndForwardedToOrigin"]
    if {told[f"{part}Config"][f"{kind}Behavior"] for part, kind in (("Cookies", "Cookie"), ("Headers", "Header"), ("QueryStrings", "QueryString"))} != {"none"}:
        yield f"{name}: something of a request decides on what others get from the cache"
    named = {"an edge": "http://${Edge.DomainName}", "its name": "http://${PublicEdgeDomainName}", "an edge, and a base of one's own": "http://crl.example.com"}
    for option, base in named.items():
        given, parameters, _, _ = OPTIONS[option]
        for function in ("Conduct", "Issue"):
            variables = dict(Deployment(template, given | parameters).of(FUNCTION))[function]["Environment"]["Variables"]
            if variables["CRL_BASE_URL"] not in (base, {"Fn::Sub": base}):
                yield f"{option}: {function} writes {variables['CRL_BASE_URL']} into certificates"


@check
def client_certificates_have_no_way_around(template):
    given, parameters, _, _ = OPTIONS["client certificates"]
    for state, wanted in ((Deployment(template, given), False), (Deployment(template, given | parameters), True)):
        for name, api in state.of("ApiGatewayV2::Api"):
            configured = [server.get("x-amazon-apigateway-endpoint-configuration", {}) for server in api["Body"]["servers"]]
            closed = [each.get("disableExecuteApiEndpoint") for each in configured]
            if closed != [wanted]:
                yield f"{name}: API Gateway's own address is {'open' if wanted else 'closed'}"
        for name, domain in state.of("ApiGatewayV2::DomainName"):
            if ("MutualTlsAuthentication" in domain) is not wanted:
                yield f"{name}: asks for client certificates: {not wanted}"


@check
def endpoints_let_nothing_out(template):
    given, parameters, _, _ = OPTIONS["endpoints in it"]
    state = Deployment(template, given | parameters)
    services = set()
    for name, endpoint in state.of("EC2::VPCEndpoint"):
        services.add(endpoint["ServiceName"]["Fn::Sub"].rsplit(".", 1)[-1])
        wanted = {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}, "aws:ResourceAccount": {"Ref": "AWS::AccountId"}}
        if [each.get("Condition") for each in endpoint["PolicyDocument"]["Statement"]] != [{"StringEquals": wanted}]:
            yield f"{name} lets requests out of the account"
        if endpoint["VpcEndpointType"] == "Interface" and (not endpoint["PrivateDnsEnabled"] or endpoint["SubnetIds"] != VPC["SubnetIds"].split(",")):
            yield f"{name} is not where the functions look"
    called = {action.split(":")[0] for function in ("Worker", "Catalog") for action, _ in template.allowed(function)} - {"logs"}
    for service in sorted(called ^ services):
        yield f"{service}: {'no endpoint for it' if service in called else 'an endpoint that no function in the VPC calls'}"
