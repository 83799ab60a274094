#!/usr/bin/env python3
"""Whether two packings of the same programs are the same bytes, and whether the bill of materials is complete. `python3 tests/release/check.py`"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "infra/release"))
import pack  # noqa: E402


def main():
    with tempfile.TemporaryDirectory() as folder:
        one, other, changed = (packed(Path(folder), number, content) for number, content in enumerate([b"\x7fELF", b"\x7fELF", b"\x7fELG"]))
        findings = [*same(one, other), *opens(one), *complete(json.loads((one / "bom.cdx.json").read_text()))]
        if not list(same(one, changed)):
            findings.append("a changed program makes the same package: the comparison compares nothing")
    print("\n".join(findings) or "ok    packages are the same twice, and the bill of materials is complete")
    return 1 if findings else 0


def packed(folder, number, content):
    """Packs programs of this content, with times and modes of their own."""
    binaries, out = folder / f"binaries{number}", folder / f"out{number}"
    binaries.mkdir()
    for function in pack.FUNCTIONS:
        (binaries / function).write_bytes(content + function.encode() * 1000)
        (binaries / function).chmod(0o700 + number)
        os.utime(binaries / function, (1700000000 + number, 1700000000 + number))
    subprocess.run([sys.executable, ROOT / "infra/release/pack.py", binaries, out], check=True, capture_output=True, umask=0o22 + number * 5)
    return out


def same(one, other):
    for path in sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file()):
        held = [(each / path).read_bytes() for each in (one, other)]
        told = [((each / path).stat().st_mode, int((each / path).stat().st_mtime)) for each in (one, other)]
        if held[0] != held[1] or (path.name == "bootstrap" and told[0] != told[1]):
            yield f"{path} differs between two packings of the same programs"


def opens(out):
    for function in pack.FUNCTIONS:
        with zipfile.ZipFile(out / f"{function}.zip") as archive:
            (entry,) = archive.infolist()
            if entry.filename != "bootstrap" or (entry.external_attr >> 16) & 0o777 != 0o755:
                yield f"{function}.zip holds {entry.filename} with mode {entry.external_attr >> 16:o}: Lambda runs an executable bootstrap"


def complete(bill):
    """Against Cargo.lock, which another part of cargo wrote: nothing unknown, everything hashed, and what must be there is."""
    locked = set(re.findall(r'name = "(.+)"\nversion = "(.+)"', (ROOT / "Cargo.lock").read_text()))
    named = {(each["name"], each["version"]) for each in bill["components"]}
    yield from (f"{each} is in the bill, and not in Cargo.lock" for each in sorted(named - locked))
    names = {name for name, _ in named}
    functions = {each["name"].removeprefix("rootcast-") for each in bill["components"] if each["type"] == "application"}
    yield from (f"{name} is missing" for name in sorted(set(pack.FUNCTIONS) - functions))
    yield from (f"{name} is missing" for name in sorted({"aws-lc-sys", "aws-sdk-kms", "lambda_runtime", "rustls"} - names))
    # Only tests and the local cloud use these.
    yield from (f"{name} is in no function" for name in sorted({"proptest", "dynoxide-rs", "rootcast-tests", "rootcast-local"} & names))
    for each in bill["components"]:
        if not each["name"].startswith("rootcast") and each["name"] not in pack.FUNCTIONS and ("hashes" not in each or "licenses" not in each):
            yield f"{each['name']} has no hash or no licence"
    references = {each["bom-ref"] for each in bill["components"]} | {"rootcast"}
    for each in bill["dependencies"]:
        yield from (f"{each['ref']} depends on {to}, which is not in the bill" for to in sorted(set(each["dependsOn"]) - references))


if __name__ == "__main__":
    sys.exit(main())
