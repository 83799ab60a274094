"""Venafi's own client, as its users call it: log in, retry, refresh tokens, log out, and its error for a refusal."""

import json
import sys

from pyvenafi.tpp.api.api_base import InvalidResponseError
from pyvenafi.tpp.api.authenticate import Authenticate

APPLICATION = "rootcast-tests"


def main():
    url, ca = sys.argv[1:]
    given = json.load(sys.stdin)

    def log_in(**other):
        credential = {"username": given["username"], "password": given["password"], "scope": given["scope"], **other}
        host = url.removeprefix("https://")
        return Authenticate(host, application_id=APPLICATION, verify_ssl=ca, **credential).websdk

    sdk = log_in()
    version = sdk.SystemStatus.Version.get().version
    verified = sdk.Authorize.Verify.get().api_response.json()
    narrow = log_in(scope="configuration:manage;certificate:delete")
    out_of_scope = refusal(lambda: retry(narrow, given["dn"]))
    narrow.SystemStatus.Version.get()
    retried = retry(sdk, given["dn"]).success
    not_required = refusal(lambda: retry(sdk, given["dn"]))

    first = {"access": sdk._token, "refresh": sdk._refresh_token}
    sdk.re_authenticate()
    second = {"access": sdk._token, "refresh": sdk._refresh_token}
    # With an expired access token the client is refused, uses its refresh token, and repeats the request.
    sdk._session.update_headers({"Authorization": first["access"]})
    sdk.SystemStatus.Version.get()
    third = {"access": sdk._token, "refresh": sdk._refresh_token}

    sdk.Revoke.Token.get()
    revoked = [
        refusal(sdk.SystemStatus.Version.get),
        refusal(lambda: sdk.Authorize.Token.post(client_id=APPLICATION, refresh_token=third["refresh"])),
    ]
    wrong = [refusal(lambda: log_in(password="wrong" * 4)), refusal(lambda: log_in(username="nobody"))]
    wrong_scope = refusal(lambda: log_in(scope="everything"))
    print(
        json.dumps(
            {
                "version": version,
                "verified": verified,
                "outOfScope": out_of_scope,
                "retried": retried,
                "notRequired": not_required,
                "pairs": [first, second, third],
                "revoked": revoked,
                "wrong": wrong,
                "wrongScope": wrong_scope,
            }
        )
    )


def retry(sdk, dn):
    return sdk.Certificates.Retry.post(certificate_dn=dn, work_to_do_timeout=20)


def refusal(call):
    try:
        call()
    except InvalidResponseError as error:
        return {"status": error.response.status_code, "body": error.response.json()}
    raise AssertionError("it was taken")


main()
