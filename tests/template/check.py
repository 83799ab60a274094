#!/usr/bin/env python3
"""Every check of template.yaml that needs no AWS account. `python3 tests/template/check.py`

Prints one line per check; the exit code is 1 if there is a finding. `--release` records what a release deploys, for the check of
later updates (released.json). The first run creates two venvs and builds cfn-guard
(about a minute each) in ~/.cache/rootcast; later runs take seconds.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE.parents[1] / "template.yaml"
NOTIFICATIONS = TEMPLATE.parent / "infra/notifications.yaml"
SCHEMAS = TEMPLATE.parent / "functions/shared/events/schemas"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rootcast"
REGION = "eu-central-1"
GUARD = "3.2.1"


def main():
    python = venv()
    if Path(sys.prefix) != python.parents[1]:
        # Only the venv has the translator. Ignore PYTHONPATH and the like, so that it uses the versions in requirements.txt.
        os.execv(python, [str(python), "-I", "-B", str(HERE / "check.py"), *sys.argv[1:]])
    guard = cfn_guard()
    sys.path.insert(0, str(HERE))
    os.environ.update(AWS_EC2_METADATA_DISABLED="true", SAM_CLI_TELEMETRY="0")
    import live  # adds its checks, as do options and sources, which it imports
    from checks import CHECKS
    from defects import DEFECTS
    from template import Template
    from terraform import checks as terraform_checks

    template = Template.read(TEMPLATE)
    if sys.argv[1:] == ["--release"]:
        live.release(template)
        return 0
    defective = [template.mutated(change) for _, change, _ in DEFECTS]
    with tempfile.TemporaryDirectory() as folder:
        # One run of cfn-guard for the real template, which is the first, and those with a defect that a rule of its has to find.
        its = [number for number, (_, _, by) in enumerate(DEFECTS) if by not in CHECKS]
        ruled, *broke = guard_findings(guard, Path(folder), [template, *(defective[number] for number in its)])
        linted = lint_findings(python.parent, Path(folder) / "000.json")
        linted["notifications name what events have"] = notification_findings(NOTIFICATIONS.read_text())
        linted["checkov on the translated template"] = checkov_findings(Path(folder) / "000.json")

    findings = {**linted, **ruled, **{name: list(check(template)) for name, check in CHECKS.items()}}
    failed = [name for name, found in findings.items() if report(name, found)]
    rules = dict(zip(its, broke))
    for number, (wrong, _, by) in enumerate(DEFECTS):
        found = list(CHECKS[by](defective[number])) if by in CHECKS else rules[number][by]
        seen = set(found) - set(findings[by])
        failed += [wrong] * report(f"found: {wrong}", [] if seen else [f"`{by}` does not see it"])
    unproven = set(findings) - set(linted) - {by for _, _, by in DEFECTS}
    failed += ["proof"] * report("every check of ours found a defect", [f"`{name}` has none in defects.py" for name in sorted(unproven)])
    with tempfile.TemporaryDirectory() as folder:
        failed += [name for name, found in terraform_checks(template, Path(folder)) if report(name, found)]
    return 1 if failed else 0


def report(name, findings):
    """Prints a check's result, which is None if it could not run; returns whether it has findings."""
    if findings is None:
        print(f"----  NOT CHECKED: {name}")
        return False
    print(f"{'FAIL' if findings else 'ok  '}  {name.replace('_', ' ')}")
    for finding in findings:
        print(f"      {finding}")
    return bool(findings)


def lint_findings(tools, translated):
    """Findings of `sam validate --lint`, and of cfn-lint, which no longer translates SAM, on the translated template."""
    commands = {
        "sam validate --lint": [tools / "sam", "validate", "--lint", "--region", REGION, "--template", TEMPLATE],
        "cfn-lint on the translated template": [tools / "cfn-lint", "--regions", REGION, "--template", translated],
        "cfn-lint on infra/deployment.yaml": [tools / "cfn-lint", "--regions", REGION, "--template", HERE.parents[1] / "infra/deployment.yaml"],
        "cfn-lint on infra/notifications.yaml": [tools / "cfn-lint", "--regions", REGION, "--template", NOTIFICATIONS],
    }
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "__SAM_CLI_APP_DIR": str(CACHE / "sam")}
    findings = {}
    for name, command in commands.items():
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=False)
        findings[name] = (ran.stdout + ran.stderr).split("\n") if ran.returncode else []
    return findings


def notification_findings(text):
    """EventBridge puts nothing in place of a member that the event does not have."""
    schemas = {schema["title"]: schema["properties"] for schema in (json.loads(file.read_text()) for file in SCHEMAS.glob("*.json"))}
    rules = [(re.search(r"detail-type: \[(.+?)\]", rule)[1], set(re.findall(r"\$\.detail\.(\w+)", rule))) for rule in text.split("EventPattern:")[1:]]
    findings = [f"{kind} has no {name}" for kind, names in rules for name in sorted(names - set(schemas.get(kind, {})))]
    return findings + [f"there is no event {kind}" for kind, _ in rules if kind not in schemas] + ([] if rules else ["no rules were found"])


def checkov_findings(translated):
    """Findings that are no exceptions, and exceptions without a finding."""
    from exceptions import EXCEPTIONS

    command = [made("checkov", HERE / "checkov.txt"), "-m", "checkov.main", "--framework", "cloudformation", "--compact", "--quiet"]
    command += ["--skip-download", "--output", "json", "--file", translated]
    # In a folder without a configuration file.
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, cwd=translated.parent)
    try:
        report = json.loads(ran.stdout)
    except ValueError:
        return [f"checkov did not understand the template: {ran.stdout}{ran.stderr}"]
    if report["summary"]["parsing_errors"] or report["summary"]["passed"] < 100:
        return [f"checkov did not look: {report['summary']}"]
    found = {(check["check_id"], check["resource"].rsplit(".", 1)[-1]): check["check_name"] for check in report["results"]["failed_checks"]}
    excepted = {(check, resource) for check, (resources, _) in EXCEPTIONS.items() for resource in resources}
    findings = [f"{check} {resource}: {name}" for (check, resource), name in sorted(found.items()) if (check, resource) not in excepted]
    return findings + [f"{check} {resource}: an exception for what is not found" for check, resource in sorted(excepted - set(found))]


def guard_findings(guard, folder, templates):
    """Violations of each template: rule → messages, with an empty list for a rule that holds."""
    for number, template in enumerate(templates):
        (folder / f"{number:03}.json").write_text(json.dumps(template.translated))
    command = [guard, "validate", "--rules", HERE / "rules.guard", "--data", folder]
    command += ["--structured", "--output-format", "json", "--show-summary", "none"]
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    try:
        reports = {Path(report["name"]).name: report for report in json.loads(ran.stdout)}
    except ValueError:
        sys.exit(f"cfn-guard did not understand its rules:\n{ran.stdout}{ran.stderr}")
    return [verdicts(reports[f"{number:03}.json"]) for number in range(len(templates))]


def verdicts(report):
    rules = {name: [] for name in report["compliant"]}
    rules.update({name: ["this rule found nothing to look at"] for name in report["not_applicable"]})
    for failure in report["not_compliant"]:
        rule = failure["Rule"]
        rules[rule["name"]] = sorted(set(messages(rule["checks"]))) or ["not compliant"]
    return rules


def messages(node):
    """Every message of cfn-guard at any depth: the rule's own, if it has one."""
    if isinstance(node, list):
        for each in node:
            yield from messages(each)
    elif isinstance(node, dict):
        said = node.get("messages")
        if said:
            yield (said.get("custom_message") or said.get("error_message") or "").strip()
        for each in node.values():
            yield from messages(each)


def venv():
    """The interpreter of the venv for requirements.txt, which is created if needed."""
    if Path(sys.prefix).parent == CACHE and sys.prefix != sys.base_prefix:
        return Path(sys.prefix) / "bin" / "python"
    return made("template", HERE / "requirements.txt")


def made(name, requirements):
    """The interpreter of the venv with this name and these requirements, which is created if needed."""
    stamp = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = CACHE / f"{name}-{stamp}"
    python = home / "bin" / "python"
    with lock(name):
        if not (home / "complete").exists():
            print(f"making a venv in {home}", flush=True)
            shutil.rmtree(home, ignore_errors=True)
            run([sys.executable, "-m", "venv", home], "Python's venv module is needed (on Debian: apt-get install python3-venv)")
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run([*pip, "-r", requirements], f"pip could not install {requirements.name}")
            (home / "complete").touch()
    return python


def cfn_guard():
    """The binary, which is built if needed. Not a library of the tests: no other code needs its 127 crates."""
    home = CACHE / f"cfn-guard-{GUARD}"
    binary = home / "bin" / "cfn-guard"
    with lock("cfn-guard"):
        if not binary.exists():
            print(f"building cfn-guard {GUARD} in {home}", flush=True)
            build = home / "build"
            # Unoptimised: it only reads a file of 50 KB, and builds in a third of the time.
            settings = {"CARGO_TARGET_DIR": str(build), "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_INCREMENTAL": "0"}
            cargo = os.environ.get("CARGO", "cargo")
            command = ["nice", cargo, "install", "cfn-guard", "--version", GUARD, "--locked", "--debug", "--root", home]
            run(command, "cfn-guard could not be built", cwd=CACHE, env={**os.environ, **settings})
            shutil.rmtree(build, ignore_errors=True)
    return binary


def run(command, otherwise, **options):
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ran = subprocess.run(command, text=True, check=False, **streams, **options)
    if ran.returncode:
        sys.exit(f"{ran.stdout}\n{otherwise}")


@contextlib.contextmanager
def lock(name):
    """Prevents concurrent runs from creating the same venv or binary twice."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
