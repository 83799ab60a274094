"""pyhanko's verdicts on bundles, for a TLS server's certificate. Input and output as in readers.py; keys are not looked at."""

import asyncio
import base64
import datetime
import json
import sys

from asn1crypto import x509
from pyhanko_certvalidator import CertificateValidator, ValidationContext


async def main():
    asked = json.load(sys.stdin)
    now = datetime.datetime.fromtimestamp(asked["now"], datetime.timezone.utc)
    json.dump([await verdict(bundle, now) for bundle in asked["bundles"]], sys.stdout)


async def verdict(bundle, now):
    try:
        leaf, *others = [read(der) for der in [bundle["leaf"], *bundle["others"]]]
        context = ValidationContext(trust_roots=[read(der) for der in bundle["anchors"]], moment=now)
        await CertificateValidator(leaf, others, context).async_validate_usage({"digital_signature"}, {"server_auth"})
        return ""
    except Exception as error:  # any error is a refusal
        return f"{type(error).__name__}: {error}".split("\n")[0][:300] or "refused"


def read(der):
    return x509.Certificate.load(base64.b64decode(der), strict=True)


asyncio.run(main())
