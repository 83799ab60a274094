"""CloudFormation's intrinsic functions, parameters and conditions as HCL."""

import re

from hcl import Call, Choice, Raw, Under, quoted

NO_VALUE = {"Ref": "AWS::NoValue"}
PSEUDO = {
    "AWS::AccountId": "local.account_id",
    "AWS::Partition": "local.partition",
    "AWS::Region": "local.region",
    "AWS::StackName": "var.name",
    "AWS::URLSuffix": "local.url_suffix",
}
INTRINSIC = re.compile(r"(Fn::[A-Za-z0-9]+|Ref|Condition)\Z")


class Unknown(Exception):
    """The template has something for which there is no translation yet."""


def snake(name):
    """RootValidityDays → root_validity_days"""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def intrinsic(value):
    """(function, argument) or None"""
    if isinstance(value, dict) and len(value) == 1:
        ((name, argument),) = value.items()
        # In a policy, `Condition` is no reference to a condition of the template.
        if INTRINSIC.match(name) and (name != "Condition" or isinstance(argument, str)):
            return name, argument
    return None


class Expressions:
    """`resources`: logical id → (Terraform type, its Kind, its condition or None)."""

    def __init__(self, template, resources):
        self.parameters = template["Parameters"]
        self.conditions = template["Conditions"]
        self.resources = resources

    def value(self, value, within=None, document=False):
        """`within`: the condition under which the value is used. `document`: it becomes JSON, where a parameter is a text."""
        found = intrinsic(value)
        if not found:
            if isinstance(value, dict):
                given = {key: self.value(each, within, document) for key, each in value.items() if each != NO_VALUE}
                return given
            if isinstance(value, list):
                return [self.value(each, within, document) for each in value if each != NO_VALUE]
            return value
        function, argument = found
        if function == "Ref":
            return self.reference(argument, within, document)
        if function == "Fn::GetAtt":
            owner, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
            return Raw(self.attribute(owner, attribute, within))
        if function == "Fn::Sub":
            return self.substituted(argument, within)
        if function == "Fn::Join":
            delimiter, parts = argument
            return Raw(f"join({quoted(delimiter)}, {self.single(parts, within)})")
        if function == "Fn::Split":
            return Raw(f"split({quoted(argument[0])}, {self.single(argument[1], within)})", "list")
        if function == "Fn::Select":
            return Raw(f"{self.single(argument[1], within)}[{int(argument[0])}]")
        if function == "Fn::If":
            return self.choice(argument, within, document)
        raise Unknown(f"{function} has no translation to HCL (generator/expressions.py)")

    def single(self, value, within=None):
        """As an expression of one line."""
        from hcl import expression

        lines = expression(self.value(value, within))
        if len(lines) > 1:
            raise Unknown(f"no expression of one line: {value}")
        return lines[0]

    def choice(self, argument, within, document):
        condition, yes, no = argument
        name = condition_name(condition)
        # What is used only under the condition may refer to resources that are there only then.
        branches = [None if each == NO_VALUE else self.value(each, inner, document) for each, inner in ((yes, condition), (no, within))]
        if no == NO_VALUE:
            return Under(name, branches[0])
        if yes == NO_VALUE:
            return Under("!" + name, branches[1])
        if isinstance(branches[0], Under):
            return Under(f"!{name} || {branches[0].condition}", chosen(name, branches[0].value, branches[1]))
        if isinstance(branches[1], Under):
            return Under(f"{name} || {branches[1].condition}", chosen(name, branches[0], branches[1].value))
        return chosen(name, *branches)

    def reference(self, name, within, document):
        if name in PSEUDO:
            return Raw(PSEUDO[name])
        if name in self.parameters:
            variable, kind_of = "var." + snake(name), terraform_type(self.parameters[name])
            if document and kind_of in ("bool", "number"):
                return Raw(f"tostring({variable})")
            return Raw(variable, "list" if kind_of.startswith("list") else kind_of)
        if name not in self.resources:
            raise Unknown(f"{name} is neither a parameter nor a resource that is translated")
        return Raw(self.attribute(name, None, within))

    def attribute(self, owner, attribute, within):
        """`None` for what `Ref` gives."""
        if owner not in self.resources:
            raise Unknown(f"{owner} is no resource that is translated")
        kind_of, condition = self.resources[owner]
        known = {None: kind_of.ref, "Arn": "arn", **kind_of.attributes}
        if attribute not in known:
            raise Unknown(f"{owner}.{attribute} has no attribute in Terraform (generator/kinds.py)")
        if condition and not self.implies(within, condition):
            raise Unknown(f"{owner} is there only if {condition}, and is used where that is not asked")
        address = f"{kind_of.type}.{snake(owner)}{'[0]' if condition else ''}"
        found = known[attribute]
        return f'"${{{address}.{found[:-2]}}}:*"' if found.endswith(":*") else f"{address}.{found}"

    def implies(self, one, other):
        """Whether the condition `other` holds whenever `one` does."""
        if one is None or one == other:
            return one == other
        function, argument = intrinsic(self.conditions[one]) or (None, None)
        parts = argument if function == "Fn::And" else [self.conditions[one]]
        return any(self.implies(each["Condition"], other) for each in parts if list(each) == ["Condition"])

    def substituted(self, argument, within):
        text, given = (argument, {}) if isinstance(argument, str) else argument
        parts = re.split(r"\$\{([^}]*)\}", text)
        done = ""
        for number, part in enumerate(parts):
            if number % 2 == 0:
                done += quoted(part)[1:-1]
            elif part.startswith("!"):
                done += "$${" + part[1:] + "}"
            else:
                if part in given:
                    value = self.value(given[part], within)
                elif "." in part:
                    value = Raw(self.attribute(*part.split(".", 1), within))
                else:
                    value = self.reference(part, within, False)
                if isinstance(value, str):
                    done += quoted(value)[1:-1]
                elif value.text.startswith('"'):
                    done += value.text[1:-1]
                else:
                    done += "${" + value.text + "}"
        whole = re.fullmatch(r"\$\{([^{}]*)\}", done)
        return Raw(whole.group(1)) if whole else Raw(f'"{done}"')

    def condition(self, value):
        """Of a resource, a parameter's rule or the section `Conditions`."""
        if isinstance(value, str):
            return condition_name(value)
        function, argument = intrinsic(value) or (None, None)
        if function == "Condition":
            return condition_name(argument)
        if function == "Fn::Equals":
            return self.equals(*argument)
        if function == "Fn::Contains":
            many, one = (intrinsic(each) for each in argument)
            if many and one and many[0] == one[0] == "Ref":
                return f"contains(var.{snake(many[1])}, var.{snake(one[1])})"
        if function == "Fn::Not":
            inner = self.condition(argument[0])
            if len(re.findall(r" [!=]= ", inner)) == 1 and "&&" not in inner and "||" not in inner:
                return inner.replace(" == ", " != ") if " == " in inner else inner.replace(" != ", " == ")
            return f"!({inner})" if " " in inner else f"!{inner}"
        if function in ("Fn::And", "Fn::Or"):
            inner = [self.condition(each) for each in argument]
            return (" && " if function == "Fn::And" else " || ").join(f"({each})" if "&&" in each or "||" in each else each for each in inner)
        raise Unknown(f"{value} is no condition that is translated")

    def equals(self, left, right):
        for one, other in ((left, right), (right, left)):
            found = intrinsic(one)
            if found and found[0] == "Ref" and found[1] in self.parameters:
                kind_of, variable = terraform_type(self.parameters[found[1]]), "var." + snake(found[1])
                if kind_of == "bool":
                    return ("" if other == "true" else "!") + variable
                if kind_of == "number":
                    return f"{variable} == {int(other)}"
            if found and found[0] == "Fn::Join" and found[1][0] == other == "" and intrinsic(found[1][1]):
                # Terraform has to know this before it makes what is in the list: it knows how many there will be.
                return f"length({self.single(found[1][1])}) == 0"
        return f"{self.single(left)} == {self.single(right)}"


def chosen(name, yes, no):
    if kind(yes) == kind(no):
        return Choice(name, yes, no)
    # HCL needs one type for both.
    return Call("jsondecode", Choice(name, Call("jsonencode", yes), Call("jsonencode", no)))


def condition_name(name):
    return "local." + snake(name)


def terraform_type(parameter):
    kind_of = parameter["Type"]
    if kind_of == "CommaDelimitedList" or kind_of.startswith("List<"):
        return "list(string)"
    if kind_of == "Number":
        return "number"
    if kind_of == "String" or kind_of.startswith("AWS::"):
        return "bool" if sorted(parameter.get("AllowedValues", [])) == ["false", "true"] else "string"
    raise Unknown(f"the parameter type {kind_of} has no type in Terraform (generator/expressions.py)")


def kind(value):
    if isinstance(value, Raw):
        return value.kind
    return "list" if isinstance(value, list) else "object" if isinstance(value, dict) else "string"
