"""What the studio keeps while a person works: the token, the filter, the selection, an edit, and what goes wrong.

The databases have no part in it, so one is enough.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import HOSTILE_ERROR, TOKEN, Studio
from tests.support.crm import keep, submission
from tests.support.waiting import wait_until

STREAM = "**/api/leads/stream"
SCROLL = """top => new Promise(scrolled => {
    const list = document.querySelector(".list");
    list.addEventListener("scroll", scrolled, { once: true });
    list.scrollTop = top;
})"""
WATCH_DRAWER = """() => {
    window.drawn = [];
    const drawer = document.getElementById("drawer");
    const look = () => window.drawn.push(drawer.querySelector(".work").textContent);
    new MutationObserver(look).observe(drawer, { childList: true });
}"""

pytestmark = pytest.mark.parametrize("studio_server", ["sqlite"], indirect=True)


def storage(studio: Studio, name: str) -> str:
    return str(studio.page.evaluate(f"JSON.stringify({name})"))


def test_the_token_is_kept_for_the_tab_alone_until_the_person_signs_out(studio: Studio) -> None:
    studio.sign_in()
    assert TOKEN in storage(studio, "sessionStorage")
    assert TOKEN not in storage(studio, "localStorage")
    studio.page.reload()
    studio.page.get_by_role("status").filter(has_text="live").wait_for()
    studio.page.get_by_role("button", name="Sign out").click()
    expect(studio.page.get_by_label("Token")).to_have_value("")
    expect(studio.page.get_by_label("Your name")).to_have_value("J\u0101nis")
    assert TOKEN not in storage(studio, "sessionStorage")
    studio.page.reload()
    expect(studio.page.get_by_label("Token")).to_be_visible()


def test_a_token_that_is_refused_later_is_forgotten_and_asked_for_again(studio: Studio) -> None:
    studio.sign_in()
    studio.page.route("**/api/stats*", lambda route: route.fulfill(status=401, json={"ok": False}))
    studio.page.get_by_role("link", name="Overview").click()
    expect(studio.page.get_by_role("alert")).to_have_text("The token is no longer valid.")
    expect(studio.page.locator("#studio")).to_be_hidden()
    assert TOKEN not in storage(studio, "sessionStorage")
    studio.expect_fault("401")


def test_a_conflict_keeps_what_was_typed_and_shows_the_others_value(studio: Studio) -> None:
    lead_id = studio.post(lastName="Contestedcell")
    studio.hold(STREAM)
    studio.enter("?q=contestedcell")
    studio.page.get_by_role("button", name="Status: new. Edit").click()
    field = studio.page.get_by_role("combobox", name="Status", exact=True)
    field.fill("called")
    studio.ask("PATCH", f"/api/leads/{lead_id}", b'{"status":"theirs"}')
    studio.page.keyboard.press("Enter")
    expect(studio.page.get_by_role("alert")).to_contain_text("it is \u201ctheirs\u201d now")
    expect(studio.page.get_by_role("button", name="Status: theirs. Edit")).to_be_visible()
    expect(field).to_have_value("called")
    studio.expect_fault("412")
    studio.page.get_by_role("button", name="Try again").click()
    expect(studio.page.get_by_role("button", name="Status: called. Edit")).to_be_visible()


def test_changes_of_different_fields_are_both_kept(studio: Studio) -> None:
    lead_id = studio.post(lastName="Mergeddrawer")
    studio.hold(STREAM)
    studio.enter(f"?q=mergeddrawer&open={lead_id}")
    studio.page.get_by_role("button", name="Change Status: new").click()
    studio.ask("PATCH", f"/api/leads/{lead_id}", b'{"assignedTo":"theirs"}')
    studio.choose("won")
    expect(studio.page.get_by_role("button", name="Change Status: won")).to_be_focused()
    expect(studio.page.get_by_role("button", name="Change Assigned to: theirs")).to_be_visible()
    expect(studio.page.get_by_role("button", name="Status: won. Edit")).to_be_visible()
    studio.expect_fault("412")


def test_an_error_of_a_replay_stays_text(studio: Studio) -> None:
    hopeless = submission(b"hopeless", state="invalid", error="no JSON")
    keep(studio.database, [hopeless])
    studio.sign_in("?view=inbox&state=invalid")
    studio.fail("**/api/raw/*/replay", "POST")
    button = studio.page.locator(f'tr[data-id="{hopeless.id}"]').get_by_role("button", name="Replay")
    button.click()
    expect(studio.page.locator(".notice")).to_have_text(HOSTILE_ERROR)
    expect(button).to_be_enabled()
    studio.expect_fault("503")


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("", "**/api/leads?*"),
        ("?view=inbox", "**/api/raw?limit=*"),
        ("?view=overview", "**/api/stats*"),
        ("?open=0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e", "**/api/leads/0190b5d8*"),
    ],
    ids=["leads", "inbox", "overview", "drawer"],
)
def test_an_error_of_the_server_is_shown_as_text(studio: Studio, query: str, target: str) -> None:
    studio.sign_in()
    studio.fail(target)
    studio.go(query)
    expect(studio.page.locator(".notice").first).to_have_text(HOSTILE_ERROR)
    studio.expect_fault("503")


def test_a_change_that_fails_keeps_what_was_typed_and_says_why(studio: Studio) -> None:
    studio.post(lastName="Unchanged")
    studio.sign_in("?q=unchanged")
    studio.fail("**/api/leads/*", "PATCH")
    studio.page.get_by_role("button", name="Assigned to: nobody. Edit").click()
    studio.choose("somebody new")
    expect(studio.page.get_by_role("alert")).to_contain_text(HOSTILE_ERROR)
    field = studio.page.get_by_role("combobox", name="Assigned to")
    expect(field).to_have_value("somebody new")
    expect(studio.page.get_by_role("button", name="Assigned to: nobody. Edit")).to_be_visible()
    studio.expect_fault("503")
    studio.page.unroute("**/api/leads/*")
    field.press("Enter")
    expect(studio.page.get_by_role("button", name="Assigned to: somebody new. Edit")).to_be_visible()


def test_a_selection_survives_a_moment_without_the_server(studio: Studio) -> None:
    studio.post(lastName="Stillselected", marker="away")
    studio.page.route(STREAM, lambda route: route.fulfill(status=200, content_type="text/event-stream", body=""))
    studio.enter("?marker=away")
    box = studio.page.get_by_role("checkbox", name="Select Stillselected")
    box.check()
    studio.page.unroute(STREAM)
    expect(studio.page.get_by_role("button", name="More new")).to_be_visible()
    expect(box).to_be_checked()
    expect(studio.page.get_by_text("1 selected")).to_be_visible()


def test_all_that_match_are_selected_and_changed_after_a_question_and_taken_back(studio: Studio) -> None:
    rows = [submission(b'{"marker":"allmatch","lastName":"Of%d"}' % number) for number in range(620)]
    keep(studio.database, rows)
    for row in rows[:3]:
        studio.ask("PATCH", f"/api/leads/{row.id}", b'{"status":"won"}')
    studio.enter("?marker=allmatch")
    expect(studio.page.get_by_text("620 leads")).to_be_visible()
    studio.page.get_by_role("checkbox", name="Select all that are loaded").check()
    studio.page.get_by_role("button", name="Select all that match").click()
    expect(studio.page.get_by_text("620 selected")).to_be_visible()

    def lost() -> Any:
        return studio.ask("GET", "/api/leads/count?marker=allmatch&status=lost")["leads"]

    for answer, count in (("Cancel", 0), ("Change 620", 620)):
        studio.page.locator('[data-change="status"]').click()
        studio.choose("lost")
        question = studio.page.get_by_role("dialog")
        expect(question).to_contain_text("Now it is: 617 \u00d7 new, 3 \u00d7 won.")
        question.get_by_role("button", name=answer).click()
        expect(question).to_have_count(0)
        wait_until(lambda count=count: studio.page.evaluate("true") and lost() == count, what="the answer to count")
    studio.page.get_by_role("button", name="Undo").click()
    expect(studio.page.get_by_text("620 taken back")).to_be_visible()
    # A count that took long is told again for a while.
    wait_until(lambda: lost() == 0)
    assert studio.ask("GET", "/api/leads/count?marker=allmatch&status=won")["leads"] == 3


def test_one_of_several_values_of_a_filter_is_removed_alone(studio: Studio) -> None:
    for country in ("C1", "C2", "C3"):
        studio.post(lastName=f"Of{country}", marker="chips", country=country)
    studio.enter("?marker=chips&country=C1&country=C2")
    expect(studio.page.get_by_text("2 leads")).to_be_visible()
    studio.page.get_by_role("button", name="Remove the filter Country: C1").click()
    expect(studio.page.get_by_text("1 lead", exact=True)).to_be_visible()
    expect(studio.page.get_by_role("link", name="OfC2")).to_be_visible()


def test_a_replay_that_fails_shows_the_new_reason_in_its_row(studio: Studio) -> None:
    hopeless = submission(b"hopeless", state="invalid", error="the old reason")
    keep(studio.database, [hopeless])
    studio.enter("?view=inbox&state=invalid")
    row = studio.page.locator(f'tr[data-id="{hopeless.id}"]')
    expect(row).to_contain_text("the old reason")
    row.get_by_role("button", name="Replay").click()
    expect(studio.page.locator(".notice")).to_contain_text("Still invalid")
    reason = studio.ask("GET", f"/api/raw/{hopeless.id}")["error"]
    assert reason != "the old reason"
    expect(row).to_contain_text(reason)


@pytest.mark.parametrize("place", ["list", "drawer"])
def test_only_enter_or_a_click_saves_a_text(studio: Studio, place: str) -> None:
    lead_id = studio.post(lastName=f"Givenup{place}")
    studio.enter(f"?q=givenup{place}" + (f"&open={lead_id}" if place == "drawer" else ""))
    button = "Assigned to: nobody. Edit" if place == "list" else "Change Assigned to: nobody"
    chooser = studio.page.locator(".chooser")

    def type_a_name(text: str) -> None:
        studio.page.get_by_role("button", name=button).click()
        studio.page.get_by_role("combobox", name="Assigned to").fill(text)

    type_a_name("given up")
    studio.page.keyboard.press("Escape")
    expect(chooser).to_have_count(0)
    type_a_name("left")
    studio.page.get_by_label("Search leads").click()
    expect(chooser).to_have_count(0)
    type_a_name("kept")
    studio.page.keyboard.press("Enter")
    expect(studio.page.locator(".notice")).to_contain_text("Saved")
    events = studio.ask("GET", f"/api/leads/{lead_id}")["events"]
    assert [(event["from"], event["to"]) for event in events] == [(None, "kept")]
    studio.page.get_by_role("button", name="Undo").click()
    expect(studio.page.get_by_role("button", name=button)).to_be_visible()


def test_what_is_typed_stays_while_the_list_is_scrolled_and_grows_and_the_lead_changes(studio: Studio) -> None:
    keep(studio.database, [submission(b'{"marker":"typing","lastName":"Type%d"}' % number) for number in range(90)])
    lead_id = studio.post(lastName="Typing", marker="typing")
    studio.sign_in("?marker=typing")
    studio.page.locator(f'tr[data-id="{lead_id}"]').get_by_role("button", name="Assigned to").click()
    field = studio.page.get_by_role("combobox", name="Assigned to")
    field.fill("half")
    rows = studio.page.locator("tr[data-id]")
    studio.page.locator(".list").evaluate("list => { list.scrollTop = 1500 }")
    expect(studio.page.get_by_role("link", name="Type50")).to_be_visible()
    assert rows.count() > 20
    studio.post(lastName="Typedmeanwhile", marker="typing")
    expect(studio.page.get_by_role("button", name="new \u2014 show")).to_be_visible()
    studio.ask("PATCH", f"/api/leads/{lead_id}", b'{"status":"called"}')
    expect(field).to_be_focused()
    studio.page.keyboard.type("way")
    studio.page.keyboard.press("Enter")
    expect(field).to_have_count(0)
    lead = studio.ask("GET", f"/api/leads/{lead_id}")["lead"]
    assert (lead["assignedTo"], lead["status"]) == ("halfway", "called")
    studio.faults.clear()  # 412, where the change came before the announcement


def test_keys_change_the_lead_that_is_shown(studio: Studio) -> None:
    ids = [studio.post(lastName=f"Shown{number}", marker="shown") for number in range(3)]
    studio.sign_in("?marker=shown")
    heading = studio.page.locator("#drawer h2")
    keyboard = studio.page.keyboard
    studio.page.get_by_role("link", name="Shown2").click()
    expect(heading).to_have_text("Shown2")
    studio.hold(f"**/api/leads/{ids[0]}")
    for key, name in (("j", "Shown1"), ("ArrowDown", "Shown0")):
        keyboard.press(key)
        expect(heading).to_have_text(name)
        expect(studio.page.locator("tr[data-current]")).to_contain_text(name)
    # Before the server has told more of it than the list has.
    keyboard.press("e")
    expect(studio.page.locator(".chooser")).to_contain_text("Status of Shown0")
    studio.page.unroute_all()
    studio.choose("called")
    expect(studio.page.get_by_role("button", name="Change Status: called")).to_be_visible()
    statuses = [studio.ask("GET", f"/api/leads/{lead_id}")["lead"]["status"] for lead_id in ids]
    assert statuses == ["called", "new", "new"]
    studio.page.get_by_role("button", name="Previous").click()
    expect(heading).to_have_text("Shown1")
    studio.page.go_back()
    expect(studio.page.locator("#drawer")).to_be_hidden()


@pytest.mark.parametrize("control", ["link", "checkbox"])
def test_keys_change_the_lead_whose_row_has_the_focus(studio: Studio, control: str) -> None:
    marker = f"focused {control}"
    ids = [studio.post(lastName=f"Focus{number}", marker=marker) for number in range(3)]
    studio.sign_in(f"?marker={marker}")
    rows = studio.page.locator("tr[data-id]")
    expect(rows).to_have_count(3)
    studio.page.keyboard.press("j")
    expect(rows.filter(has_text="Focus2").get_by_role("link", name="Focus2")).to_be_focused()
    if control == "link":
        rows.filter(has_text="Focus0").get_by_role("link", name="Focus0").focus()
    else:
        rows.filter(has_text="Focus0").get_by_role("checkbox").check()
        expect(rows.filter(has_text="Focus0").get_by_role("checkbox")).to_be_checked()
    expect(studio.page.locator("tr[data-current]")).to_contain_text("Focus0")
    studio.page.keyboard.press("e")
    expect(studio.page.locator(".chooser")).to_contain_text("Status of Focus0")
    studio.choose("called")
    expect(rows.filter(has_text="Focus0")).to_contain_text("called")
    statuses = [studio.ask("GET", f"/api/leads/{lead_id}")["lead"]["status"] for lead_id in ids]
    assert statuses == ["called", "new", "new"]
    studio.page.keyboard.press("k")
    expect(rows.filter(has_text="Focus1").get_by_role("link", name="Focus1")).to_be_focused()


def test_the_keyboards_place_stays_where_what_it_is_on_is_drawn_anew(studio: Studio) -> None:
    lead_id = studio.post(lastName="Placed", marker="placed")
    placed = studio.post(lastName="Placed too", marker="placed")
    page = studio.page
    studio.sign_in("?marker=placed")
    view = page.get_by_role("link", name="Unassigned")
    view.focus()
    view.evaluate("view => view.classList.add('drawn-before')")
    studio.ask("PATCH", f"/api/leads/{lead_id}", b'{"assignedTo":"anna"}')
    # The views are counted again some seconds after the last time.
    expect(page.locator(".drawn-before")).to_have_count(0, timeout=30_000)
    expect(view).to_be_focused()

    page.get_by_role("link", name="Placed too").press("Enter")
    headers = page.locator("#drawer summary")
    headers.press("Enter")
    sent = page.locator("#drawer details dl")
    expect(sent).to_be_visible()
    studio.ask("PATCH", f"/api/leads/{placed}", b'{"status":"called"}')
    expect(page.get_by_role("region", name="History")).to_contain_text("called")
    expect(sent).to_be_visible()
    expect(headers).to_be_focused()

    studio.page.get_by_role("link", name="Overview").click()
    week = page.get_by_role("button", name="7 days")
    week.press("Enter")
    expect(week).to_have_attribute("aria-pressed", "true")
    expect(week).to_be_focused()
    table = page.get_by_text("As a table")
    table.press("Enter")
    page.locator(".tile").first.evaluate("tile => tile.classList.add('drawn-before')")
    page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    expect(page.locator(".drawn-before")).to_have_count(0)
    expect(page.get_by_role("region", name="Leads by time, as a table")).to_be_visible()
    expect(table).to_be_focused()


def test_a_call_becomes_due_while_nothing_else_happens(studio: Studio) -> None:
    lead_id = studio.post(lastName="Due soon", marker="due soon")
    call_at = datetime.now(timezone.utc) + timedelta(minutes=2)
    studio.ask("PATCH", f"/api/leads/{lead_id}", json.dumps({"callAt": call_at.isoformat()}).encode())
    studio.page.clock.install()
    studio.sign_in("?marker=due+soon")
    badge = studio.page.locator(f'tr[data-id="{lead_id}"] .badge')
    expect(badge).to_have_text(re.compile(r"\d\d:\d\d"))
    studio.page.clock.fast_forward(180_000)
    expect(badge).to_have_text("call now")


def test_a_scroll_within_what_is_drawn_replaces_no_row(studio: Studio) -> None:
    keep(studio.database, [submission(b'{"marker":"still","lastName":"Still%d"}' % number) for number in range(90)])
    studio.sign_in("?marker=still")
    row = studio.page.get_by_role("row").filter(has_text="Still85")
    expect(row).to_be_visible()
    element = row.element_handle()
    assert element is not None
    studio.page.evaluate(SCROLL, 100)
    assert element.evaluate("row => row.isConnected")
    studio.page.evaluate(SCROLL, 2500)
    expect(studio.page.get_by_role("link", name="Still20")).to_be_visible()
    assert not element.evaluate("row => row.isConnected")


def test_a_search_that_is_typed_before_leaving_for_another_view_stays_behind(studio: Studio) -> None:
    studio.page.clock.install()
    studio.sign_in()
    studio.page.clock.pause_at(datetime.now(timezone.utc) + timedelta(minutes=1))
    studio.page.get_by_label("Search leads").press_sequentially("left")
    studio.page.get_by_role("link", name="Inbox").click()
    expect(studio.page.get_by_role("heading", name="Inbox")).to_be_attached()
    studio.page.clock.fast_forward(1000)
    expect(studio.page).to_have_url(re.compile(r"\?view=inbox$"))


def test_rows_that_are_no_answer_are_marked_until_the_answer_comes(studio: Studio) -> None:
    studio.post(lastName="Olderanswer", marker="answer")
    studio.sign_in("?marker=answer")
    expect(studio.page.get_by_text("1 lead", exact=True)).to_be_visible()
    held = studio.hold("**/api/leads?*q=zzz*")
    studio.page.get_by_label("Search leads").fill("zzz")
    expect(studio.page.locator(".list.stale")).to_be_visible()
    expect(studio.page.get_by_text("Loading\u2026")).to_be_visible()
    expect(studio.page.get_by_text("1 lead", exact=True)).to_have_count(0)
    expect(studio.page.get_by_text("The server is slow to answer")).to_be_visible()
    held[0].abort()
    expect(studio.page.get_by_text("What is shown is not the answer")).to_be_visible()
    studio.page.unroute_all()
    studio.page.get_by_role("button", name="Try again").click()
    expect(studio.page.get_by_text(re.compile("^No lead (is like that|has arrived yet)"))).to_be_visible()
    expect(studio.page.locator(".list.stale")).to_have_count(0)
    studio.expect_fault("ERR_FAILED")


def test_the_back_button_brings_filters_and_what_was_open_back(studio: Studio) -> None:
    lead_id = studio.post(lastName="Backwards", marker="back", country="LV")
    studio.post(lastName="Elsewhere", marker="back", country="LT")
    studio.sign_in("?marker=back&country=LV&country=EE")
    studio.page.get_by_role("link", name="Backwards").click()
    expect(studio.page.get_by_role("heading", name="Backwards")).to_be_visible()
    studio.page.get_by_role("button", name="Remove the filter Country: LV").click()
    expect(studio.page.get_by_text(re.compile("^No lead (is like that|has arrived yet)"))).to_be_visible()
    expect(studio.page).to_have_url(re.compile(r"country=EE&open=|open=.*country=EE$"))
    studio.page.go_back()
    expect(studio.page.get_by_role("link", name="Backwards")).to_be_visible()
    expect(studio.page.get_by_role("link", name="Elsewhere")).to_have_count(0)
    expect(studio.page.get_by_role("button", name="Remove the filter Country")).to_have_count(2)
    assert lead_id in studio.page.url
    studio.page.go_back()
    expect(studio.page.locator("#drawer")).to_be_hidden()
    studio.page.go_forward()
    expect(studio.page.get_by_role("heading", name="Backwards")).to_be_visible()


def test_a_late_answer_about_another_lead_does_not_replace_the_open_one(studio: Studio) -> None:
    slow, quick = studio.post(lastName="Slowlead", marker="late"), studio.post(lastName="Quicklead", marker="late")
    studio.sign_in("?marker=late")
    held = studio.hold(f"**/api/leads/{slow}")
    with studio.page.expect_request(f"**/api/leads/{slow}"):
        studio.page.get_by_role("link", name="Slowlead").click()
    studio.page.get_by_role("link", name="Quicklead").click()
    heading = studio.page.locator("#drawer h2")
    expect(heading).to_have_text("Quicklead")
    with studio.page.expect_response(f"**/api/leads/{slow}") as late:
        held[0].continue_()
    late.value.finished()
    studio.page.evaluate("new Promise(requestAnimationFrame)")
    expect(heading).to_have_text("Quicklead")
    assert quick in studio.page.url


def test_an_older_answer_about_the_open_lead_does_not_replace_a_newer_one(studio: Studio) -> None:
    lead_id = studio.post(lastName="Twice changed", marker="twice changed")
    # The list does not hold it: all that asks is the drawer.
    studio.sign_in(f"?marker=nothing&open={lead_id}")
    status = studio.page.get_by_role("button", name="Change Status")
    expect(status).to_have_text("new")
    held = studio.hold(f"**/api/leads/{lead_id}")
    for count, value in enumerate(("called", "won"), 1):
        studio.ask("PATCH", f"/api/leads/{lead_id}", json.dumps({"status": value}).encode())
        # Evaluating lets Playwright report requests.
        wait_until(lambda least=count: studio.page.evaluate("true") and len(held) >= least)  # type: ignore[misc]
        if value == "called":
            late = held[0].fetch()
    held[1].continue_()
    expect(status).to_have_text("won")
    studio.page.evaluate(WATCH_DRAWER)
    with studio.page.expect_response(f"**/api/leads/{lead_id}"):
        held[0].fulfill(response=late)
    # A newer answer comes behind it, and is drawn.
    studio.page.unroute_all()
    studio.ask("PATCH", f"/api/leads/{lead_id}", b'{"status":"lost"}')
    expect(status).to_have_text("lost")
    assert not [text for text in studio.page.evaluate("window.drawn") if "called" in text]


def test_the_chosen_colours_are_kept_for_the_next_visit(studio: Studio) -> None:
    studio.sign_in()
    scheme = "document.documentElement.dataset.theme"
    assert studio.page.evaluate(scheme) is None
    studio.page.get_by_role("button", name="Light or dark").click()
    assert studio.page.evaluate(scheme) == "dark"
    studio.page.reload()
    assert studio.page.evaluate(scheme) == "dark"
    studio.page.get_by_role("button", name="Light or dark").click()
    assert studio.page.evaluate(scheme) == "light"


def test_a_lead_that_was_stored_late_is_shown_with_both_times(studio: Studio) -> None:
    studio.sign_in("?marker=delivered")
    # What the list has already is not announced.
    expect(studio.page.get_by_text(re.compile("^No lead (is like that|has arrived yet)"))).to_be_visible()
    arrived_at = datetime.now(timezone.utc) - timedelta(hours=3)
    keep(studio.database, [submission(b'{"marker":"delivered","lastName":"Deliveredlate"}', received_at=arrived_at)])
    row = studio.page.get_by_role("row").filter(has_text="Deliveredlate")
    expect(row.locator("time")).to_have_count(2)
    expect(row).to_contain_text("delivered")
    arrived = re.compile(arrived_at.strftime("^%Y-%m-%dT%H:%M:%S"))
    expect(row.locator("time").first).to_have_attribute("datetime", arrived)
