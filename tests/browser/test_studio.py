"""The studio in a real browser: what a person does there."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timezone
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import Studio
from tests.support.crm import keep, submission
from tests.support.waiting import wait_until


def test_a_wrong_token_is_refused_and_the_right_one_opens(studio: Studio) -> None:
    studio.go()
    studio.page.get_by_label("Token").fill("wrong")
    studio.page.get_by_role("button", name="Sign in").click()
    expect(studio.page.get_by_role("alert")).to_have_text("That is not the token.")
    studio.expect_fault("401")
    studio.sign_in()
    expect(studio.page.get_by_role("link", name="Leads")).to_have_attribute("aria-current", "page")
    assert "wrong" not in studio.page.url
    studio.page.get_by_role("button", name="Sign out").click()
    expect(studio.page.get_by_label("Token")).to_be_visible()


def test_a_posted_lead_appears_without_a_reload(studio: Studio) -> None:
    studio.sign_in()
    studio.post(firstName="Arrives", lastName="Byitself")
    expect(studio.page.get_by_role("link", name="Arrives Byitself")).to_be_visible()


def test_leads_of_today_appear_under_a_filter_that_ends_today(studio: Studio) -> None:
    today = datetime.now(timezone.utc).date().isoformat()
    studio.sign_in(f"?from={today}&to={today}")
    studio.post(firstName="Today", lastName="Arrives")
    expect(studio.page.get_by_role("link", name="Today Arrives")).to_be_visible()


def test_a_lead_among_many_that_arrive_at_once_is_not_lost(studio: Studio) -> None:
    studio.sign_in("?marker=rare")
    burst = [submission(json.dumps({"marker": "often"}).encode()) for _ in range(80)]
    keep(studio.database, [submission(json.dumps({"lastName": "Rarebird", "marker": "rare"}).encode()), *burst])
    expect(studio.page.get_by_role("link", name="Rarebird")).to_be_visible()


def test_leads_that_arrive_while_the_server_is_away_show_afterwards(studio: Studio) -> None:
    studio.sign_in()
    studio.server.terminate()
    expect(studio.page.get_by_text("reconnecting")).to_be_visible()
    keep(studio.database, [submission(b'{"lastName":"Meanwhile"}')])
    studio.server.start()
    expect(studio.page.get_by_role("link", name="Meanwhile")).to_be_visible(timeout=30_000)
    studio.faults.clear()  # the browser reports that the server was away


def test_rows_do_not_move_under_the_mouse(studio: Studio) -> None:
    studio.post(lastName="Hovered", marker="hovered")
    studio.sign_in("?marker=hovered")
    row = studio.page.get_by_role("link", name="Hovered")
    row.hover()
    studio.post(lastName="Arrivedabove", marker="hovered")
    arrivals = studio.page.get_by_role("button", name="1 new")
    expect(arrivals).to_be_visible()
    expect(studio.page.get_by_role("link", name="Arrivedabove")).to_have_count(0)
    arrivals.click()
    expect(studio.page.get_by_role("link", name="Arrivedabove")).to_be_visible()


def test_a_search_lives_in_the_address_and_the_list_follows(studio: Studio) -> None:
    studio.post(lastName="Needleworth", country="NW")
    studio.post(lastName="Haystack")
    studio.sign_in()
    studio.page.get_by_label("Search leads").fill("needlew")
    expect(studio.page.get_by_role("link", name="Needleworth")).to_be_visible()
    expect(studio.page.get_by_role("link", name="Haystack")).to_have_count(0)
    assert "q=needlew" in studio.page.url
    studio.page.reload()
    expect(studio.page.get_by_label("Search leads")).to_have_value("needlew")
    expect(studio.page.get_by_role("link", name="Haystack")).to_have_count(0)
    studio.page.get_by_role("button", name="Filters").click()
    studio.page.get_by_label("Country", exact=True).fill("XX")
    studio.page.keyboard.press("Enter")
    expect(studio.page.get_by_text("No lead is like that")).to_be_visible()
    studio.page.get_by_role("button", name="Clear search and filters").click()
    expect(studio.page.get_by_role("link", name="Haystack").first).to_be_visible()


def test_a_status_is_changed_where_it_stands_and_kept_with_who_did_it(studio: Studio) -> None:
    lead_id = studio.post(lastName="Changing")
    studio.sign_in("?q=changing")
    studio.page.get_by_role("button", name="Status: new. Edit").click()
    # In the order of STATUSES: the fourth is won.
    studio.page.keyboard.press("4")
    expect(studio.page.get_by_role("button", name="Status: won. Edit")).to_be_focused()
    found = studio.ask("GET", f"/api/leads/{lead_id}")
    assert (found["lead"]["status"], found["events"][0]["by"]) == ("won", "J\u0101nis")
    studio.page.get_by_role("link", name="Changing").click()
    history = studio.page.get_by_role("region", name="History")
    expect(history).to_contain_text("Status: new \u2192 won")
    expect(studio.page.get_by_role("region", name="Raw request")).to_contain_text('{"lastName": "Changing"}')


def test_a_change_made_elsewhere_shows_and_is_not_overwritten(studio: Studio) -> None:
    lead_id = studio.post(lastName="Contested")
    studio.sign_in("?q=contested")
    status = studio.page.get_by_role("button", name="Status: new. Edit")
    status.click()
    field = studio.page.get_by_role("combobox", name="Status", exact=True)
    field.fill("called")
    studio.ask("PATCH", f"/api/leads/{lead_id}", b'{"status":"theirs"}')
    studio.page.keyboard.press("Enter")
    expect(studio.page.get_by_role("button", name="Status: theirs. Edit")).to_be_visible()
    expect(studio.page.get_by_text("Somebody else has changed this lead")).to_be_visible()
    expect(field).to_have_value("called")
    studio.expect_fault("412")
    studio.page.keyboard.press("Enter")
    expect(studio.page.get_by_role("button", name="Status: called. Edit")).to_be_visible()
    studio.ask("PATCH", f"/api/leads/{lead_id}", b'{"assignedTo":"anna"}')
    expect(studio.page.get_by_role("button", name="Assigned to: anna. Edit")).to_be_visible()


def test_many_leads_are_changed_at_once(studio: Studio) -> None:
    ids = [studio.post(lastName=f"Many{number}", marker="many") for number in range(3)]
    studio.sign_in("?marker=many")
    for number in (0, 2):
        studio.page.get_by_role("checkbox", name=f"Select Many{number}").check()
    studio.page.get_by_role("button", name="Assign to").click()
    studio.choose("marta")
    expect(studio.page.get_by_role("button", name="Assigned to: marta. Edit")).to_have_count(2)
    assigned = [studio.ask("GET", f"/api/leads/{lead_id}")["lead"]["assignedTo"] for lead_id in ids]
    assert assigned == ["marta", None, "marta"]
    studio.page.get_by_role("button", name="Undo").click()
    expect(studio.page.get_by_text("2 taken back")).to_be_visible()
    expect(studio.page.get_by_role("button", name="Assigned to: nobody. Edit")).to_have_count(3)


def test_an_invalid_request_is_looked_at_and_replayed(studio: Studio) -> None:
    mended = submission(b'{"lastName":"Mendedone"}', state="invalid", error="a fault of ours")
    hopeless = submission(b"hopeless", state="invalid", error="no JSON")
    keep(studio.database, [hopeless, mended])
    studio.sign_in("?view=inbox&state=invalid")
    row = studio.page.locator(f'tr[data-id="{mended.id}"]')
    row.get_by_role("link").click()
    expect(studio.page.get_by_label("Body")).to_have_text('{"lastName":"Mendedone"}')
    studio.page.locator("#drawer").get_by_role("button", name="Replay").click()
    expect(studio.page.get_by_text("It is a lead now.")).to_be_visible()
    expect(row).to_have_count(0)
    expect(studio.page.get_by_role("heading", name="Mendedone")).to_be_visible()
    studio.page.locator(f'tr[data-id="{hopeless.id}"]').get_by_role("button", name="Replay").click()
    expect(studio.page.get_by_text("Still invalid")).to_be_visible()


def test_a_conflict_shows_its_own_body_beside_the_lead_it_leads_to(studio: Studio) -> None:
    first = submission(b'{"lastName":"Firstcomer"}', key="contended")
    second = submission(b'{"lastName":"Secondcomer"}', key="contended")
    keep(studio.database, [first, second])
    studio.sign_in(f"?view=inbox&state=conflict&open={second.id}")
    expect(studio.page.get_by_role("heading", name="Firstcomer")).to_be_visible()
    expect(studio.page.get_by_role("region", name="The conflict you came by")).to_contain_text("Secondcomer")
    expect(studio.page.get_by_role("region", name="Raw request")).to_contain_text("Firstcomer")


def test_an_export_holds_what_is_shown(studio: Studio) -> None:
    studio.post(lastName="=Exported()", marker="exported")
    studio.sign_in("?marker=exported")
    studio.page.get_by_role("button", name="Export", exact=True).click()
    with studio.page.expect_download() as download:
        studio.page.get_by_role("button", name="CSV").click()
    content = Path(download.value.path()).read_bytes()
    (record,) = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert record["lastName"] == "'=Exported()"


def test_the_keyboard_is_enough(studio: Studio) -> None:
    lead_id = studio.post(lastName="Keyboardson")
    studio.post(lastName="Keyboardov")
    studio.sign_in()
    keyboard = studio.page.keyboard
    # Without this row, a filtered list would look like one that has not been loaded yet.
    expect(studio.page.get_by_role("link", name="Keyboardov")).to_be_visible()
    keyboard.press("/")
    keyboard.type("keyboards")
    expect(studio.page.get_by_role("link", name="Keyboardov")).to_have_count(0)
    keyboard.press("Escape")
    keyboard.press("ArrowDown")
    keyboard.press("e")
    expect(studio.page.get_by_role("combobox", name="Status", exact=True)).to_be_focused()
    keyboard.type("called")
    keyboard.press("Enter")
    expect(studio.page.get_by_role("button", name="Status: called. Edit")).to_be_focused()
    keyboard.press("ArrowUp")
    keyboard.press("Enter")
    expect(studio.page.get_by_role("heading", name="Keyboardson")).to_be_visible()
    assert lead_id in studio.page.url
    keyboard.press("Escape")
    expect(studio.page.locator("#drawer")).to_be_hidden()
    keyboard.press("x")
    expect(studio.page.get_by_text("1 selected")).to_be_visible()
    keyboard.press("3")
    expect(studio.page.get_by_role("link", name="Overview")).to_have_attribute("aria-current", "page")
    keyboard.press("?")
    expect(studio.page.get_by_role("heading", name="Keyboard")).to_be_visible()
    assert studio.ask("GET", f"/api/leads/{lead_id}")["lead"]["status"] == "called"


def test_a_long_list_keeps_few_rows_in_the_page_and_reaches_its_end(studio: Studio) -> None:
    keep(studio.database, [submission(b'{"marker":"long","lastName":"Row%d"}' % number) for number in range(450)])
    studio.sign_in("?marker=long")
    expect(studio.page.get_by_role("link", name="Row449")).to_be_visible()
    rows = studio.page.locator("tr[data-id]")

    def at_the_end() -> bool:
        assert rows.count() < 80
        studio.page.locator(".list").evaluate("list => { list.scrollTop = list.scrollHeight }")
        return studio.page.get_by_role("link", name="Row0", exact=True).count() == 1

    wait_until(at_the_end, what="the oldest lead to be scrolled to")
    expect(studio.page.get_by_text("450 leads")).to_be_visible()
