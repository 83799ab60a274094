#!/usr/bin/env python3
"""Takes the tables and keys that a deleted stack left into a new one of the same name: `infra/release/adopt.py LOGICAL-ID=NAME...`

Writes adopt.yaml, template.yaml with nothing but what is retained, and adopt-resources.json, for a change set of the type IMPORT
(infra/README.md). Every table's name and every key's id has to be given; those of CustomerKeys and BackupDays if the stack had them.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RETAINED = "    DeletionPolicy: RetainExceptOnCreate\n"
NOTHING = "!Ref AWS::NoValue"
OPTIONAL = re.compile(rf"!If \[\w+, !GetAtt (\w+)\.Arn, {NOTHING}\]")
# By what CloudFormation finds a resource of the type.
IDENTIFIER = {"AWS::DynamoDB::Table": "TableName", "AWS::KMS::Key": "KeyId", "AWS::Backup::BackupVault": "BackupVaultName"}


def main(given):
    sections = dict(re.findall(r"^(\w+):\n((?:[ #].*\n|\n)*)", (ROOT / "template.yaml").read_text(), re.M))
    retained = {name: block for name, block in re.findall(r"^  (\w+):.*\n((?:    .*\n|\n|  #.*\n)*)", sections["Resources"], re.M) if RETAINED in block}
    always = {name for name, block in retained.items() if "    Condition: " not in block}
    if not always <= set(given) <= set(retained):
        missing, unknown = sorted(always - set(given)), sorted(set(given) - set(retained))
        sys.exit(f"missing: {', '.join(missing) or 'none'}; not retained by the template: {', '.join(unknown) or 'none'}\n\n{__doc__}")
    return adopted(sections, {name: retained[name] for name in retained if name in given}), [to_import(name, retained[name], identifier) for name, identifier in given.items()]


def adopted(sections, retained):
    """Without the transform, which no import may have; all parameters and conditions stay."""
    # An import wants a policy on every resource, and creates none: the next deployment sets the template's own.
    blocks = [f"  {name}:\n{block.rstrip().replace(RETAINED, '    DeletionPolicy: Retain' + chr(10))}\n" for name, block in retained.items()]
    # An import names every resource of its template, also one whose condition is false: so what is not given is not there.
    blocks = [OPTIONAL.sub(lambda found: found[0] if found[1] in retained else NOTHING, block) for block in blocks]
    kept = "".join(f"{section}:\n{sections[section].rstrip()}\n\n" for section in ("Parameters", "Rules", "Conditions"))
    return f'AWSTemplateFormatVersion: "2010-09-09"\n\n{kept}Resources:\n' + "\n".join(blocks)


def to_import(name, block, identifier):
    kind = re.search(r"^    Type: (\S+)", block, re.M).group(1)
    return {"ResourceType": kind, "LogicalResourceId": name, "ResourceIdentifier": {IDENTIFIER[kind]: identifier}}


if __name__ == "__main__":
    if len(sys.argv) < 2 or not all("=" in each for each in sys.argv[1:]):
        sys.exit(__doc__)
    template, resources = main(dict(each.split("=", 1) for each in sys.argv[1:]))
    Path("adopt.yaml").write_text(template)
    Path("adopt-resources.json").write_text(json.dumps(resources, indent=1) + "\n")
    print(f"adopt.yaml, and adopt-resources.json with {len(resources)} resources")
