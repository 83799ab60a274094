"""Python cryptography's verdicts on bundles: one line of JSON in, one line of JSON out, for all bundles.

In: {"now": seconds, "bundles": [{"leaf": DER, "others": [DER], "anchors": [DER], "key": PEM or null}]}, DER as base64.
Out: ["", or why it is refused, for each].
"""

import base64
import datetime
import ipaddress
import json
import sys
import warnings

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store

SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def main():
    warnings.simplefilter("ignore")  # about serial numbers and SHA-1: only the verdict matters
    asked = json.load(sys.stdin)
    now = datetime.datetime.fromtimestamp(asked["now"], datetime.timezone.utc).replace(tzinfo=None)
    json.dump([verdict(bundle, now) for bundle in asked["bundles"]], sys.stdout)


def verdict(bundle, now):
    try:
        leaf, *others = [x509.load_der_x509_certificate(base64.b64decode(der)) for der in [bundle["leaf"], *bundle["others"]]]
        anchors = [x509.load_der_x509_certificate(base64.b64decode(der)) for der in bundle["anchors"]]
        if not anchors:
            return "no anchor"
        verifier = PolicyBuilder().store(Store(anchors)).time(now).build_server_verifier(subject(leaf))
        verifier.verify(leaf, others)
        key = load_pem_private_key(bundle["key"].encode(), None) if bundle["key"] is not None else None
        if key is not None and key.public_key().public_bytes(*SPKI) != leaf.public_key().public_bytes(*SPKI):
            return "another key"
        return ""
    except Exception as error:  # any error is a refusal
        return f"{type(error).__name__}: {error}".split("\n")[0][:300] or "refused"
    except BaseException as error:  # pyo3's panics are not Exceptions
        return f"panic: {error}"[:300]


def subject(leaf):
    """One of the certificate's names, which its verifier requires: from the SAN, or else the CN."""
    try:
        for name in leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value:
            if isinstance(name, x509.DNSName):
                return x509.DNSName(name.value.replace("*", "any"))
            if isinstance(name, x509.IPAddress):
                return name
    except x509.ExtensionNotFound:
        pass
    for name in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME):
        try:
            return x509.IPAddress(ipaddress.ip_address(name.value))
        except ValueError:
            return x509.DNSName(name.value.replace("*", "any"))
    return x509.DNSName("nobody.example")


main()
