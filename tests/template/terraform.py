"""infra/terraform against template.yaml: the files are what the generator makes of it, and what Terraform evaluates them to is the template.

Terraform applies them against a mock of the provider: every expression is evaluated and every argument checked by the provider's schema, and
nothing leaves the machine. Then each resource is read back in CloudFormation's shape and compared, property by property."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cloudformation import ACCOUNT, REGION, Stack, arn

MODULE = Path(__file__).resolve().parents[2] / "infra" / "terraform"
sys.path.insert(0, str(MODULE / "generator"))

from expressions import Unknown, snake  # noqa: E402
from generate import RETAINED, Module, terraform_type  # noqa: E402
from hcl import Block, Raw, document  # noqa: E402
from kinds import KINDS  # noqa: E402
from terraform_defects import DEFECTS, UNKNOWN  # noqa: E402
from terraform_differences import MADE_UP, differences  # noqa: E402

# Where a machine may have the provider; otherwise Terraform fetches it from its registry.
MIRRORS = [Path("/opt/tf-plugins"), Path("/usr/local/share/terraform/plugins")]

# Parameters, of which the template's are used: every condition of the template must be compared in both states.
SETS = {
    "smallest": {},
    "everything": {
        "Architecture": "x86_64",
        "EndpointUrl": "http://127.0.0.1:4566",
        "SubnetIds": ["subnet-1", "subnet-2"],
        "SecurityGroupIds": ["sg-1", "sg-2"],
        "DeviceCidrs": "10.20.0.0/16,fd12::/64",
        "RootKeySleeps": False,
        "MultiRegionRoots": True,
        "LeavesFromRoot": True,
        "RevokeSuperseded": False,
        "CrlBaseUrl": "http://pki.example.com/lists",
        "OidcIssuer": "https://login.example.com",
        "OidcAudience": ["rootcast", "others"],
        "OidcClientId": "rootcast",
        "RequesterArns": ["arn:aws:iam::111122223333:role/ops/*"],
        "TwoPersons": "regenerate,administer-access",
        "AuditBucket": "auditors-bucket",
        "OwnAlarmTopic": True,
        "AlarmEmail": "ops@example.com",
        "Dashboard": True,
        "Tracing": "Active",
        "ApiReservedConcurrency": 20,
        "PermissionsBoundaryArn": "arn:aws:iam::111122223333:policy/boundary",
        "SigningProfileVersionArns": "arn:aws:signer:eu-central-1:111122223333:/signing-profiles/rootcast/abcdefghij",
        "CustomerKeys": True,
        "DeletionProtection": False,
        "BackupDays": 35,
        "Ipv6": True,
        "EndpointVpcId": "vpc-0123456789abcdef0",
        "EndpointRouteTableIds": "rtb-0123456789abcdef0,rtb-0123456789abcdef1",
        "PublicEdge": True,
        "PublicEdgeDomainName": "pki.example.com",
        "PublicEdgeCertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/01234567-89ab-cdef-0123-456789abcdef",
        "PublicEdgeWebAclArn": "arn:aws:wafv2:us-east-1:111122223333:global/webacl/rootcast/01234567-89ab-cdef-0123-456789abcdef",
    },
    # What excludes something of the above.
    "named": {
        "AlarmTopicArn": "arn:aws:sns:eu-central-1:111122223333:alarms",
        "ApiDomainName": "api.example.com",
        "ApiCertificateArn": "arn:aws:acm:eu-central-1:111122223333:certificate/01234567-89ab-cdef-0123-456789abcdef",
        "ApiTruststoreUri": "s3://truststore/clients.pem",
        "CrlBaseUrl": "http://pki.example.com",
    },
}


def fresh(template):
    """Findings about the files."""
    try:
        files = Module(template.translated).files()
    except Unknown as missing:
        yield str(missing)
        return
    there = {path.name: path.read_text() for path in MODULE.glob("*.tf")}
    for name in sorted(files.keys() | there.keys()):
        if files.get(name) != there.get(name):
            yield f"infra/terraform/{name} is not what template.yaml makes: run `python3 infra/terraform/generator/generate.py`"


def checks(template, folder):
    """Name → findings; None for what cannot run on this machine."""
    yield "infra/terraform is made from template.yaml", list(fresh(template))
    yield from ((f"found: {wrong}", [] if any(text in finding for finding in fresh(template.mutated(change))) else ["it was not"]) for wrong, change, text in UNKNOWN)
    it = Evaluated(template, folder)
    yield "Terraform is compared under each condition and without it", list(it.halves())
    if not it.there:
        yield "terraform fmt, validate and test: there is no terraform (https://developer.hashicorp.com/terraform/install)", None
        return
    yield "terraform fmt", it.formatted()
    it.evaluate()
    if any("Failed to query available provider packages" in finding for finding in it.findings):
        yield "terraform validate and test: Terraform's registry cannot be reached, and the provider is not on this machine", None
        return
    yield "terraform validate, and apply against a mock", it.findings
    if it.findings:
        return
    yield "Terraform evaluates to template.yaml", list(it.compared())
    yield "Terraform keeps what template.yaml keeps", list(it.retained())
    for wrong, change, text in DEFECTS:
        state = copy.deepcopy(it.state)
        change(state)
        yield f"found: {wrong}", [] if any(text in difference for difference in it.compared(state=state)) else ["it was not"]


class Evaluated:
    """The module with several sets of parameters, and the examples, applied against the mock in `folder`."""

    def __init__(self, template, folder):
        self.template, self.folder = template, folder
        given = template.source["Parameters"]
        self.sets = {name: {key: value for key, value in values.items() if key in given} for name, values in SETS.items()}
        self.findings, self.state, self.outputs, self.kept = [], {}, {}, set()
        binary = shutil.which("terraform")
        self.there = binary is not None
        if self.there:
            self.terraform = [binary]
            self.environment = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": str(self.settings()), "AWS_REGION": REGION}

    def settings(self):
        """Of Terraform, and not the user's own."""
        file = self.folder / "terraform.rc"
        mirrors = [path for path in MIRRORS if path.is_dir()]
        lines = [f'  filesystem_mirror {{\n    path = "{path}"\n  }}' for path in mirrors]
        file.write_text("provider_installation {\n" + "\n".join(lines) + "\n}\n" if mirrors else "")
        return file

    def run(self, *arguments):
        command = [*self.terraform, *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def halves(self):
        """Conditions that no set of parameters puts into one of their states."""
        stacks = [Stack(self.template.translated, "rootcast", parameters, {}) for parameters in self.sets.values()]
        for name in self.template.translated["Conditions"]:
            if len({stack.holds(name) for stack in stacks}) == 1:
                yield f"{name} is the same in every set: add its parameter to SETS in tests/template/terraform.py"

    def formatted(self):
        ran = subprocess.run([*self.terraform, "fmt", "-check", "-recursive", "-diff", str(MODULE)], env=self.environment, capture_output=True, text=True, check=False)
        return (ran.stdout + ran.stderr).splitlines() if ran.returncode else []

    def lay(self):
        """A root module with each set of parameters and each example, and the mock that gives what only AWS knows."""
        shutil.copytree(MODULE, self.folder / "infra" / "terraform", ignore=shutil.ignore_patterns("generator", ".terraform*"))
        for function in self.template.of("Lambda::Function"):
            package = self.folder / function[1]["Code"]["S3Key"] / "bootstrap.zip"
            package.parent.mkdir(parents=True)
            package.write_bytes(b"PK\5\6" + bytes(18))
        root, mocks = [Block("terraform", [], [Block("required_providers", [], [("aws", {"source": "hashicorp/aws"})])])], []
        for name, parameters in self.sets.items():
            values = [(snake(key), value) for key, value in parameters.items()]
            root.append(Block("module", [name], [("source", "./infra/terraform"), ("packages", "./target/lambda"), *values]))
            root.append(Block("output", [name], [("value", Raw(f"module.{name}"))]))
            mocks += self.mocks(f"module.{name}")
        (self.folder / "main.tf").write_text(document("All of them at once: loading the provider takes longest.", root))
        regions = [
            Block("mock_data", ["aws_caller_identity"], [("defaults", {"account_id": ACCOUNT})]),
            Block("mock_data", ["aws_partition"], [("defaults", {"partition": "aws", "dns_suffix": "amazonaws.com"})]),
            Block("mock_data", ["aws_region"], [("defaults", {"id": REGION, "name": REGION})]),
            Block("mock_data", ["aws_availability_zones"], [("defaults", {"names": [REGION + "a", REGION + "b"]})]),
            Block("mock_data", ["aws_iam_policy_document"], [("defaults", {"json": "{}"})]),
            Block("mock_resource", ["aws_sns_topic"], [("defaults", {"arn": SETS["named"]["AlarmTopicArn"]})]),
        ]
        applied = Block("run", ["applied"], [("command", Raw("apply"))])
        text = document("", [Block("mock_provider", ["aws"], regions), *mocks, applied, *self.examples(), *self.refused()])
        (self.folder / "rootcast.tftest.hcl").write_text(text)

    def examples(self):
        """Each one planned: a second apply of the same module would show nothing else."""
        for example in sorted(path.name for path in (MODULE / "examples").iterdir()):
            yield planned(f"example_{example}", f"./infra/terraform/examples/{example}", self.variables_of(example))

    def variables_of(self, example):
        """Values for an example's variables without a default."""
        text = (MODULE / "examples" / example / "main.tf").read_text()
        for name, body in re.findall(r'^variable "([^"]+)" \{(.*?)^\}', text, re.MULTILINE | re.DOTALL):
            if not re.search(r"^\s*default\s*=", body, re.MULTILINE):
                yield name, [f"{name}-1"] if "list" in body else f"{name.replace('_', '-')}-1"

    def mocks(self, module):
        """Nothing but what AWS makes up."""
        for name, resource in self.template.resources.items():
            kind = KINDS[resource["Type"]]
            made = {each: f"{each}-of-{name}" for each in ("id", "url", "key_id", "api_endpoint", "uuid", "domain_name")}
            values = {each: {**made, "arn": arn(resource["Type"], name)}[each] for each in MADE_UP.get(kind.type, ("arn",))}
            if values:
                yield Block("override_resource", [], [("target", Raw(f"{module}.{kind.type}.{snake(name)}")), ("values", values)])

    def refused(self):
        """Every variable with a value that template.yaml refuses as well: none may pass."""
        bad = {name: broken(each) for name, each in self.template.source["Parameters"].items()}
        bad = {name: value for name, value in bad.items() if value is not None}
        # Terraform does not judge a rule about another variable that is refused itself.
        ruled = Module(self.template.translated).rules()
        values = {snake(name): value for name, value in bad.items() if snake(name) not in ruled}
        for title, given in (("refused", values), ("rules", {"leaves_from_root": True})):
            yield planned(title, "./infra/terraform", [("packages", "./target/lambda"), *given.items()], refuses=given)

    def evaluate(self):
        self.lay()
        for step in (["init", "-no-color", "-input=false"], ["validate", "-no-color"]):
            ran = self.run(*step)
            if ran.returncode:
                self.findings += [f"terraform {step[0]}: {line}" for line in (ran.stdout + ran.stderr).splitlines() if line.strip()]
                return
        ran = self.run("test", "-json", "-verbose")
        for line in ran.stdout.splitlines():
            said = json.loads(line)
            kept = re.match(r"Resource (\S+) has lifecycle.prevent_destroy", said.get("diagnostic", {}).get("detail", ""))
            if kept:
                # The test tidies up after itself, and is refused this.
                self.kept.add(kept.group(1))
            elif said.get("@level") == "error" and "need to be cleaned up" not in said["@message"]:
                shown = said.get("diagnostic", {})
                self.findings.append(f"{said['@message']} {shown.get('detail', '')} {shown.get('range', {}).get('filename', '')}")
            if said["type"] == "test_state" and said.get("@testrun") == "applied":
                self.outputs = {key: each["value"] for key, each in said["test_state"]["outputs"].items()}
                self.gather(said["test_state"]["root_module"])
        if not self.state and not self.findings:
            self.findings.append(f"terraform test applied nothing: {ran.stderr}")

    def gather(self, module):
        """Address of the module → type → label → instances."""
        for each in module.get("resources", []):
            if each["mode"] == "managed":
                known_there = self.state.setdefault(module.get("address", ""), {}).setdefault(each["type"], {})
                known_there.setdefault(each["name"], []).append(each["values"])
        for child in module.get("child_modules", []):
            self.gather(child)

    def retained(self):
        """Differences in what must outlive a mistake. The state has no `lifecycle`, so the files are read; that Terraform keeps to it was seen."""
        expected = {snake(name) for name, each in self.template.resources.items() if each.get("DeletionPolicy") in RETAINED}
        text = "\n".join(path.read_text() for path in MODULE.glob("*.tf"))
        blocks = re.findall(r'^resource "[^"]+" "([^"]+)" (\{.*?^\})', text, re.MULTILINE | re.DOTALL)
        found = {name for name, body in blocks if "prevent_destroy = true" in body}
        refused = {re.sub(r".*\.|\[0\]", "", address) for address in self.kept}
        yield from (f"{name}: only template.yaml keeps it when it is taken out" for name in sorted(expected - found))
        yield from (f"{name}: only Terraform keeps it when it is taken out" for name in sorted((found | refused) - expected))
        if not refused:
            yield "Terraform destroyed everything after the test"

    def compared(self, state=None):
        """Differences between the template and what Terraform evaluated, of every set of parameters."""
        template = self.template.translated
        for name, parameters in self.sets.items():
            found = (state or self.state).get(f"module.{name}", {})
            for difference in differences(template, parameters, found, self.outputs.get(name, {})):
                yield f"{name}: {difference}"


def planned(title, source, variables, refuses=()):
    """A run that plans a module, and passes if exactly these variables are refused."""
    return Block("run", [title], [
        ("command", Raw("plan")),
        ("expect_failures", [Raw(f"var.{name}") for name in refuses]),
        Block("variables", [], list(variables)),
        Block("module", [], [("source", source)]),
    ])


def broken(parameter):
    """A value that the parameter's rules refuse; None if it has none."""
    kind = terraform_type(parameter)
    if kind == "number":
        return parameter["MinValue"] - 1 if "MinValue" in parameter else max(parameter["AllowedValues"]) + 1 if "AllowedValues" in parameter else None
    if kind == "string" and ("AllowedPattern" in parameter or "AllowedValues" in parameter):
        return "\u00a7 no such value"
    return None
