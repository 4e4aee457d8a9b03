"""Correcting a lead in the studio. The databases have no part in it, so one is enough."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Studio

pytestmark = pytest.mark.parametrize("studio_server", ["sqlite"], indirect=True)


def test_a_wrong_phone_is_corrected_by_keyboard_and_taken_back(studio: Studio) -> None:
    id = studio.post(lastName="Misspelt", phone="26123", marker="misspelt")
    studio.sign_in("?marker=misspelt")
    keyboard, drawer = studio.page.keyboard, studio.page.locator("#drawer")
    row = studio.page.locator("tr[data-id]")
    expect(row).to_have_count(1)
    keyboard.press("j")
    keyboard.press("Enter")
    correct = drawer.get_by_role("button", name="Correct phone")
    correct.focus()
    keyboard.press("Enter")
    field = drawer.get_by_label("Phone", exact=True)
    expect(field).to_be_focused()
    keyboard.type("+371 26 123 456")
    # Whatever is drawn meanwhile, what is typed stays.
    studio.ask("PATCH", f"/api/leads/{id}", b'{"status":"called"}')
    expect(drawer.get_by_role("button", name="Change Status: called")).to_be_visible()
    expect(field).to_have_value("+371 26 123 456")
    expect(field).to_be_focused()
    keyboard.press("Enter")
    fields = drawer.get_by_role("region", name="Fields")
    expect(fields).to_contain_text("was \u201c26123\u201d")
    expect(correct).to_be_focused()
    expect(row).to_contain_text("+371 26 123 456")
    expect(drawer.get_by_role("region", name="History")).to_contain_text("Phone: 26123 \u2192 +371 26 123 456")
    expect(drawer.locator("pre.body")).to_contain_text("26123")
    keyboard.press("z")
    expect(row.get_by_role("link", name="Call 26123")).to_be_visible()
    expect(fields).not_to_contain_text("was \u201c")


def test_what_two_people_correct_at_once_is_not_overwritten(studio: Studio) -> None:
    id = studio.post(firstName="Twice", email="a@example.com", marker="twice")
    # Without announcements the page knows nothing of the other's change.
    studio.hold("**/api/leads/stream")
    studio.enter(f"?marker=twice&open={id}")
    drawer = studio.page.locator("#drawer")
    drawer.get_by_role("button", name="Correct email").click()
    studio.ask("PATCH", f"/api/leads/{id}", b'{"email":"theirs@example.com"}')
    field = drawer.get_by_label("Email", exact=True)
    field.fill("mine@example.com")
    field.press("Enter")
    expect(drawer.get_by_role("alert")).to_contain_text("theirs@example.com")
    studio.expect_fault("412")
    expect(field).to_have_value("mine@example.com")
    assert studio.ask("GET", f"/api/leads/{id}")["lead"]["email"] == "theirs@example.com"


@pytest.mark.parametrize(
    ("field", "typed", "theirs", "shown"),
    [
        ("Email", "mine@example.com", {"email": "theirs@example.com"}, "theirs@example.com"),
        ("Next call", "2027-01-01T10:00", {"callAt": "2026-12-24T09:00:00Z"}, "24 Dec 2026"),
    ],
)
def test_what_another_saves_under_what_is_typed_is_told_before_it_is_replaced(
    studio: Studio, field: str, typed: str, theirs: dict[str, str], shown: str
) -> None:
    id = studio.post(firstName="Under", email="a@example.com", marker=f"under {field}")
    studio.sign_in(f"?open={id}")
    drawer = studio.page.locator("#drawer")
    if field == "Email":
        drawer.get_by_role("button", name="Correct email").click()
    box = drawer.get_by_label(field, exact=True)
    save = drawer.get_by_role("button", name="Save" if field == "Email" else "Set", exact=True)
    box.fill(typed)
    studio.ask("PATCH", f"/api/leads/{id}", json.dumps(theirs).encode())
    # The page has been told of the change, and has drawn the field anew.
    expect(drawer.get_by_role("region", name="History")).to_contain_text(shown)
    expect(box).to_have_value(typed)
    save.click()
    message = studio.page.get_by_text("Somebody else has changed this lead")
    expect(message).to_contain_text(shown)
    studio.expect_fault("412")
    (name, value), *_ = theirs.items()
    assert studio.ask("GET", f"/api/leads/{id}")["lead"][name].startswith(value[:16])
    expect(box).to_have_value(typed)
    save.click()
    expect(drawer.get_by_role("region", name="History").get_by_role("listitem")).to_have_count(3)
    assert studio.ask("GET", f"/api/leads/{id}")["lead"][name].startswith(typed[:8])


def test_what_is_typed_outlives_a_reload_and_ends_with_signing_out(studio: Studio) -> None:
    id = studio.post(firstName="Kept", email="a@example.com", marker="kept")
    studio.sign_in(f"?marker=kept&open={id}")
    drawer = studio.page.locator("#drawer")
    drawer.get_by_label("New note").fill("half a n")
    drawer.get_by_role("button", name="Correct phone").click()
    drawer.get_by_label("Phone", exact=True).fill("+371 2")
    studio.page.reload()
    expect(drawer.get_by_label("New note")).to_have_value("half a n")
    expect(drawer.get_by_label("Phone", exact=True)).to_have_value("+371 2")
    studio.page.get_by_role("button", name="Sign out").click()
    expect(studio.page.get_by_label("Token")).to_be_focused()
    studio.page.wait_for_load_state()
    studio.sign_in(f"?marker=kept&open={id}")
    expect(drawer.get_by_label("New note")).to_have_value("")
    expect(drawer.get_by_role("button", name="Correct phone")).to_be_visible()
