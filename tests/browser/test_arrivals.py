"""Leads that arrive while a person works: each is shown once, and nothing moves under the person.

The databases have no part in it, so one is enough.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Studio
from tests.support.command import leadcrm
from tests.support.crm import keep, submission
from tests.support.waiting import wait_until

STREAM = "**/api/leads/stream"

pytestmark = pytest.mark.parametrize("studio_server", ["sqlite"], indirect=True)


def announce(studio: Studio, asked: list[Route], *leads: dict[str, Any]) -> None:
    """Answer the held request for the stream with one announcement, and wait until the page has read it."""
    # Evaluating lets Playwright report requests.
    wait_until(lambda: studio.page.evaluate("true") and asked, what="the page to ask for the stream")
    events = [
        {
            "seq": seq,
            "type": "lead.created",
            "at": lead["createdAt"],
            "leadId": lead["id"],
            "lead": lead,
            "change": None,
        }
        for seq, lead in enumerate(reversed(leads), 1)
    ]
    body = "".join(f"id: {each['seq']}\nevent: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events)
    asked[0].fulfill(content_type="text/event-stream", body=body)
    expect(studio.page.get_by_text("reconnecting")).to_be_attached()


def another(studio: Studio, lead_id: str, last_name: str) -> dict[str, Any]:
    """Return a lead that the server does not have, made from one that it has."""
    lead = studio.ask("GET", f"/api/leads/{lead_id}")["lead"]
    return {**lead, "id": "ffffffff-6c2e-7c3a-9d5f-3a1f0c2b4d6e", "lastName": last_name}


def test_a_lead_that_is_listed_and_announced_has_one_row(studio: Studio) -> None:
    listed = studio.post(lastName="Overlapping")
    lead = studio.ask("GET", f"/api/leads/{listed}")["lead"]
    asked = studio.hold(STREAM)
    studio.enter()
    expect(studio.page.get_by_role("link", name="Overlapping")).to_be_visible()
    announce(studio, asked, another(studio, listed, "Announcedalone"), lead)
    expect(studio.page.get_by_role("link", name="Announcedalone")).to_be_visible()
    expect(studio.page.locator(f'tr[data-id="{listed}"]')).to_have_count(1)


def test_a_lead_that_is_announced_during_a_load_shows_after_it(studio: Studio) -> None:
    lead_id = studio.post(lastName="Loadedlate")
    asked, listed = studio.hold(STREAM), studio.hold("**/api/leads?limit=100")
    studio.enter()
    wait_until(lambda: studio.page.evaluate("true") and listed, what="the page to load the list")
    announce(studio, asked, another(studio, lead_id, "Announcedearly"))
    listed[0].fulfill(json={"leads": [studio.ask("GET", f"/api/leads/{lead_id}")["lead"]], "next": None})
    expect(studio.page.get_by_role("link", name="Loadedlate")).to_be_visible()
    expect(studio.page.get_by_role("link", name="Announcedearly")).to_be_visible()
    expect(studio.page.get_by_text("2 leads")).to_be_visible()


def test_only_announced_leads_that_match_the_filter_are_shown(studio: Studio) -> None:
    studio.sign_in("?marker=matching&country=LV&country=")
    for name, country in (("Matchfirst", "LV"), ("Matchnot", "LT"), ("Matchlast", "")):
        studio.post(lastName=name, marker="matching", country=country)
    expect(studio.page.get_by_role("link", name="Matchlast")).to_be_visible()
    expect(studio.page.get_by_role("link", name="Matchfirst")).to_be_visible()
    expect(studio.page.get_by_role("link", name="Matchnot")).to_have_count(0)
    expect(studio.page.get_by_text("2 leads")).to_be_visible()


def test_announced_leads_that_cannot_be_compared_with_the_filter_are_offered_for_later(studio: Studio) -> None:
    studio.sign_in("?marker=offered")
    studio.fail("**/api/leads?*id=*")
    studio.post(lastName="Offeredlater", marker="offered")
    more = studio.page.get_by_role("button", name="More new")
    expect(more).to_be_visible()
    studio.expect_fault("503")
    more.click()
    expect(studio.page.get_by_role("link", name="Offeredlater")).to_be_visible()
    expect(more).to_be_hidden()


def test_a_person_who_has_scrolled_away_is_told_of_arrivals_and_not_moved(studio: Studio) -> None:
    keep(studio.database, [submission(b'{"marker":"scrolled","lastName":"Old%d"}' % number) for number in range(60)])
    studio.sign_in("?marker=scrolled")
    expect(studio.page.get_by_role("link", name="Old59")).to_be_visible()
    studio.page.locator(".list").evaluate("list => { list.scrollTop = 800 }")
    studio.post(lastName="Scrollednews", marker="scrolled")
    arrivals = studio.page.get_by_role("button", name="1 new")
    expect(arrivals).to_be_visible()
    assert studio.page.locator(".list").evaluate("list => list.scrollTop") == 800
    expect(studio.page.get_by_role("link", name="Scrollednews")).to_have_count(0)
    arrivals.click()
    expect(studio.page.get_by_role("link", name="Scrollednews")).to_be_visible()
    expect(arrivals).to_be_hidden()


def test_a_selection_survives_arrivals_and_ends_with_another_filter(studio: Studio) -> None:
    studio.post(lastName="Selected", marker="selection")
    studio.sign_in("?marker=selection")
    box = studio.page.get_by_role("checkbox", name="Select Selected")
    box.check()
    studio.rest()
    studio.post(lastName="Arriving", marker="selection")
    expect(studio.page.get_by_role("link", name="Arriving")).to_be_visible()
    expect(studio.page.get_by_text("1 selected")).to_be_visible()
    expect(box).to_be_checked()
    expect(studio.page.get_by_role("checkbox", name="Select Arriving")).not_to_be_checked()
    studio.page.get_by_role("button", name="Remove the filter Marker").click()
    expect(studio.page.get_by_text("1 selected")).to_have_count(0)
    expect(box).not_to_be_checked()


def test_the_keyboards_place_stays_on_its_lead_when_others_arrive(studio: Studio) -> None:
    lead_id = studio.post(lastName="Currentone", marker="current")
    studio.sign_in("?marker=current")
    expect(studio.page.get_by_role("link", name="Currentone")).to_be_visible()
    studio.page.keyboard.press("j")
    studio.post(lastName="Abovecurrent", marker="current")
    expect(studio.page.get_by_role("link", name="Abovecurrent")).to_be_visible()
    expect(studio.page.get_by_role("link", name="Currentone")).to_be_focused()
    studio.page.keyboard.press("e")
    studio.page.keyboard.type("called")
    studio.page.keyboard.press("Enter")
    expect(studio.page.get_by_role("button", name="Status: called. Edit")).to_be_focused()
    assert studio.ask("GET", f"/api/leads/{lead_id}")["lead"]["status"] == "called"


def test_a_lead_that_is_erased_leaves_the_list_and_its_number(studio: Studio) -> None:
    ids = [studio.post(lastName=f"Erase{number}", marker="erasing") for number in range(3)]
    studio.sign_in("?marker=erasing")
    expect(studio.page.locator(".count")).to_have_text("3 leads")
    studio.page.get_by_label("Select Erase1").check()
    erased = leadcrm(studio.server.directory, "erase", ids[1], "--yes", **studio.server.environment)
    assert erased.returncode == 0
    expect(studio.page.locator("tr[data-id]")).to_have_count(2)
    expect(studio.page.get_by_role("link", name="Erase1")).to_have_count(0)
    expect(studio.page.locator(".count")).to_have_text("2 leads")
    expect(studio.page.get_by_role("region", name="Change the selected leads")).to_be_hidden()


def test_the_box_of_all_rows_is_not_checked_once_there_is_one_that_is_not_selected(studio: Studio) -> None:
    studio.post(lastName="Allof1", marker="all of")
    studio.sign_in("?marker=all+of")
    box = studio.page.get_by_label("Select all that are loaded")
    box.check()
    studio.rest()
    studio.post(lastName="Allof2", marker="all of")
    expect(studio.page.get_by_role("link", name="Allof2")).to_be_visible()
    expect(box).not_to_be_checked()
    expect(studio.page.get_by_text("1 selected", exact=True)).to_be_visible()
