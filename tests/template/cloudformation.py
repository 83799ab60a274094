"""What CloudFormation makes of the translated template with given parameters: every function evaluated, an attribute that only AWS knows
replaced by a text that names it. Knows nothing of Terraform."""

import re

ACCOUNT = "111122223333"
REGION = "eu-central-1"
NOTHING = object()


class Stack:
    """`names`: what `Ref` gives of a logical id, and an attribute of `id.attribute`, where CloudFormation makes up a name."""

    def __init__(self, template, name, parameters, names):
        self.template, self.names = template, names
        self.parameters = {key: given(each, parameters.get(key)) for key, each in template["Parameters"].items()}
        unknown = set(parameters) - set(self.parameters)
        assert not unknown, f"no parameters of the template: {unknown}"
        self.pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::NoValue": NOTHING,
            "AWS::Partition": "aws",
            "AWS::Region": REGION,
            "AWS::StackName": name,
            "AWS::URLSuffix": "amazonaws.com",
        }

    def resources(self):
        """Logical id → properties, of every resource that is there."""
        there = {name: each for name, each in self.template["Resources"].items() if self.holds(each.get("Condition"))}
        return {name: self.value(each.get("Properties", {})) for name, each in there.items()}

    def outputs(self):
        there = {name: each for name, each in self.template["Outputs"].items() if self.holds(each.get("Condition"))}
        return {name: self.value(each["Value"]) for name, each in there.items()}

    def holds(self, condition):
        if condition is None:
            return True
        if isinstance(condition, str):
            return self.holds(self.template["Conditions"][condition])
        ((function, argument),) = condition.items()
        if function == "Condition":
            return self.holds(argument)
        if function == "Fn::Equals":
            left, right = (self.value(each) for each in argument)
            return left == right
        inner = [self.holds(each) for each in argument]
        return {"Fn::Not": lambda: not inner[0], "Fn::And": lambda: all(inner), "Fn::Or": lambda: any(inner)}[function]()

    def value(self, value):
        if isinstance(value, list):
            return [each for each in map(self.value, value) if each is not NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref":
                return self.reference(argument)
            if function == "Fn::GetAtt":
                return self.attribute(*(argument.split(".", 1) if isinstance(argument, str) else argument))
            if function == "Fn::If":
                return self.value(argument[1] if self.holds(argument[0]) else argument[2])
            if function == "Fn::Join":
                return argument[0].join(map(str, self.value(argument[1])))
            if function == "Fn::Split":
                return self.value(argument[1]).split(argument[0])
            if function == "Fn::Select":
                return self.value(argument[1])[int(argument[0])]
            if function == "Fn::Sub":
                return self.substituted(argument)
            assert not function.startswith("Fn::"), f"{function} is not evaluated here"
        found = {key: self.value(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each is not NOTHING}

    def substituted(self, argument):
        text, others = (argument, {}) if isinstance(argument, str) else argument

        def one(found):
            name = found.group(1)
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in others:
                return str(self.value(others[name]))
            return str(self.attribute(*name.split(".", 1)) if "." in name else self.reference(name))

        return re.sub(r"\$\{([^}]*)\}", one, text)

    def reference(self, name):
        for known in (self.pseudo, self.parameters, self.names):
            if name in known:
                return known[name]
        raise KeyError(f"nothing is called {name}")

    def attribute(self, owner, attribute):
        kind = self.template["Resources"][owner]["Type"]
        if f"{owner}.{attribute}" in self.names:
            return self.names[f"{owner}.{attribute}"]
        assert attribute.lower().endswith("arn"), f"nobody knows {owner}.{attribute}"
        # A log group's includes its streams.
        return arn(kind, owner) + (":*" if kind == "AWS::Logs::LogGroup" else "")


def given(parameter, value):
    value = parameter.get("Default", "") if value is None else value
    if parameter["Type"] == "CommaDelimitedList":
        return value if isinstance(value, list) else [each for each in value.split(",") if each]
    return str(value).lower() if isinstance(value, bool) else str(value)


def arn(kind, owner):
    """An attribute of which only its owner is known."""
    return f"arn:aws:{kind.split('::')[1].lower()}:{REGION}:{ACCOUNT}:{owner}"
