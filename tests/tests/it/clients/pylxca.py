"""Lenovo's own client, as its users call it: log in, request a root, show the job, log out, and its error for a refusal."""

import json
import os
import sys
import tempfile

url, ca = sys.argv[1:]
given = json.load(sys.stdin)
# The client reads the certificate to trust from this variable, and writes its log to the current folder.
os.environ["REQUESTS_CA_BUNDLE"] = ca
os.chdir(tempfile.mkdtemp())

from pylxca import connect, disconnect, tasks  # noqa: E402: opens its log when it is imported


def main():
    con = connect(url, given["user"], given["password"])
    session = con.get_session()
    cookies = {cookie.name: {"secure": cookie.secure, "value": cookie.value} for cookie in session.cookies}
    put = session.put(url + "/signingCertificate")
    put.raise_for_status()
    job = put.json()["response"]["jobPath"].rsplit("/", 1)[-1]
    seen = tasks(con, job)
    compact = tasks(con, job, "false")
    every = tasks(con)

    forged = session.put(url + "/signingCertificate", headers={"X-Csrf-Token": "forged"})
    unmeant = session.put(url + "/signingCertificate", headers={"X-Csrf-Token": None})
    left = dict(session.headers), {cookie.name: cookie.value for cookie in session.cookies}
    ended = disconnect(con)
    import requests

    after = requests.get(url + "/jobs", headers=left[0], cookies=left[1], timeout=60)
    basic = requests.get(url + "/jobs", auth=(given["user"], given["password"]), timeout=60)
    with open("pylxca.log", encoding="utf-8") as log:
        logged = given["password"] in log.read()
    print(
        json.dumps(
            {
                "cookies": cookies,
                "header": left[0]["X-Csrf-Token"],
                "put": put.json(),
                "location": put.headers["Location"],
                "job": job,
                "tasks": seen,
                "compact": compact,
                "all": every,
                "refused": [{"status": each.status_code, "body": each.json()} for each in (forged, unmeant, after)],
                "ended": ended,
                "basic": basic.status_code,
                "wrong": connect(url, given["user"], "wrong" * 4) is None,
                "logged": logged,
            },
            default=str,
        )
    )


main()
