"""How a property of CloudFormation is written in Terraform, and read back from its state.

`write(at, value)` gives the body's entries; `read(at, state)` gives the property in CloudFormation's shape, from the attributes of a
resource or block in the state. The comparison in tests/template reads with the same tables that wrote, after Terraform evaluated them."""

import json

from expressions import NO_VALUE, Unknown, intrinsic
from hcl import Block, Call, Choice, Dense, Raw, Under


def shaped(properties, given, at, where):
    """Body of a resource or block with these properties."""
    unknown = sorted(set(properties) - set(given))
    if unknown:
        raise Unknown(f"{where} has {', '.join(unknown)}, for which generator/kinds.py has no line")
    # In the order of the table, so that alike resources look alike.
    return [entry for key, shape in given.items() if key in properties for entry in shape.write(at, properties[key])]


def ordered(body):
    """Arguments before blocks."""
    return sorted(body, key=lambda entry: isinstance(entry, Block))


def either(condition, one, other):
    """One object whose entries depend on the condition, for an object that does."""
    keys = [*one, *(key for key in other if key not in one)]
    return {key: {"Fn::If": [condition, one.get(key, NO_VALUE), other.get(key, NO_VALUE)]} for key in keys}


def unshaped(state, given, at):
    found = {key: shape.read(at, state) for key, shape in given.items()}
    return {key: value for key, value in found.items() if value not in (None, {}, [])}


class Attribute:
    def __init__(self, name):
        self.name = name

    def write(self, at, value):
        return [(self.name, whole(at.value(value)))]

    def read(self, at, state):
        return state.get(self.name)


class Document(Attribute):
    """A JSON document."""

    def __init__(self, name, dense=False):
        super().__init__(name)
        self.dense = dense

    def write(self, at, value):
        written = at.value(value, document=True)
        return [(self.name, Call("jsonencode", Dense(written) if self.dense else written))]

    def read(self, at, state):
        text = state.get(self.name) or ""
        return json.loads(text) if text.startswith("{") else None  # what AWS would make up is no document


class Nested(Attribute):
    """An object as a block, and a list of objects as several."""

    def __init__(self, name, given, several=False, always=()):
        super().__init__(name)
        self.given, self.several = given, several
        self.always = list(always)  # what Terraform demands, and CloudFormation takes for granted

    def write(self, at, value):
        found = intrinsic(value)
        if found and found[0] == "Fn::If" and found[1][2] == NO_VALUE:
            (inner,) = self.write(at.under(found[1][0]), found[1][1])
            return [Block("dynamic", [self.name], [("for_each", Choice(f"local.{at.snake(found[1][0])}", [True], [])), Block("content", [], inner.body)])]
        if found and found[0] == "Fn::If":
            value = either(*found[1])
        values = value if self.several else [value]
        return [Block(self.name, [], ordered([*shaped(each, self.given, at, f"{at.id}.{self.name}"), *self.always])) for each in values]

    def read(self, at, state):
        values = [unshaped(each, self.given, at) for each in state.get(self.name) or []]
        return values if self.several else values[0] if values else None


class Keyed(Nested):
    """A map of objects as several blocks, each with its key as an attribute."""

    def __init__(self, name, key, given):
        super().__init__(name, {"Key": Attribute(key), **given}, several=True)

    def write(self, at, value):
        return super().write(at, [{"Key": key, **each} for key, each in value.items()])

    def read(self, at, state):
        return {each.pop("Key"): each for each in super().read(at, state)} or None


class Flat:
    """An object whose parts are attributes of the same resource or block."""

    def __init__(self, given):
        self.given = given

    def write(self, at, value):
        return shaped(value, self.given, at, at.id)

    def read(self, at, state):
        return unshaped(state, self.given, at)


class Pairs(Attribute):
    """A list of pairs as a map."""

    def __init__(self, name, key="Name", value="Value"):
        super().__init__(name)
        self.key, self.of = key, value

    def write(self, at, value):
        return [(self.name, {each[self.key]: at.value(each[self.of]) for each in value})]

    def read(self, at, state):
        return [{self.key: key, self.of: value} for key, value in sorted((state.get(self.name) or {}).items())]


class Tags(Attribute):
    """The module's tags, and the template's own. SAM's say that SAM made a resource."""

    def __init__(self):
        super().__init__("tags")

    def write(self, at, value):
        return []  # generate.py gives each resource that can have them

    def read(self, at, state):
        return None


class Same:
    """What Terraform's resource always has: `reason` says why nothing is written."""

    def __init__(self, always, reason):
        self.always, self.reason = always, reason

    def write(self, at, value):
        if value != self.always:
            raise Unknown(f"{at.id} has {value}, where Terraform always has {self.always}: {self.reason}")
        return []

    def read(self, at, state):
        return self.always


class Keys:
    """A table's or index's key."""

    ROLES = {"HASH": "hash_key", "RANGE": "range_key"}
    names = set(ROLES.values())

    def write(self, at, value):
        return [(self.ROLES[each["KeyType"]], each["AttributeName"]) for each in value]

    def read(self, at, state):
        return [{"AttributeName": state[name], "KeyType": kind} for kind, name in self.ROLES.items() if state.get(name)]


class Package:
    """A function's code: AWS SAM uploads the folder's zip to S3, Terraform the zip that `cargo lambda build` writes into the folder."""

    FOLDER = "target/lambda/"
    names = {"filename", "source_code_hash"}

    def write(self, at, value):
        zip_file = Raw(f'"${{var.packages}}/{self.folder(value)}/bootstrap.zip"')
        return [("filename", zip_file), ("source_code_hash", Raw(f"filebase64sha256({zip_file.text})"))]

    def folder(self, value):
        if set(value) != {"S3Bucket", "S3Key"} or not value["S3Key"].startswith(self.FOLDER):
            raise Unknown(f"the code {value} is no folder in {self.FOLDER}")
        return value["S3Key"][len(self.FOLDER) :].strip("/")

    def read(self, at, state):
        folder = state["filename"].split("/")[-2]
        return {"S3Bucket": "artifacts", "S3Key": f"{self.FOLDER}{folder}/"}


class RoleOfFunction(Attribute):
    """Lambda refuses a function whose role may not yet do what its triggers and its network need."""

    def __init__(self):
        super().__init__("role")

    def write(self, at, value):
        owner = intrinsic(value)[1][0]
        at.last.append(("depends_on", [Raw(each) for each in at.policies_of(owner)]))
        return super().write(at, value)


class BusStatement:
    """The one statement of an event bus's policy."""

    names = {"policy"}

    def write(self, at, value):
        statement = {"Sid": at.properties["StatementId"], **at.value(value, document=True)}
        return [("policy", Call("jsonencode", {"Version": "2012-10-17", "Statement": [statement]}))]

    def read(self, at, state):
        (statement,) = json.loads(state["policy"])["Statement"]
        return {key: value for key, value in statement.items() if key != "Sid"}


class BusStatementId:
    def write(self, at, value):
        return []

    def read(self, at, state):
        return json.loads(state["policy"])["Statement"][0]["Sid"]


class Children:
    """A list of objects, each a resource of its own. `own`: its entries that lead to this resource."""

    def __init__(self, kind, given, own, label):
        self.kind, self.given, self.own, self.label = kind, given, own, label

    def write(self, at, value):
        found = intrinsic(value)
        if found and found[0] == "Fn::If" and found[1][2] == NO_VALUE:
            at, value = at.under(found[1][0]), found[1][1]
        for each in value:
            body = [(key, Raw(text.format(at=at.address))) for key, text in self.own.items()]
            body += shaped(each, self.given, at, f"{at.id}.{self.kind}")
            at.resource(self.kind, f"{at.label}_{at.snake(each[self.label])}" if len(value) > 1 else at.label, body)
        return []

    def read(self, at, state):
        return [unshaped(each, self.given, at) for each in at.children(self.kind)]


class Attached:
    """The managed policies of a role."""

    TYPE = "aws_iam_role_policy_attachment"

    def write(self, at, value):
        for policy, condition in attached(value):
            at.resource(self.TYPE, f"{at.label}_{at.snake(policy)}", [
                *([("count", Choice(f"local.{at.snake(condition)}", 1, 0))] if condition else []),
                ("role", Raw(f"{at.address}.name")),
                ("policy_arn", at.under(condition).value({"Ref": policy})),
            ])
        return []

    def read(self, at, state):
        return [each["policy_arn"] for each in at.children(self.TYPE)]


def attached(value, condition=None):
    """(logical id of the policy, condition) of each of a role's managed policies."""
    for each in value if isinstance(value, list) else [value]:
        found = intrinsic(each)
        if found and found[0] == "Ref" and found[1] != "AWS::NoValue":
            yield found[1], condition
        elif found and found[0] == "Fn::If" and found[1][2] == NO_VALUE and condition is None:
            yield from attached(found[1][1], found[1][0])
        else:
            raise Unknown(f"managed policies given as {each}")


class One(Attribute):
    """A list of one as that one."""

    def write(self, at, value):
        if len(value) != 1:
            raise Unknown(f"{at.id} has several {self.name}")
        return super().write(at, value[0])

    def read(self, at, state):
        return [state[self.name]]


class Alone(Attribute):
    """One as a list of it."""

    def write(self, at, value):
        return super().write(at, [value])

    def read(self, at, state):
        return next(iter(state.get(self.name) or []), None)


class Traffic(Nested):
    """Rules of a security group: Terraform wants ports also where the protocol is every one."""

    def write(self, at, value):
        return super().write(at, [{"FromPort": 0, "ToPort": 0, **each} for each in value])


class LogDestination(Attribute):
    """API Gateway keeps a log group's ARN without CloudFormation's last two characters, and Terraform would see a change for ever."""

    def write(self, at, value):
        ((name, arn),) = super().write(at, value)
        return [(name, Raw(arn.text[3:-4] if arn.text.endswith(':*"') else arn.text))]

    def read(self, at, state):
        return state[self.name] + ":*"


class Recursion:
    """Whether Lambda lets a function trigger itself: a resource of its own."""

    TYPE = "aws_lambda_function_recursion_config"

    def write(self, at, value):
        at.resource(self.TYPE, at.label, [("function_name", Raw(f"{at.address}.function_name")), ("recursive_loop", value)])
        return []

    def read(self, at, state):
        found = at.children(self.TYPE)
        return found[0]["recursive_loop"] if found else None


class Queues:
    """The queues that have one policy."""

    names = {"queue_url"}

    def write(self, at, value):
        return [("for_each", {queue["Ref"]: at.value(queue) for queue in value}), ("queue_url", Raw("each.value"))]

    def read(self, at, state):
        return [each["queue_url"] for each in at.instances]


def whole(value):
    """As the value of an attribute: null where a property is there only under a condition."""
    return Choice(value.condition, value.value, None) if isinstance(value, Under) else value
