"""The operator's page in a real Chromium: one scenario, in two parts between which the devices are mended.

Input: the user, which part, the browser's program, axe's file, the folder for screenshots, and what the scenario is about. Output: what axe, the
console and the pages said.
"""

import json
import re
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

api, _ = sys.argv[1:3]
given = json.load(sys.stdin)
shots = Path(given["shots"])
shots.mkdir(parents=True, exist_ok=True)
axe = Path(given["axe"]).read_text()
found = []  # accessibility, and what the browser's console says: a violation of the policy for content is an error there
PATIENCE = 90_000


def watched(context):
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: found.append(f"{page.url}: {error}"))
    # A refused form is what some steps are about.
    page.on("console", lambda said: said.type == "error" and "status of 4" not in said.text and found.append(f"{page.url}: {said.text}"))
    return page


def looked_at(page, name):
    """Screenshots in light, dark and narrow; axe in each."""
    for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        # Hiding the caret would leave inline styles, which the policy forbids as soon as htmx copies them.
        page.screenshot(caret="initial", path=shots / f"{name}-{scheme if width > 400 else 'narrow'}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            found.append(f"{name} at {width}: {wide} pixels too wide")
        page.evaluate(axe)
        for each in page.evaluate("axe.run().then((result) => result.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(' ')}`))"):
            found.append(f"{name}, {scheme} at {width}: {each}")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1200, "height": 900})


def sign_in(page, password):
    page.get_by_label("User name").fill(given["user"])
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def act(page, name, typed=None):
    """Opens the act, fills in what it asks for, and sends it."""
    part = page.locator("details", has=page.locator("summary", has_text=re.compile(f"^{name}…$")))
    part.locator("summary").first.click()
    if typed:
        part.get_by_label(re.compile("^Type")).fill(typed)
    part.get_by_role("button", name=name).click()


def begin(page):
    page.goto(f"{api}/console/devices")
    expect(page).to_have_title("Sign in · Rootcast")  # nothing is shown before
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    looked_at(page, "sign-in")
    sign_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    sign_in(page, given["password"])
    expect(page.get_by_role("heading", name="Rollovers", exact=True)).to_be_visible()

    # An approval, with the fingerprints side by side.
    page.goto(f"{api}/console/devices?state=pending")
    page.get_by_role("link", name=given["pending"], exact=True).click()
    page.get_by_role("link", name="Ask the device").click()
    expect(page.get_by_text("What it shows is none of the pins on record.")).to_be_visible()
    looked_at(page, "approval")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("The device is approved.")).to_be_visible()

    # An import with problems, all of them at once.
    page.goto(f"{api}/console/certificates")
    page.get_by_label("Name", exact=True).fill("web")
    page.get_by_label("Certificate (PEM)").fill("no PEM")
    page.get_by_label(re.compile("^Private key")).fill("no key")
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.get_by_label("Certificate (PEM)").input_value() == "no PEM" and page.get_by_label(re.compile("^Private key")).input_value() == ""
    looked_at(page, "import-refused")

    # A rollover of which three devices fail.
    page.goto(f"{api}/console/roots")
    looked_at(page, "roots")
    page.locator("summary", has_text="Start…").click()
    page.get_by_label(re.compile("^Type")).fill("rotate")
    page.get_by_role("button", name="Start the rollover").click()
    expect(page).to_have_url(re.compile(r"/console/jobs/\d+\?done=begun"))
    job = re.search(r"jobs/(\d+)", page.url)[1]
    # Refreshed by htmx, in place.
    expect(page.get_by_role("heading", name=re.compile("3 devices"))).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".phases [aria-current=step]")).to_have_count(1)
    looked_at(page, "failures")
    return job


def go_on(page):
    page.goto(f"{api}/console")
    sign_in(page, given["password"])
    expect(page.get_by_role("heading", name="Rollovers", exact=True)).to_be_visible()
    page.goto(f"{api}/console/jobs/{given['job']}")
    page.get_by_role("button", name="Retry these").click()
    expect(page.get_by_text("The failed devices are tried again.")).to_be_visible()
    if page.locator("summary", has_text="Resume…").count():
        act(page, "Resume")
    expect(page.locator("#place")).to_contain_text(re.compile("activated|completed"), timeout=PATIENCE)
    expect(page.get_by_text("cost so far")).to_be_visible()
    looked_at(page, "done")
    for name, path in (
        ("overview", ""),
        ("fleet", "/devices"),
        ("device", f"/devices/{given['pending']}"),
        ("audit", f"/audit?kind=job&name={given['job']}"),
        ("access", "/access"),
        ("compromise", f"/roots/{given['generation']}/compromise"),
    ):
        page.goto(f"{api}/console{path}")
        looked_at(page, name)
        assert len(page.content()) < 100_000, name
    page.goto(f"{api}/console/devices")
    expect(page.locator("section", has=page.get_by_role("heading", name="Who holds which root"))).to_contain_text(f"Root {given['generation']}")
    page.goto(f"{api}/console/access")
    expect(page.get_by_role("heading", name="Who is signed in")).to_be_visible()
    page.goto(f"{api}/console/audit?kind=job&name={given['job']}")
    expect(page.get_by_text("follow from each other")).to_be_visible()

    # A compromise, behind two questions.
    page.goto(f"{api}/console/roots/{given['generation']}/compromise")
    page.get_by_label(re.compile("^Is it so")).check()
    page.get_by_label(re.compile("^Which one")).fill(f"root {given['generation']} is compromised")
    page.get_by_role("button", name="Replace it now").click()
    expect(page).to_have_url(re.compile(r"/console/jobs/\d+\?done=begun"))
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · Rootcast")
    page.goto(f"{api}/console/roots")
    expect(page).to_have_title("Sign in · Rootcast")
    sign_in(page, given["password"])
    expect(page.get_by_role("heading", name="Rollovers", exact=True)).to_be_visible()
    page.goto(f"{api}/console/access")
    while page.get_by_role("button", name=re.compile("^End this session")).count():
        page.get_by_role("button", name=re.compile("^End this session")).first.click()
        page.wait_for_load_state()
        if page.title().startswith("Sign in"):
            break
    expect(page).to_have_title("Sign in · Rootcast")


def without_scripts(browser):
    context = browser.new_context(ignore_https_errors=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{api}/console")
    sign_in(page, given["password"])
    expect(page.get_by_role("heading", name="Rollovers", exact=True)).to_be_visible()
    page.get_by_role("link", name="Fleet").click()
    expect(page.get_by_role("heading", name="Fleet", exact=True)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · Rootcast")
    context.close()


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=given["browser"], args=["--no-sandbox"])
    context = browser.new_context(ignore_https_errors=True)
    page = watched(context)
    result = {}
    try:
        if given["part"] == "begin":
            result["job"] = begin(page)
            without_scripts(browser)
        else:
            go_on(page)
    except BaseException:
        print(json.dumps(found, indent=1), file=sys.stderr)
        page.screenshot(path=shots / f"broken-{given['part']}.png", full_page=True)
        raise
    browser.close()
print(json.dumps(result | {"found": found}))
