"""HCL as text, indented and aligned as `terraform fmt` does, so that the files are the same on a machine without Terraform."""

import re
from dataclasses import dataclass, field

WIDTH = 110
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
STRING = re.compile(r'"(?:[^"\\$]|\\.|\$(?!\{)|\$\$\{|\$\{[^}"]*\})*"')


@dataclass(frozen=True)
class Raw:
    """An expression of one line. `kind`: what it evaluates to, as far as it matters (string, list, number, bool)."""

    text: str
    kind: str = "string"


@dataclass
class Call:
    name: str
    argument: object


@dataclass
class Dense:
    """A value of which each object is on one line if it fits."""

    value: object


@dataclass
class Choice:
    """`condition ? yes : no`"""

    condition: str
    yes: object
    no: object


@dataclass
class Under:
    """An entry of an object or a list that is there only under a condition."""

    condition: str
    value: object


@dataclass
class Block:
    kind: str
    labels: list = field(default_factory=list)
    body: list = field(default_factory=list)  # (name, value) pairs and blocks
    before: str = ""  # a comment


def quoted(text):
    """A literal text as an HCL string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + escaped.replace("${", "$${").replace("%{", "%%{") + '"'


def expression(value, dense=False):
    """The lines of a value, not indented."""
    if isinstance(value, Dense):
        return expression(value.value, dense=True)
    if isinstance(value, Raw):
        return [value.text]
    if value is None:
        return ["null"]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, (int, float)):
        return [str(value)]
    if isinstance(value, str):
        return [quoted(value)]
    if isinstance(value, Call):
        return hugged(value.name + "(", expression(value.argument), ")")
    if isinstance(value, Choice):
        yes, no = expression(value.yes), expression(value.no)
        return joined([*hugged(f"{value.condition} ? ", yes, "")], " : ", no)
    if isinstance(value, dict):
        return entries(value, dense)
    if isinstance(value, list):
        return elements(value, dense)
    raise TypeError(f"no HCL for {value!r}")


def hugged(before, lines, after):
    return joined([before], "", [*lines[:-1], lines[-1] + after])


def joined(first, between, second):
    return [*first[:-1], first[-1] + between + second[0], *second[1:]]


def entries(value, dense):
    always = {key: each for key, each in value.items() if not isinstance(each, Under)}
    sometimes = [(key, each) for key, each in value.items() if isinstance(each, Under)]
    rendered = [joined([name(key)], " = ", expression(each, dense)) for key, each in always.items()]
    lines = ["{", *(line for each in rendered for line in each), "}"] if always else ["{}"]
    line = "{ " + ", ".join(each[0] for each in rendered) + " }"
    if dense and always and all(len(each) == 1 for each in rendered) and len(line) < WIDTH:
        lines = [line]
    if not sometimes:
        return lines
    parts = [lines] if always else []
    # Only the branch that applies has to be possible, and both have to be of one type: so not `? {...} : {}`.
    parts += [hugged(f"{{ for v in {each.condition} ? ", elements([each.value], dense), f" : [] : {quoted(key)} => v }}") for key, each in sometimes]
    return call("merge", parts)


def elements(value, dense=False):
    if any(isinstance(each, Under) for each in value):
        parts = []
        for each in value:
            if isinstance(each, Under):
                parts.append(hugged(f"{each.condition} ? ", elements([each.value], dense), " : []"))
            else:
                parts.append(elements([each], dense))
        return call("concat", parts)
    rendered = [expression(each, dense) for each in value]
    line = "[" + ", ".join(each[0] for each in rendered) + "]"
    if all(len(each) == 1 for each in rendered) and len(line) < WIDTH:
        return [line]
    return ["[", *(line for each in rendered for line in [*each[:-1], each[-1] + ","]), "]"]


def call(function, parts):
    return [f"{function}(", *(line for part in parts for line in [*part[:-1], part[-1] + ","]), ")"]


def name(key):
    return key if IDENTIFIER.match(key) else quoted(key)


def block(it):
    lines = [f"# {line}" for line in it.before.splitlines()]
    lines.append(" ".join([it.kind, *(quoted(label) for label in it.labels), "{"]))
    if not it.body:
        return [*lines[:-1], lines[-1] + "}"]
    for number, each in enumerate(it.body):
        if isinstance(each, Block):
            lines += [""] * (number > 0) + block(each)
        else:
            lines += [""] * (number > 0 and isinstance(it.body[number - 1], Block)) + joined([name(each[0])], " = ", expression(each[1]))
    return lines + ["}"]


def document(heading, blocks):
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    for each in blocks:
        lines += ["", *block(each)]
    return "\n".join(aligned(indented(lines))) + "\n"


def bare(line):
    """The line without its strings, and without its comment, of the same length."""
    return "" if line.lstrip().startswith("#") else STRING.sub(lambda found: '"' + "_" * (len(found.group()) - 2) + '"', line)


def net(text):
    return sum((each in "{[(") - (each in "}])") for each in text)


def indented(lines):
    """As hclwrite: a line that opens brackets indents what follows once, however many it opens."""
    opened, done = [], []
    for line in lines:
        change = net(bare(line))
        closed = max(-change, 0)
        while closed and opened:
            if closed < opened[-1]:
                opened[-1] -= closed
                closed = 0
            else:
                closed -= opened.pop()
        done.append(("  " * len(opened) + line).rstrip())
        if change > 0:
            opened.append(change)
    return done


def aligned(lines):
    """As hclwrite: the equals signs of consecutive lines that hold a whole expression."""
    done, chain = [], []

    def close():
        width = max((len(left) for left, _ in chain), default=0)
        done.extend(f"{left:<{width}} {right}" for left, right in chain)
        chain.clear()

    for line in lines:
        found = re.match(r'\s*("_*"|[A-Za-z_][A-Za-z0-9_-]*) (=) ', bare(line))
        if found and net(bare(line)[found.start(2) :]) == 0:
            chain.append((line[: found.end(1)], line[found.start(2) :]))
        else:
            close()
            done.append(line)
    close()
    return done
