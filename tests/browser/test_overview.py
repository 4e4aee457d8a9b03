"""The overview: its numbers lead to the leads that were counted. The databases have no part in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from playwright.sync_api import Browser, expect

from leadcrm.crm.statistics import lowest_id
from tests.browser.conftest import TOKEN, Studio
from tests.conftest import new_database, server_starter
from tests.support.crm import keep, submission

OFFERS = 10


@pytest.fixture(scope="module")
def studio(
    browser: Browser, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """A tab of a browser in New York at a server whose TIME_ZONE is Riga."""
    environment = {"ADMIN_TOKEN": TOKEN, "TIME_ZONE": "Europe/Riga"}
    for database in new_database("sqlite", request, tmp_path_factory.mktemp("overview-database")):
        for start in server_starter(request.node, tmp_path_factory.mktemp("overview")):
            context = browser.new_context(
                viewport={"width": 1440, "height": 900}, timezone_id="America/New_York", reduced_motion="reduce"
            )
            yield Studio(context.new_page(), start(database, environment=environment), database, [])
            context.close()


def test_what_is_clicked_opens_exactly_what_was_counted(studio: Studio) -> None:
    now = datetime.now(timezone.utc)
    bodies = [{"offer": f"Offer {number % OFFERS}", "lastName": f"Counted{number}"} for number in range(25)]
    rows = [submission(json.dumps(body).encode(), received_at=now - timedelta(minutes=9)) for body in bodies]
    keep(studio.database, rows)
    long_ago = str(lowest_id(datetime(2024, 5, 6)))
    invalid = [submission(b"[", state="invalid", error="no JSON", lead_id=id) for id in (None, None, long_ago)]
    keep(studio.database, invalid)
    studio.ask("POST", "/api/raw/archive", json.dumps({"ids": [invalid[0].id]}).encode())
    for row in rows[:2]:
        studio.ask("PATCH", f"/api/leads/{row.id}", b'{"status":"won","assignedTo":"anna"}')
    studio.sign_in("?view=overview")
    page = studio.page
    expect(page.get_by_text("Times in Europe/Riga")).to_be_visible()
    expect(page.get_by_role("heading", name="By hour, Europe/Riga")).to_be_visible()
    expect(page.get_by_role("link", name="25 leads")).to_be_visible()
    page.get_by_role("link", name="2 invalid").click()
    for row in invalid[:2]:
        expect(page.locator(f'tr[data-id="{row.id}"]')).to_be_visible()
    expect(page.locator("tr[data-id]")).to_have_count(2)
    expect(page.get_by_role("button", name="Remove the filter From")).to_be_visible()
    page.go_back()
    offers = page.get_by_role("region", name="Offer", exact=True)
    expect(offers.get_by_role("meter")).to_have_count(8)
    offers.get_by_role("button", name=f"Show all {OFFERS}").click()
    expect(offers.get_by_role("meter")).to_have_count(OFFERS)

    outcomes = page.get_by_role("region", name="Outcomes")
    anna = outcomes.get_by_role("row", name="anna")
    expect(anna).to_contain_text("100%")
    expect(anna).to_contain_text("9 min")
    page.get_by_label("Outcomes by").select_option("offer")
    first = outcomes.get_by_role("row", name="Offer 0")
    expect(first).to_contain_text("33%")
    # What arrives after the counting is not what was counted.
    keep(studio.database, [submission(b'{"offer":"Offer 0","lastName":"Countedlater"}')])
    first.get_by_role("link", name="3", exact=True).click()
    expect(page.locator("tr[data-id]")).to_have_count(3)
    expect(page.get_by_role("link", name="Countedlater")).to_have_count(0)

    studio.go("?view=overview&offer=Offer+0")
    expect(page.get_by_role("link", name="4 leads")).to_be_visible()
    expect(page.get_by_role("button", name="Remove the filter Offer: Offer 0")).to_be_visible()
    expect(page.get_by_role("link", name="conflicts")).to_have_count(0)


def test_days_in_filter_and_range_are_those_of_the_servers_zone(studio: Studio) -> None:
    evening = datetime(2026, 3, 10, 21, 30, tzinfo=timezone.utc)
    for hours in (0, 1):
        row = submission(
            json.dumps({"lastName": f"Evening{hours}"}).encode(), received_at=evening + timedelta(hours=hours)
        )
        keep(studio.database, [row])
    studio.go("?from=2026-03-10&to=2026-03-10")
    page = studio.page
    expect(page.locator("tr[data-id]")).to_have_count(1)
    expect(page.get_by_role("link", name="Evening0")).to_be_visible()
    expect(page.locator("tr[data-id] time")).to_have_attribute("title", "10 Mar 2026, 23:30:00")
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_label("From (Europe/Riga)")).to_have_value("2026-03-10")
    studio.go("?view=overview&from=2026-03-11&to=2026-03-11")
    expect(page.get_by_role("button", name="24 hours")).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_label("From")).to_have_value("2026-03-11")


def test_a_next_call_says_in_which_zone_it_is_typed(studio: Studio) -> None:
    lead_id = studio.post(lastName="Faraway")
    studio.go(f"?open={lead_id}")
    field = studio.page.get_by_label("Next call", exact=True)
    expect(studio.page.get_by_text("Next call, time in Europe/Riga")).to_be_visible()
    field.fill("2027-01-01T09:00")
    studio.page.get_by_role("button", name="Set", exact=True).click()
    expect(studio.page.get_by_role("region", name="History")).to_contain_text("1 Jan 2027, 09:00:00")
    assert studio.ask("GET", f"/api/leads/{lead_id}")["lead"]["callAt"] == "2027-01-01T07:00:00Z"
