#!/usr/bin/env python3
"""Packs built functions the same way each time, and says what is in them: `infra/release/pack.py BINARIES [OUT]`

OUT (target/lambda) gets a folder for each function, as template.yaml's CodeUri wants it, a zip of it, SHA256SUMS and bom.cdx.json, a
CycloneDX bill of materials. The same binaries and Cargo.lock give the same bytes, whenever and wherever that is: a zip's times, modes
and order are fixed, and the bill has no time and no random number (its serial number is derived from its content).
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ["regenerate", "conduct", "worker", "issue", "catalog", "import", "retry", "access", "console", "rotate"]
# The first moment that a zip can express: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.4.6.
EPOCH = (1980, 1, 1, 0, 0, 0)
EPOCH_SECONDS = 315532800


def main(binaries, out):
    out.mkdir(parents=True, exist_ok=True)
    sums = [f"{packed(function, binaries / function, out)}  {function}.zip" for function in FUNCTIONS]
    bill = json.dumps(bill_of_materials(metadata()), indent=1, sort_keys=True) + "\n"
    (out / "bom.cdx.json").write_text(bill)
    sums.append(f"{hashlib.sha256(bill.encode()).hexdigest()}  bom.cdx.json")
    (out / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    print((out / "SHA256SUMS").read_text(), end="")


def packed(function, binary, out):
    """Writes the function's folder and its zip; returns the zip's SHA-256."""
    if not binary.is_file():
        sys.exit(f"{binary} is not there: `infra/release/build` builds it")
    folder, zipped = out / function, out / f"{function}.zip"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    bootstrap = folder / "bootstrap"
    shutil.copyfile(binary, bootstrap)
    bootstrap.chmod(0o755)
    # `sam deploy` zips the folder itself, with the file's own time and mode.
    for each in (bootstrap, folder):
        os.utime(each, (EPOCH_SECONDS, EPOCH_SECONDS))
    entry = zipfile.ZipInfo("bootstrap", EPOCH)
    entry.create_system, entry.external_attr, entry.compress_type = 3, 0o100755 << 16, zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(entry, bootstrap.read_bytes(), compresslevel=9)
    return hashlib.sha256(zipped.read_bytes()).hexdigest()


def metadata():
    # Of Linux alone: what is only compiled elsewhere is in no function.
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "aarch64-unknown-linux-gnu"]
    # With the registry only if a crate is not here: cargo fetches what the machine's own platform needs.
    for offline in (["--offline"], []):
        ran = subprocess.run([*command, *offline], cwd=ROOT, capture_output=True, text=True, check=False)
        if ran.returncode == 0:
            return json.loads(ran.stdout)
    sys.exit(f"{ran.stderr}cargo cannot read Cargo.lock")


def bill_of_materials(metadata):
    """Every crate that a function is compiled from or by (build scripts, macros), with what it depends on."""
    packages = {package["id"]: package for package in metadata["packages"]}
    depends = {node["id"]: [each["pkg"] for each in node["deps"] if not is_for_tests(each)] for node in metadata["resolve"]["nodes"]}
    ours = {key: package for key, package in packages.items() if package["source"] is None}
    programs = {target["name"]: key for key, package in ours.items() for target in package["targets"] if "bin" in target["kind"]}
    roots = [programs[function] for function in FUNCTIONS]
    reached, left = set(), list(roots)
    while left:
        package = left.pop()
        if package not in reached:
            reached.add(package)
            left += depends[package]
    locked = checksums()
    purls = {package: purl(packages[package]) for package in reached}
    components = sorted((component(packages[package], package in roots, locked.get((packages[package]["name"], packages[package]["version"]))) for package in reached), key=lambda each: each["bom-ref"])
    dependencies = [{"ref": purls[package], "dependsOn": sorted({purls[to] for to in depends[package]})} for package in reached]
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "rootcast", "version": packages[roots[0]]["version"], "bom-ref": "rootcast"}},
        "components": components,
        "dependencies": sorted([*dependencies, {"ref": "rootcast", "dependsOn": sorted(purls[root] for root in roots)}], key=lambda each: each["ref"]),
    }
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bill, sort_keys=True))}"
    return bill


def is_for_tests(dependency):
    return all(each["kind"] == "dev" for each in dependency["dep_kinds"])


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, is_function, checksum):
    said = {"type": "application" if is_function else "library", "name": package["name"], "version": package["version"], "bom-ref": purl(package), "purl": purl(package)}
    if package["license"]:
        # An old way to write OR: https://doc.rust-lang.org/cargo/reference/manifest.html#the-license-and-license-file-fields
        said["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum:
        said["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return said


def checksums():
    """Cargo.lock's, by name and version: what the registry delivered."""
    entry = re.compile(r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"')
    return {(name, version): checksum for name, version, checksum in entry.findall((ROOT / "Cargo.lock").read_text())}


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else ROOT / "target" / "lambda")
