"""The work of an import in Python cryptography, as in an operator's script. One line of JSON in, one line out.

In: [{"certificates": PEM, "key": PEM, "host": name, "now": seconds}]. Out: seconds of CPU a certificate, for each without and with
a signature that proves the key.
"""

import datetime
import json
import os
import sys
import time

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.verification import PolicyBuilder, Store

SECONDS = 1.0
PROOF = b"this key belongs to this certificate"
SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def main():
    json.dump([[measure(each, proof) for proof in (False, True)] for each in json.load(sys.stdin)], sys.stdout)


def measure(sent, proof):
    certificates, key, host = sent["certificates"].encode(), sent["key"].encode(), x509.DNSName(sent["host"])
    now = datetime.datetime.fromtimestamp(sent["now"], datetime.timezone.utc).replace(tzinfo=None)
    data_key = os.urandom(32)
    run(certificates, key, host, now, data_key, proof)
    runs, begun = 0, time.process_time()
    while time.process_time() - begun < SECONDS:
        run(certificates, key, host, now, data_key, proof)
        runs += 1
    return (time.process_time() - begun) / runs


def run(certificates, key, host, now, data_key, proof):
    leaf, *others = x509.load_pem_x509_certificates(certificates)
    private = load_pem_private_key(key, None)
    verifier = PolicyBuilder().store(Store([others[-1]])).time(now).build_server_verifier(host)
    verifier.verify(leaf, others[:-1])
    public = leaf.public_key()
    if private.public_key().public_bytes(*SPKI) != public.public_bytes(*SPKI):
        raise ValueError("another key")
    if proof:
        how = [ec.ECDSA(SHA256())] if isinstance(public, ec.EllipticCurvePublicKey) else [padding.PKCS1v15(), SHA256()]
        public.verify(private.sign(PROOF, *how), PROOF, *how)
    secret = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    AESGCM(data_key).encrypt(os.urandom(12), secret, host.value.encode())


main()
