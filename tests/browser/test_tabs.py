"""Several tabs of one browser, and people who sign in where others were. The databases have no part in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import TOKEN, Studio
from tests.browser.test_people import give, sign_in

pytestmark = pytest.mark.parametrize("studio_server", ["sqlite"], indirect=True)


@pytest.fixture
def second(studio: Studio) -> Iterator[Studio]:
    """Another tab of the same browser."""
    page = studio.page.context.new_page()
    yield Studio(page, studio.server, studio.database, studio.faults)
    page.close()


def set_status(page: Page, status: str) -> None:
    page.get_by_role("button", name="Change Status").click()
    page.locator(".chooser input").fill(status)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=f"Change Status: {status}")).to_be_visible()


def test_each_tab_keeps_the_name_with_which_it_was_signed_in(studio: Studio, second: Studio) -> None:
    lead_id = studio.post(lastName="Two names")
    studio.sign_in(f"?open={lead_id}")
    second.go()
    second.page.get_by_label("Token").fill(TOKEN)
    second.page.get_by_label("Your name").fill("Anna")
    second.page.get_by_role("button", name="Sign in").click()
    expect(second.page.locator("#who")).to_have_text("Anna")
    expect(studio.page.locator("#who")).to_have_text("J\u0101nis")
    set_status(studio.page, "called")
    (event,) = studio.ask("GET", f"/api/leads/{lead_id}")["events"]
    assert (event["to"], event["by"]) == ("called", "J\u0101nis")


def test_tabs_that_stay_signed_in_follow_who_signs_in_and_out(studio: Studio, second: Studio) -> None:
    second.go()
    expect(second.page.get_by_label("Token")).to_be_visible()
    sign_in(studio, give(studio, "Early Bird", "agent"), stays=True)
    expect(studio.page.locator("#who")).to_have_text("Early Bird")
    second.page.get_by_label("Token").fill(give(studio, "Night Owl", "agent"))
    second.page.get_by_label("Stay signed in").check()
    second.page.get_by_role("button", name="Sign in").click()
    for tab in (second, studio):
        expect(tab.page.locator("#who")).to_have_text("Night Owl")
    second.page.get_by_role("button", name="Sign out").click()
    for tab in (second, studio):
        expect(tab.page.get_by_label("Token")).to_be_visible()
    studio.faults.clear()  # 401, of what was under way


def test_who_signs_in_again_sees_what_came_meanwhile(studio: Studio) -> None:
    token = give(studio, "Taken Back", "agent")
    sign_in(studio, token, "?marker=meanwhile")
    studio.post(lastName="Before", marker="meanwhile")
    expect(studio.page.get_by_role("link", name="Before")).to_be_visible()
    (given,) = [each for each in studio.ask("GET", "/api/tokens")["tokens"] if each["name"] == "Taken Back"]
    studio.ask("DELETE", f"/api/tokens/{given['id']}")
    expect(studio.page.get_by_label("Token")).to_be_visible(timeout=30_000)
    studio.post(lastName="Meanwhile", marker="meanwhile")
    studio.page.get_by_label("Token").fill(give(studio, "Come Back", "agent"))
    studio.page.get_by_role("button", name="Sign in").click()
    expect(studio.page.get_by_role("link", name="Meanwhile")).to_be_visible()
    expect(studio.page.locator("#who")).to_have_text("Come Back")
    expect(studio.page.locator(".count")).to_have_text("2 leads")
    studio.post(lastName="Afterwards", marker="meanwhile")
    expect(studio.page.get_by_role("link", name="Afterwards")).to_be_visible()
    expect(studio.page.locator(".count")).to_have_text("3 leads")
    studio.faults.clear()  # 401


def test_many_tabs_open_and_one_that_is_looked_at_again_shows_what_came(studio: Studio) -> None:
    """A browser has six connections to a server, and each of these tabs would keep one."""
    sign_in(studio, give(studio, "Many Tabs", "agent"), "?marker=many", stays=True)
    studio.post(lastName="Seen", marker="many")
    pages = [studio.page]
    for _ in range(7):
        # No tab behind another is hidden where nobody sees the browser.
        pages[-1].evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
        pages.append(studio.page.context.new_page())
        pages[-1].goto(f"http://{studio.server.host}:{studio.server.port}/studio?marker=many")
        expect(pages[-1].get_by_role("link", name="Seen")).to_be_visible()
        expect(pages[-1].locator("#live")).to_have_text("live")
    first = pages[0]
    expect(first.locator("#live")).to_have_text("reconnecting")
    studio.post(lastName="Unseen", marker="many")
    expect(pages[-1].get_by_role("link", name="Unseen")).to_be_visible()
    first.evaluate("delete document.hidden")
    first.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(first.get_by_role("link", name="Unseen")).to_be_visible()
    expect(first.locator("#live")).to_have_text("live")
