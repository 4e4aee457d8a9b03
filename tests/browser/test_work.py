"""An agent's work in the studio: take a lead, call, note, call again.

The databases have no part in it, so one is enough.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import HOSTILE_ERROR, PHONE, Studio
from tests.support.crm import keep, submission

pytestmark = pytest.mark.parametrize("studio_server", ["sqlite"], indirect=True)


def test_a_lead_is_taken_noted_and_called_again(studio: Studio) -> None:
    first = studio.post(lastName="Takenfirst", marker="taken")
    studio.post(lastName="Takensecond", marker="taken")
    studio.sign_in("?marker=taken")
    keyboard, drawer = studio.page.keyboard, studio.page.locator("#drawer")
    keyboard.press("n")
    expect(drawer.get_by_role("heading", name="Takenfirst")).to_be_visible()
    expect(drawer.get_by_role("button", name="Change Assigned to: J\u0101nis")).to_be_visible()
    keyboard.press("c")
    note = drawer.get_by_label("New note")
    expect(note).to_be_focused()
    studio.fail("**/notes", "POST")
    keyboard.type("Asked for <b>six</b>")
    keyboard.press("Control+Enter")
    expect(studio.page.locator(".notice").filter(has_text=HOSTILE_ERROR)).to_be_visible()
    studio.expect_fault("503")
    studio.page.unroute("**/notes")
    drawer.get_by_role("button", name="Previous").click()
    expect(drawer.get_by_role("heading", name="Takensecond")).to_be_visible()
    drawer.get_by_role("button", name="Next", exact=True).click()
    expect(note).to_have_value("Asked for <b>six</b>")
    drawer.get_by_role("button", name="Add note").click()
    history = studio.page.get_by_role("region", name="History")
    expect(history).to_contain_text("Asked for <b>six</b>")
    expect(note).to_have_value("")
    drawer.get_by_label("Next call").fill("2026-01-02T16:30")
    drawer.get_by_role("button", name="Set").click()
    expect(history).to_contain_text("Next call: none \u2192 2 Jan 2026")
    studio.page.get_by_role("link", name=re.compile("^Due")).click()
    expect(studio.page.locator("tr[data-id]")).to_have_count(1)
    expect(studio.page.locator(f'tr[data-id="{first}"]')).to_contain_text("call now")
    fields = [event["field"] for event in studio.ask("GET", f"/api/leads/{first}")["events"]]
    assert fields == ["assignedTo", "note", "callAt"]


def test_the_views_have_their_numbers_and_show_them(studio: Studio) -> None:
    ids = [studio.post(lastName=f"Viewed{number}") for number in range(3)]
    studio.ask("PATCH", f"/api/leads/{ids[0]}", '{"assignedTo":"J\u0101nis"}'.encode())
    studio.sign_in()
    waiting = studio.ask("GET", "/api/leads/count?assignedTo=")["leads"]
    view = studio.page.get_by_role("link", name=f"Unassigned {waiting}", exact=False)
    expect(view).to_be_visible()
    view.click()
    expect(studio.page.get_by_text(f"{waiting} leads")).to_be_visible()
    expect(view).to_have_attribute("aria-current", "page")
    studio.page.get_by_role("link", name=re.compile("^Mine")).click()
    expect(studio.page.get_by_role("link", name="Viewed0")).to_be_visible()
    expect(studio.page.get_by_role("link", name="Viewed1")).to_have_count(0)


def test_a_persons_other_leads_are_shown_with_the_lead(studio: Studio) -> None:
    one = studio.post(lastName="Samefirst", phone="+371 26 555 111")
    other = studio.post(lastName="Samesecond", phone="26555111", email="same@example.com")
    studio.post(lastName="Samethird", email="SAME@example.com")
    studio.sign_in(f"?open={other}")
    others = studio.page.get_by_role("region", name="Other leads of this person")
    expect(others.get_by_role("link")).to_have_count(2)
    others.get_by_role("link", name="Samefirst").click()
    expect(studio.page.get_by_role("heading", name="Samefirst")).to_be_visible()
    assert one in studio.page.url


def test_a_phone_is_called_copied_and_selected_without_opening_its_lead(studio: Studio) -> None:
    studio.post(lastName="Dialled", phone="+371 26 555 222", email="d@example.com", country="Selectable", marker="dial")
    studio.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    studio.sign_in("?marker=dial")
    row = studio.page.locator("tr[data-id]")
    expect(row.get_by_role("link", name="Call +371 26 555 222")).to_have_attribute("href", "tel:+37126555222")
    expect(row.get_by_role("link", name="Write to")).to_have_attribute("href", "mailto:d@example.com")
    row.hover()
    expect(row.get_by_role("link", name="WhatsApp")).to_have_attribute("href", "https://wa.me/37126555222")
    row.get_by_role("button", name="Copy +371").click()
    expect(studio.page.locator(".notice")).to_have_text("Copied +371 26 555 222")
    assert studio.page.evaluate("navigator.clipboard.readText()") == "+371 26 555 222"
    cell = row.locator(".c-country")
    box = cell.bounding_box()
    assert box is not None
    studio.page.mouse.move(box["x"] + 12, box["y"] + 20)
    studio.page.mouse.down()
    studio.page.mouse.move(box["x"] + 60, box["y"] + 20)
    studio.page.mouse.up()
    assert studio.page.evaluate("String(getSelection())")
    expect(studio.page.locator("#drawer")).to_be_hidden()
    row.locator(".c-time").click()
    expect(studio.page.locator("#drawer")).to_be_visible()


@pytest.mark.parametrize("studio", [PHONE], indirect=True)
def test_a_phone_shows_the_phone_and_the_email_only_where_there_is_none(studio: Studio) -> None:
    rows = [submission(b'{"marker":"narrow","email":"a@example.com"}')]
    rows.append(submission(b'{"marker":"narrow","phone":"+37126555333","email":"b@example.com"}'))
    keep(studio.database, rows)
    studio.sign_in("?marker=narrow")
    expect(studio.page.get_by_role("link", name="Call +37126555333")).to_be_visible()
    expect(studio.page.get_by_role("link", name="Write to b@example.com")).to_be_hidden()
    expect(studio.page.get_by_role("link", name="Write to a@example.com")).to_be_visible()
