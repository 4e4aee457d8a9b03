"""The studio's views of sources and sinks, and where one lead went.

The databases have no part in them, so one is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import serious_faults
from tests.browser.conftest import PHONE, TOKEN, WIDE, Studio
from tests.conftest import new_database, server_starter
from tests.support.receiver import Receiver, answer
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

SOURCES = """
[source.shop-form]
preset = "html-form"
[source.ads]
preset = "google-ads"
secret = "sesame"
[source.old]
enabled = false
"""

SINKS = """
[sink.crm]
url = "RECEIVER/crm"
allow_private = true
[sink.chat]
kind = "slack"
url = "RECEIVER/chat"
allow_private = true
only = { country = ["EE"] }
"""

PROPOSED = '[source.shop-form]\npreset = "html-form"\nmap.country = ["x1"]\n'


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        receiver.handlers["/chat"] = answer(500, b"<b>out of order</b>")
        yield receiver


@pytest.fixture(scope="module")
def studio_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Iterator[tuple[Server, str]]:
    folder = tmp_path_factory.mktemp("studio")
    (folder / "sources.toml").write_text(SOURCES)
    (folder / "sinks.toml").write_text(SINKS.replace("RECEIVER", receiver.url))
    files = {"SOURCES_FILE": str(folder / "sources.toml"), "SINKS_FILE": str(folder / "sinks.toml")}
    for database in new_database("sqlite", request, tmp_path_factory.mktemp("studio-database")):
        for start in server_starter(request.node, folder):
            server = start(database, environment={"ADMIN_TOKEN": TOKEN, **files})
            for country in ("LV", "EE"):
                form = f"email=a%40example.com&x1={country}".encode()
                kind = [("Content-Type", "application/x-www-form-urlencoded")]
                server.client.request("POST", "/in/shop-form", body=form, headers=kind)
            server.client.request("POST", "/in/ads", body=b'{"google_key":"wrong"}')
            yield server, database


def lead_that_waits(studio: Studio) -> str:
    """Send a lead that the chat does not take, and return its id."""
    id = studio.post(country="EE", lastName="Tamm")

    def is_tried() -> Any:
        return studio.ask("GET", "/api/deliveries?sink=chat&limit=500")["deliveries"]

    wait_until(lambda: id in {one["leadId"] for one in is_tried()}, timeout_s=20)
    return id


def test_a_source_is_set_up_watched_and_its_mapping_tried(studio: Studio) -> None:
    studio.sign_in("?view=sources")
    page = studio.page
    row = page.get_by_role("row").filter(has_text="shop-form")
    expect(row).to_contain_text("open to anybody")
    expect(row).to_contain_text("2 stored")
    expect(page.get_by_role("row").filter(has_text="old")).to_contain_text("off")
    page.get_by_role("link", name="Typeform").click()
    expect(page.get_by_role("heading", name="Steps")).to_be_visible()
    page.get_by_role("link", name="Sources").first.click()
    page.get_by_role("link", name="ads", exact=True).click()
    origin = f"http://{studio.server.host}:{studio.server.port}"
    expect(page.get_by_label("URL", exact=True)).to_have_text(f"{origin}/in/ads")
    expect(page.get_by_label("What came in")).to_contain_text("1 unverified")
    page.go_back()
    page.get_by_role("link", name="shop-form").click()
    text = page.get_by_label("Text of SOURCES_FILE to try")
    expect(text).to_have_value('[source.shop-form]\npreset = "html-form"')
    text.fill(PROPOSED)
    page.get_by_role("button", name="Try this request").first.click()
    compared = page.get_by_role("row").filter(has_text="Country")
    expect(compared.get_by_role("cell")).to_have_text(["none", "none", "EE"])
    text.fill("[source.shop-form]\nmap.emial = 'x'\n")
    page.get_by_role("button", name="Try", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("line 2: source shop-form: map.emial")
    page.get_by_role("link", name="Open", exact=True).first.click()
    expect(page.locator("#drawer")).to_contain_text("Raw request")
    expect(text).to_have_value("[source.shop-form]\nmap.emial = 'x'\n")


def test_leads_are_narrowed_by_source_and_tests_are_marked_and_left_out(studio: Studio) -> None:
    body = b"""{"google_key": "sesame", "lead_id": "t", "is_test": true,
        "user_column_data": [{"column_id": "EMAIL", "string_value": "t@e.com"}]}"""
    studio.sign_in()
    page = studio.page
    studio.server.client.request("POST", "/in/ads", body=body)
    studio.post(lastName="Plain")
    expect(page.get_by_role("link", name="Plain")).to_be_visible()
    expect(page.get_by_role("link", name="t@e.com", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Source", exact=True).fill("ads")
    page.get_by_label("Source", exact=True).press("Enter")
    expect(page.get_by_text("No lead is like that")).to_be_visible()
    page.get_by_label("Test leads").select_option("with the others")
    expect(page.locator("tr[data-id]")).to_contain_text("test")
    expect(page.get_by_role("button", name="Remove the filter Test leads: with the others")).to_be_visible()
    page.locator("tr[data-id] .c-time").click()
    expect(page.locator("#drawer")).to_contain_text("The sender says that this is a test.")


def test_a_lead_tells_where_it_went_and_a_sink_what_waits(studio: Studio, receiver: Receiver) -> None:
    id = lead_that_waits(studio)
    studio.sign_in(f"?open={id}")
    went = studio.page.get_by_role("region", name="Where it went")
    expect(went).to_contain_text("chat waiting")
    expect(went).to_contain_text("500 <b>out of order</b>")
    expect(went).to_contain_text("crm delivered")
    page = studio.page
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Sinks").click()
    chat = page.get_by_role("region", name="chat")
    expect(chat).to_contain_text("failing")
    expect(chat).to_contain_text("Last answer500 <b>out of order</b>")
    expect(page.get_by_role("region", name="crm")).to_contain_text("delivering")
    rows = Rows(studio.database)
    rows.execute("UPDATE leads_deliveries SET state = 'dead', attempts = 10")
    page.get_by_role("button", name="Look again").click()
    page.get_by_role("button", name="dead", exact=True).click()
    entry = page.get_by_role("row").filter(has_text="chat").first
    expect(entry).to_contain_text("never")
    number = rows.select("SELECT count(*) AS n FROM leads_deliveries")[0]["n"]
    entry.get_by_role("button", name="Drop").click()
    expect(page.get_by_role("dialog")).to_contain_text("Drop this delivery?")
    page.get_by_role("button", name="Drop", exact=True).last.click()
    expect(page.locator(".notice")).to_contain_text("1 dropped")
    expect(chat).to_contain_text(f"{number - 1} dead" if number > 1 else "nothing")
    second = lead_that_waits(studio)
    receiver.handlers["/chat"] = answer(200)
    rows.execute("UPDATE leads_deliveries SET state = 'dead'")
    page.get_by_role("button", name="Look again").click()
    chat.get_by_role("button", name="Retry all dead").click()
    wait_until(lambda: not studio.ask("GET", "/api/deliveries")["deliveries"], timeout_s=20)
    receiver.handlers["/chat"] = answer(500, b"<b>out of order</b>")
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_text("Every event has arrived")).to_be_visible()
    assert studio.ask("GET", f"/api/leads/{second}")["deliveries"][0]["state"] == "delivered"


@pytest.mark.parametrize("studio", [WIDE, PHONE], ids=["wide", "phone"], indirect=True)
def test_neither_view_has_a_serious_fault_of_accessibility_or_is_wider_than_its_screen(studio: Studio) -> None:
    id = lead_that_waits(studio)
    studio.sign_in()
    for query, ready in (
        ("?view=sources", ".p-what"),
        ("?view=sources&name=shop-form", ".requests"),
        ("?view=sinks", ".deliveries"),
        (f"?open={id}", "[aria-label='Where it went']"),
    ):
        for scheme in ("light", "dark"):
            studio.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            studio.go(query)
            studio.page.locator(ready).first.wait_for()
            assert serious_faults(studio) == {}, (query, scheme)
            assert studio.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), query
