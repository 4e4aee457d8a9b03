"""The list as a person arranges it. The databases have no part in it, so one is enough."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import PHONE, Studio
from tests.support.crm import keep, submission
from tests.support.waiting import wait_until

pytestmark = pytest.mark.parametrize("studio_server", ["sqlite"], indirect=True)


def names(studio: Studio) -> list[str]:
    return studio.page.locator("tr[data-id] .c-name a").all_inner_texts()


def test_columns_are_chosen_put_in_order_sorted_and_kept(studio: Studio) -> None:
    first = studio.post(lastName="Alpha", marker="arranged", click_id="click-1", description="d " * 300)
    studio.post(lastName="Beta", marker="arranged", click_id="click-2")
    studio.ask("PATCH", f"/api/leads/{first}", b'{"status":"called"}')
    studio.sign_in("?marker=arranged")
    page, keyboard = studio.page, studio.page.keyboard
    expect(page.locator("tr[data-id]")).to_have_count(2)
    page.get_by_role("button", name="Columns").focus()
    keyboard.press("Enter")
    for name in ("Click id", "Description"):
        page.get_by_role("checkbox", name=name, exact=True).check()
    page.get_by_role("checkbox", name="Email", exact=True).uncheck()
    page.get_by_role("checkbox", name="Compact rows").check()
    move = page.get_by_role("button", name="Move Click id left")
    for _ in range(3):
        move.focus()
        keyboard.press("Enter")
        expect(move).to_be_focused()
    keyboard.press("Escape")
    expect(page.get_by_role("button", name="Columns")).to_be_focused()
    heads = page.get_by_role("columnheader").all_inner_texts()
    assert heads[1:] == [
        "Arrived \u2193", "Status", "Name", "Phone", "Country", "Offer", "Click id", "Marker", "Source", "Assigned to",
        "Description",
    ]  # fmt: skip
    cut = page.locator("tr[data-id] .c-description").last
    cut.hover()
    expect(cut).to_have_attribute("title", re.compile("^(d )+"))
    row = page.locator("tr[data-id]").first.bounding_box()
    assert row is not None
    assert row["height"] < 32

    page.get_by_role("button", name="Status", exact=True).click()
    expect(page.get_by_role("columnheader", name="Status")).to_have_attribute("aria-sort", "ascending")
    expect(page.locator("tr[data-id] .c-name a").first).to_have_text("Beta")
    page.get_by_role("button", name="Status").first.click()
    expect(page.locator("tr[data-id] .c-name a").first).to_have_text("Alpha")
    assert "sort=-status" in page.url
    # In another order than the newest first, an arrival is told and moves nothing.
    studio.post(lastName="Gamma", marker="arranged")
    page.get_by_role("button", name="1 new").click()
    expect(page.locator("tr[data-id]")).to_have_count(3)
    assert names(studio) == ["Alpha", "Gamma", "Beta"]

    page.get_by_role("button", name="Save view").click()
    page.get_by_label("Name of the view").fill("Arranged")
    keyboard.press("Enter")
    page.get_by_role("link", name="All").click()
    page.reload()
    page.get_by_role("link", name="Arranged 3").click()
    expect(page.locator("tr[data-id]")).to_have_count(3)
    assert names(studio) == ["Alpha", "Gamma", "Beta"]
    assert page.get_by_role("columnheader").all_inner_texts()[7] == "Click id"
    page.get_by_role("button", name="Forget this view").click()
    expect(page.get_by_role("link", name="Arranged")).to_have_count(0)


def test_values_are_picked_with_their_numbers_or_by_a_part(studio: Studio) -> None:
    for offer in ("Baltic Gold", "Baltic Silver", "Nordic", None):
        studio.post(lastName=f"Of {offer}", marker="picked", offer=offer)
    studio.sign_in("?marker=picked")
    page, keyboard = studio.page, studio.page.keyboard
    page.get_by_role("button", name="Filters").click()
    offer = page.get_by_role("combobox", name="Offer")
    offer.focus()
    expect(page.get_by_role("option", name=re.compile("Nordic"))).to_contain_text("1")
    keyboard.type("nord")
    keyboard.press("Enter")
    expect(page.locator("tr[data-id]")).to_have_count(1)
    keyboard.type("none")
    keyboard.press("Enter")
    expect(page.locator("tr[data-id]")).to_have_count(2)
    expect(page.get_by_role("button", name="Remove the filter Offer: Nordic")).to_be_visible()
    expect(page.get_by_role("option", name=re.compile("Nordic"))).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="Remove the filter Offer: Nordic").click()
    page.get_by_role("button", name="Remove the filter Offer: none").click()
    offer.focus()
    keyboard.type("BALTIC")
    page.get_by_role("option", name="contains").click()
    expect(page.locator("tr[data-id]")).to_have_count(2)
    expect(page.get_by_role("button", name="Remove the filter Offer contains BALTIC")).to_be_visible()
    studio.rest()


def test_a_lead_is_found_by_its_id_and_an_empty_search_says_what_is_searched(studio: Studio) -> None:
    id = studio.post(lastName="Byid", click_id="CLICK-4711")
    studio.post(lastName="Another")
    studio.sign_in()
    search = studio.page.get_by_label("Search leads")
    for text in (id, "CLICK-4711"):
        search.fill(text)
        expect(studio.page.locator("tr[data-id]")).to_have_count(1)
        assert names(studio) == ["Byid"]
    expect(studio.page.get_by_role("columnheader", name="Arrived").get_by_role("button")).to_be_disabled()
    search.fill("nobody is like that")
    expect(studio.page.get_by_text("any id, key or click id")).to_be_visible()


def test_a_page_with_few_parts_of_texts_says_how_far_it_looked_and_the_next_one_follows(studio: Studio) -> None:
    studio.post(lastName="Farback", marker="parts", description="a needle")
    lead = studio.ask("GET", "/api/leads?marker=parts")["leads"][0]
    held: list[Route] = []

    def answer(route: Route) -> None:
        looked = {"leads": 100_000, "from": "2024-05-06T07:08:09Z"}
        if "cursor=last" in route.request.url:
            held.append(route)
        elif "cursor=more" in route.request.url:
            route.fulfill(json={"leads": [], "next": "last", "searched": looked})
        else:
            route.fulfill(json={"leads": [], "next": "more", "searched": looked})

    studio.page.route("**/api/leads?*contains*", answer)
    with studio.page.expect_request("**/api/leads?*cursor=last*"):
        studio.sign_in("?contains=description:needle")
    expect(studio.page.get_by_text("looked at 100,000")).to_contain_text("2024")
    held[0].fulfill(json={"leads": [lead], "next": None})
    expect(studio.page.locator("tr[data-id]")).to_have_count(1)
    expect(studio.page.get_by_text("looked at 100,000")).to_have_count(0)


def test_a_lead_whose_person_has_others_is_marked(studio: Studio) -> None:
    studio.post(lastName="Markedfirst", phone="+371 26 808 808", marker="marked")
    studio.post(lastName="Markedsecond", phone="26808808", marker="marked")
    studio.post(lastName="Unmarked", phone="26808809", marker="marked")
    studio.sign_in("?marker=marked")
    marks = studio.page.get_by_role("note", name="1 other lead of this person")
    expect(marks).to_have_count(2)
    expect(studio.page.locator("tr", has_text="Unmarked").get_by_role("note")).to_have_count(0)


def test_columns_are_as_wide_as_a_person_makes_them_and_each_saved_view_has_its_own(studio: Studio) -> None:
    studio.post(lastName="Wide", marker="widths", offer="An offer with a name that is longer than its column " * 2)
    studio.sign_in("?marker=widths")
    page, keyboard = studio.page, studio.page.keyboard
    expect(page.locator("tr[data-id]")).to_have_count(1)

    def width(name: str) -> float:
        box = page.locator(f"th.c-{name}").bounding_box()
        assert box is not None
        return round(box["width"])

    def drag(name: str, by: int) -> None:
        box = page.locator(f"th.c-{name} .handle").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + 5
        page.mouse.move(x, y)
        page.mouse.down()

        def follows() -> bool:
            page.mouse.move(x + by, y, steps=2)
            return width(name) == before[name] + by

        wait_until(follows, timeout_s=10, what="the column follows the pointer")
        page.mouse.up()

    before = {name: width(name) for name in ("status", "name", "phone")}
    drag("name", 90)
    assert {name: width(name) for name in before} == {**before, "name": before["name"] + 90}
    assert "sort" not in page.url
    page.locator("th.c-offer .handle").dblclick()
    offer = page.locator("tr[data-id] .c-offer")
    page.wait_for_function("cell => cell.scrollWidth <= cell.clientWidth", arg=offer.element_handle())

    page.get_by_role("button", name="Save view").click()
    page.get_by_label("Name of the view").fill("Broad")
    keyboard.press("Enter")
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Width of Phone in pixels").fill("321")
    keyboard.press("Enter")
    assert width("phone") == 321
    keyboard.press("Escape")
    everything = page.get_by_role("group", name="Views").get_by_role("link", name="All")
    everything.click()
    expect(everything).to_have_attribute("aria-current", "page")
    assert (width("phone"), width("name")) == (before["phone"], before["name"] + 90)
    page.reload()
    page.get_by_role("link", name="Broad").click()
    expect(page.get_by_role("link", name="Broad")).to_have_attribute("aria-current", "page")
    assert (width("phone"), width("name")) == (321, before["name"] + 90)
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("button", name="As at first").click()
    assert width("phone") == before["phone"]
    page.get_by_role("button", name="Forget this view").click()
    assert width("name") == before["name"] + 90


def test_paper_has_every_loaded_row_and_nothing_to_press(studio: Studio) -> None:
    keep(studio.database, [submission(b'{"lastName":"Printed","marker":"printed"}') for _ in range(60)])
    studio.sign_in("?marker=printed")
    page = studio.page
    rows = page.locator("tr[data-id]")
    expect(rows.first).to_be_visible()
    assert rows.count() < 60
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(rows).to_have_count(60)
    expect(rows.last).to_be_visible()
    for name in ("Filters", "Sign out"):
        expect(page.get_by_role("button", name=name)).to_be_hidden()
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(page.get_by_role("button", name="Filters")).to_be_visible()
    assert rows.count() < 60


@pytest.mark.parametrize("studio", [PHONE], indirect=True, ids=["phone"])
def test_a_phone_has_no_columns_to_choose(studio: Studio) -> None:
    studio.post(lastName="Onaphone", marker="phone")
    studio.sign_in("?marker=phone")
    expect(studio.page.locator("tr[data-id]")).to_have_count(1)
    expect(studio.page.get_by_role("button", name="Export")).to_be_visible()
    expect(studio.page.get_by_role("button", name="Columns")).to_be_hidden()
