"""Being told of leads: title, icon, desktop notices. The databases have no part in it, so one is enough."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Studio

pytestmark = pytest.mark.parametrize("studio_server", ["sqlite"], indirect=True)

RECORDER = """
window.told = [];
window.Notification = class {
	static permission = "granted";
	static requestPermission = async () => "granted";
	constructor(title, { body }) { window.told.push(body); }
};
document.hasFocus = () => false;
"""


def test_a_person_is_told_of_new_leads_in_title_icon_and_on_the_desktop(studio: Studio) -> None:
    page = studio.page
    page.add_init_script(RECORDER)
    studio.post(lastName="Waiting")
    studio.sign_in()
    waiting = studio.ask("GET", "/api/leads/count?assignedTo=")["leads"]
    expect(page).to_have_title(f"({waiting}) leadcrm studio")
    page.get_by_role("button", name="What to be told of").click()
    page.get_by_label("a notice on the desktop").check()
    page.get_by_label("calls that are due").uncheck()
    page.keyboard.press("Escape")
    icon = page.locator('link[rel="icon"]')
    expect(icon).to_have_attribute("href", re.compile("/icon.svg$|^studio/icon.svg$"))
    studio.post(lastName="Arrived")
    expect(page).to_have_title(f"({waiting + 1}) leadcrm studio", timeout=15_000)
    assert page.evaluate("told") == [f"{waiting + 1} leads that nobody has"]
    expect(icon).to_have_attribute("href", re.compile("icon-dot.svg$"))
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(icon).to_have_attribute("href", re.compile("/icon.svg$"))
    page.reload()
    page.get_by_role("button", name="What to be told of").click()
    expect(page.get_by_label("a notice on the desktop")).to_be_checked()
    expect(page.get_by_label("calls that are due")).not_to_be_checked()
    page.get_by_label("leads that nobody has").uncheck()
    expect(page).to_have_title("leadcrm studio")
