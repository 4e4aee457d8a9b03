"""People in the studio: staying signed in, what each role is offered, giving and taking tokens, the audit trail.

The databases have no part in it, so one is enough.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import serious_faults
from tests.browser.conftest import PHONE, WIDE, Studio
from tests.support.crm import keep, submission

pytestmark = pytest.mark.parametrize("studio_server", ["sqlite"], indirect=True)


def give(studio: Studio, name: str, role: str) -> str:
    """Make a token and return it."""
    made = studio.ask("POST", "/api/tokens", json.dumps({"name": name, "role": role}).encode())
    return str(made["token"])


def sign_in(studio: Studio, token: str, query: str = "", *, stays: bool = False) -> None:
    studio.go(query)
    studio.page.get_by_label("Token").fill(token)
    if stays:
        studio.page.get_by_label("Stay signed in").check()
    studio.page.get_by_role("button", name="Sign in").click()
    studio.page.get_by_role("status").filter(has_text="live").wait_for()
    studio.rest()


@pytest.fixture
def second_tab(studio: Studio) -> Iterator[Page]:
    page = studio.page.context.new_page()
    yield page
    page.close()


def test_a_browser_stays_signed_in_over_tabs_and_restarts_until_it_signs_out(studio: Studio, second_tab: Page) -> None:
    lead_id = studio.post(lastName="Linked")
    token = give(studio, "Stays Signed", "agent")
    sign_in(studio, token, stays=True)
    address = f"http://{studio.server.host}:{studio.server.port}/studio?open={lead_id}"
    second_tab.goto(address)
    expect(second_tab.get_by_role("heading", name="Linked")).to_be_visible()
    expect(second_tab.locator("#who")).to_have_text("Stays Signed")
    for page in (studio.page, second_tab):
        kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])")
        assert token not in kept
        assert "lcrm_" not in kept
        assert page.evaluate("document.cookie") == ""
    (cookie,) = studio.page.context.cookies()
    assert (cookie["name"], cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == (
        "leadcrm", "/api", True, "Strict",
    )  # fmt: skip
    # What a restart of the browser leaves: the cookies that have a time, and local storage.
    assert cookie["expires"] > 0
    studio.page.evaluate("sessionStorage.clear()")
    studio.page.reload()
    expect(studio.page.get_by_role("link", name="Linked")).to_be_visible()
    studio.page.get_by_role("button", name="Sign out").click()
    expect(studio.page.get_by_label("Token")).to_be_visible()
    assert studio.page.context.cookies() == []
    second_tab.reload()
    expect(second_tab.get_by_label("Token")).to_be_visible()


def test_a_reader_is_offered_nothing_that_changes_leads(studio: Studio) -> None:
    lead_id = studio.post(lastName="Onlyread", marker="roles", phone="+371 26 555 777")
    sign_in(studio, give(studio, "Rita", "reader"), f"?marker=roles&open={lead_id}")
    page = studio.page
    expect(page.get_by_role("region", name="Raw request")).to_be_visible()
    expect(page.locator("#who")).to_have_text("Rita")
    for name in (
        "Take next",
        "Export",
        re.compile("Edit$"),
        re.compile("^Change "),
        re.compile("^Correct "),
        "Add note",
        "Set",
    ):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    expect(page.get_by_role("checkbox")).to_have_count(0)
    expect(page.get_by_role("link", name="People")).to_have_count(0)
    for key in "neaxEA":
        page.keyboard.press(key)
    expect(page.locator(".chooser")).to_have_count(0)
    expect(page.locator(".selection")).to_be_hidden()
    assert studio.ask("GET", f"/api/leads/{lead_id}")["events"] == []


@pytest.mark.parametrize("role", ["agent", "integrator"])
def test_nobody_is_offered_what_the_role_may_not_do(studio: Studio, role: str) -> None:
    raw = submission(b"bad", state="invalid", error=f"for the {role}")
    keep(studio.database, [raw])
    sign_in(studio, give(studio, f"Role {role}", role), f"?view=inbox&open={raw.id}")
    page = studio.page
    expect(page.get_by_role("region", name="Raw request")).to_be_visible()
    page.get_by_role("cell", name=f"for the {role}").first.wait_for()
    for name in ("Archive", "All like this", "Replay", "Correct\u2026"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    page.keyboard.press("d")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(page.get_by_text("take the next lead")).to_be_visible(visible=role == "agent")
    for text in ("archive a request of the inbox", "select", "sources, sinks"):
        expect(page.get_by_text(text, exact=True)).to_be_hidden()
    assert studio.ask("GET", "/api/raw?archived=only")["rows"] == []


@pytest.mark.parametrize("studio", [{"width": 800, "height": 900}], indirect=True)
def test_a_tablet_shows_names_and_the_whole_bar(studio: Studio) -> None:
    for number in range(2):
        studio.post(
            firstName="Margarita", lastName="Tablet", marker="tablet", phone="+371 26 999 000", click_id=str(number)
        )
    sign_in(studio, give(studio, "With A Long Name Indeed", "lead"), "?marker=tablet")
    page = studio.page
    right = page.get_by_role("button", name="Sign out").evaluate("button => button.getBoundingClientRect().right")
    assert right <= 800
    mark = page.get_by_role("note", name="1 other lead of this person").first
    mark.wait_for()
    cell = "mark => { const cell = mark.closest('td').getBoundingClientRect(), own = mark.getBoundingClientRect();"
    assert mark.evaluate(f"{cell} return own.right <= cell.right && cell.width >= 120; }}")


def test_an_agent_works_leads_under_the_name_of_the_token(studio: Studio) -> None:
    lead_id = studio.post(lastName="Workedon", marker="agents")
    give(studio, "Other Agent", "agent")
    sign_in(studio, give(studio, "Ansis", "agent"), "?marker=agents")
    page = studio.page
    page.get_by_role("button", name="Status: new. Edit").click()
    studio.choose("called")
    expect(page.get_by_role("button", name="Status: called. Edit")).to_be_visible()
    page.get_by_role("button", name="Assigned to: nobody. Edit").click()
    # Who has a token is offered, with or without leads.
    expect(page.get_by_role("option", name="Ansis (me)")).to_be_visible()
    expect(page.get_by_role("option", name="Other Agent")).to_be_visible()
    studio.choose("Ansis")
    expect(page.get_by_role("button", name="Assigned to: Ansis. Edit")).to_be_visible()
    expect(page.get_by_role("checkbox")).to_have_count(0)
    expect(page.get_by_role("button", name="Export")).to_have_count(0)
    events = studio.ask("GET", f"/api/leads/{lead_id}")["events"]
    assert [(event["field"], event["by"], event["claimed"]) for event in events] == [
        ("status", "Ansis", None), ("assignedTo", "Ansis", None),
    ]  # fmt: skip
    # A view without a link for the role is not shown by its address either.
    for view in ("people", "sinks", "constructor"):
        studio.go(f"?view={view}&marker=agents")
        expect(page.locator("tr[data-id]")).to_have_count(1)


@pytest.mark.parametrize("studio", [WIDE, PHONE], ids=["wide", "phone"], indirect=True)
def test_a_team_lead_gives_a_token_takes_it_back_and_reads_the_trail(
    studio: Studio, second_tab: Page, request: pytest.FixtureRequest
) -> None:
    name = f"Given {request.node.callspec.id}"
    boss = f"Boss {request.node.callspec.id}"
    sign_in(studio, give(studio, boss, "lead"))
    page = studio.page
    page.get_by_role("link", name="People").click()
    page.get_by_role("textbox", name="Name", exact=True).fill(name)
    page.locator("select[name=role]").select_option("reader")
    page.get_by_label("Good for").select_option("90 days")
    page.get_by_role("button", name="Give a token").click()
    token = page.locator(".secret").inner_text()
    assert token.startswith("lcrm_")
    page.get_by_role("button", name="Done").click()
    expect(page.locator(".secret")).to_have_count(0)
    row = page.get_by_role("row").filter(has_text=name)
    expect(row).to_contain_text(f"by {boss}")
    assert token not in page.content()
    assert serious_faults(studio) == {}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    second_tab.goto(page.url.split("?")[0])
    second_tab.get_by_label("Token").fill(token)
    second_tab.get_by_role("button", name="Sign in").click()
    expect(second_tab.locator(".live[data-state=live]")).to_be_visible()
    page.get_by_role("button", name=f"Revoke {name}").click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(row).to_contain_text("revoked")
    expect(second_tab.get_by_role("alert")).to_contain_text("This token was revoked on", timeout=20_000)
    page.get_by_role("button", name="Audit trail").click()
    page.get_by_label("Who").fill(boss)
    page.get_by_label("Who").press("Enter")
    page.get_by_label("Did what").select_option("gave a token")
    entries = page.get_by_role("row").filter(has_text="gave a token")
    expect(entries).to_have_count(1)
    expect(entries).to_contain_text(name)
    assert "action=token-add" in page.url
    assert serious_faults(studio) == {}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_lead_is_opened_from_the_trail(studio: Studio) -> None:
    lead_id = studio.post(lastName="Traced")
    studio.ask("PATCH", f"/api/leads/{lead_id}", b'{"status":"called"}')
    studio.sign_in("?view=people&part=trail&action=change")
    studio.page.get_by_role("link", name=lead_id).click()
    expect(studio.page.get_by_role("heading", name="Traced")).to_be_visible()
