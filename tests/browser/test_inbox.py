"""The inbox: live, emptied by archiving, and not filled by repeats. The databases have no part in it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Studio
from tests.support.crm import keep, submission

pytestmark = pytest.mark.parametrize("studio_server", ["sqlite"], indirect=True)


def test_the_inbox_is_live_folds_repeats_and_is_emptied(studio: Studio) -> None:
    first = submission(b'{"email":"a@example.com"}')
    repeat = submission(b"{}", state="repeat")._replace(body=None, duplicate_of=first.id)
    repeats = [repeat._replace(id=submission(b"{}").id) for _ in range(30)]
    invalid = [submission(b"null", state="invalid", error=f"fault {number % 2}") for number in range(7)]
    keep(studio.database, [first, *invalid[:6], *repeats])
    studio.sign_in("?view=inbox")
    page = studio.page
    rows = page.locator("tr[data-id]")
    expect(rows).to_have_count(7)
    expect(rows.filter(has_text="repeat")).to_contain_text("\u00d730")
    badge = page.locator("nav .badge")
    expect(badge).to_have_text("6")

    keep(studio.database, invalid[6:])
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(badge).to_have_text("7")
    expect(rows).to_have_count(8)

    page.keyboard.press("j")
    page.keyboard.press("d")
    expect(rows).to_have_count(7)
    expect(badge).to_have_text("6")
    page.keyboard.press("z")
    expect(rows).to_have_count(8)
    page.locator("tr", has_text="fault 1").first.get_by_role("button", name="All like this").click()
    expect(rows.filter(has_text="fault 1")).to_have_count(0)
    expect(page.get_by_text("3 archived")).to_be_visible()
    expect(badge).to_have_text("4")
    page.get_by_role("button", name="archived").click()
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Bring back").first.click()
    expect(rows).to_have_count(2)
    expect(badge).to_have_text("5")


def test_a_request_is_corrected_and_becomes_a_lead_that_says_who_did_it(studio: Studio) -> None:
    broken = submission(b'{"email":"corrected@example.com"', state="invalid", error="no JSON")
    empty = submission(b"", state="invalid", error="no payload")
    keep(studio.database, [broken, empty])
    studio.sign_in(f"?view=inbox&open={broken.id}")
    page = studio.page
    drawer = page.get_by_label("Details")
    drawer.get_by_role("button", name="Correct").click()
    body = drawer.get_by_label("What it should have been")
    expect(body).to_be_focused()
    expect(body).to_have_value('{"email":"corrected@example.com"')
    drawer.get_by_role("button", name="Make the lead").click()
    expect(drawer.get_by_role("alert")).to_contain_text("Still invalid")
    body.fill('{"email":"corrected@example.com","lastName":"Corrected"}')
    # What is typed stays where the drawer is drawn anew, and where the page is.
    drawer.get_by_role("button", name="Replay").click()
    expect(page.locator(".notice")).to_contain_text("Still invalid")
    expect(drawer.get_by_role("alert")).to_be_hidden()
    expect(body).to_have_value('{"email":"corrected@example.com","lastName":"Corrected"}')
    page.reload()
    expect(body).to_have_value('{"email":"corrected@example.com","lastName":"Corrected"}')
    drawer.get_by_role("button", name="Make the lead").click()
    expect(drawer.get_by_role("heading", name="Corrected", exact=True)).to_be_visible()
    expect(drawer.get_by_label("History")).to_contain_text("The body was corrected to")
    expect(drawer.get_by_label("History")).to_contain_text("J\u0101nis")
    expect(drawer.get_by_label("Raw request").get_by_label("Body")).to_have_text('{"email":"corrected@example.com"')
    expect(page.locator(f'tr[data-id="{broken.id}"]')).to_have_count(0)

    page.locator(f'tr[data-id="{empty.id}"]').get_by_role("link").click()
    drawer.get_by_role("button", name="Correct").click()
    drawer.get_by_label("Last name").fill("Typed")
    page.keyboard.press("Enter")
    expect(drawer.get_by_role("heading", name="Typed", exact=True)).to_be_visible()
    expect(drawer.get_by_label("History")).to_contain_text("What the request means was typed")


@pytest.mark.parametrize("state", ["unverified", "unrouted", "event"])
def test_whatever_a_replay_may_make_a_lead_of_is_offered_for_it(studio: Studio, state: str) -> None:
    kept = submission(b'{"lastName":"Mended"}', state=state, error="of its source")
    keep(studio.database, [kept])
    counted = studio.ask("GET", "/api/raw?state=failed&state=invalid&state=unverified&state=unrouted")["rows"]
    studio.sign_in(f"?view=inbox&open={kept.id}")
    badge = studio.page.locator("nav .badge")
    expect(badge).to_have_text(str(len(counted)))
    drawer = studio.page.get_by_label("Details")
    if state != "event":
        studio.page.get_by_role("button", name=state, exact=True).click()
        expect(studio.page.locator(f'tr[data-id="{kept.id}"]')).to_be_visible()
    drawer.get_by_role("button", name="Replay").click()
    expect(drawer.get_by_role("heading", name="Mended", exact=True)).to_be_visible()
    expect(studio.page.locator(f'tr[data-id="{kept.id}"]')).to_have_count(0)
    if state != "event":
        expect(badge).to_have_text(str(len(counted) - 1))
