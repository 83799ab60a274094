"""Huawei Cloud's SDK for SCM, as its users call it: import, list, show, export, delete, and its error for a refusal."""

import json
import sys

from huaweicloudsdkcore.auth.credentials import GlobalCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdkscm.v3 import (
    DeleteCertificateRequest,
    ExportCertificateRequest,
    ImportCertificateRequest,
    ImportCertificateRequestBody,
    ListCertificatesRequest,
    ScmClient,
    ShowCertificateRequest,
)


def main():
    url, ca = sys.argv[1:]
    given = json.load(sys.stdin)
    client = connect(url, ca, given["ak"], given["sk"])
    body = ImportCertificateRequestBody(
        name=given["name"], certificate=given["certificate"], certificate_chain=given["chain"], private_key=given["key"]
    )
    imported = client.import_certificate(ImportCertificateRequest(body=body)).certificate_id
    listed = client.list_certificates(
        ListCertificatesRequest(limit=10, offset=0, sort_dir="DESC", sort_key="certExpiredTime", content="web & 100%")
    )
    everything = client.list_certificates(ListCertificatesRequest(limit=50))
    shown = client.show_certificate(ShowCertificateRequest(certificate_id=imported))
    exported = client.export_certificate(ExportCertificateRequest(certificate_id=imported))
    # Within one second an identical request has an identical signature, which is only accepted once.
    body.duplicate_check = False
    refused = [
        refusal(lambda: client.import_certificate(ImportCertificateRequest(body=body))),
        refusal(lambda: client.show_certificate(ShowCertificateRequest(certificate_id="scs0000000000000"))),
        refusal(lambda: connect(url, ca, given["ak"], "wrong" * 8).list_certificates(ListCertificatesRequest())),
    ]
    body.duplicate_check = True
    body.name = "web-twice"
    twice = refusal(lambda: client.import_certificate(ImportCertificateRequest(body=body)))
    body.duplicate_check = False
    for index in range(given["copies"]):
        body.name = f"copy-{index}"
        client.import_certificate(ImportCertificateRequest(body=body))
    pages = list(expiring_last(client))
    same = [item for page in pages for item in page if is_same(item, given["domain"], given["expires"])]
    exports = [client.export_certificate(ExportCertificateRequest(certificate_id=item.id)) for item in same[:1]]
    for item in same:
        if item.id != imported:
            client.delete_certificate(DeleteCertificateRequest(certificate_id=item.id))
    client.delete_certificate(DeleteCertificateRequest(certificate_id=imported))
    left = client.list_certificates(ListCertificatesRequest()).total_count
    print(
        json.dumps(
            {
                "imported": imported,
                "found": listed.total_count,
                "listed": [item.to_dict() for item in everything.certificates],
                "shown": shown.to_dict(),
                "exported": exported.to_dict(),
                "refused": refused,
                "twice": twice,
                "pages": [len(page) for page in pages],
                "different": len({item.id for item in same}),
                "same": [export.certificate for export in exports],
                "left": left,
            }
        )
    )


def expiring_last(client):
    """Pages, as deployers of ACME certificates read them before they upload one (certimate's provider for Huawei Cloud)."""
    offset, page = 0, [None] * 50
    while len(page) == 50:
        wanted = ListCertificatesRequest(limit=50, offset=offset, sort_dir="DESC", sort_key="certExpiredTime")
        page = client.list_certificates(wanted).certificates
        offset += 50
        yield page


def is_same(item, domain, expires):
    """Their comparison: the CN in any letter case, and the time as text."""
    return item.domain.lower() == domain.lower() and item.expire_time.removesuffix(".0") == expires


def connect(url, ca, ak, sk):
    config = HttpConfig.get_default_config()
    config.ssl_ca_cert = ca
    credentials = GlobalCredentials(ak, sk, domain_id="rootcast")
    return ScmClient.new_builder().with_http_config(config).with_credentials(credentials).with_endpoints([url]).build()


def refusal(call):
    try:
        call()
    except ClientRequestException as error:
        return {"status": error.status_code, "code": error.error_code, "message": error.error_msg, "id": error.request_id}
    raise AssertionError("it was taken")


main()
