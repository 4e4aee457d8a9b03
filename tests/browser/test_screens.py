"""What each view of the studio shows on wide and narrow screens, to everybody, and that nothing else gets in.

The databases have no part in it, so one is enough.
"""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import serious_faults
from tests.browser.conftest import PHONE, WIDE, Studio
from tests.support.crm import keep, submission

pytestmark = pytest.mark.parametrize("studio_server", ["sqlite"], indirect=True)

HOSTILE = '<script>window.hurt=1</script><img src=x onerror="window.hurt=1">'
both_widths = pytest.mark.parametrize("studio", [WIDE, PHONE], ids=["wide", "phone"], indirect=True)


@both_widths
def test_hostile_names_stay_text(studio: Studio) -> None:
    lead_id = studio.post(firstName=HOSTILE, email=HOSTILE, offer=HOSTILE, status=HOSTILE, marker="hostile")
    studio.ask("PATCH", f"/api/leads/{lead_id}", json.dumps({"status": HOSTILE, "assignedTo": HOSTILE}).encode())
    keep(studio.database, [submission(HOSTILE.encode(), state="invalid", error=HOSTILE, key=HOSTILE)])
    studio.sign_in(f"?marker=hostile&open={lead_id}")
    expect(studio.page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    for query in ("?view=inbox", "?view=overview"):
        studio.go(query)
        expect(studio.page.get_by_text(HOSTILE).first).to_be_attached()
    assert studio.page.evaluate("window.hurt") is None


@both_widths
def test_no_view_has_a_serious_fault_of_accessibility(studio: Studio) -> None:
    lead_id = studio.post(
        firstName="Ann", lastName="Accessible", email="ann@example.com", phone="+37126000111", country="LV"
    )
    keep(studio.database, [submission(b"bad", state="invalid", error="no JSON")])
    studio.go()
    assert serious_faults(studio) == {}
    studio.sign_in()
    for query in ("?country=LV", f"?open={lead_id}", "?view=inbox", "?view=overview"):
        for scheme in ("light", "dark"):
            studio.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            studio.go(query)
            studio.page.get_by_role("status").filter(has_text="live").wait_for(state="attached")
            studio.page.wait_for_load_state("load")
            studio.page.locator("tr[data-id], .tile").first.wait_for()
            if "open" in query:
                studio.page.get_by_role("heading", name="Ann Accessible").wait_for()
            assert serious_faults(studio) == {}, (query, scheme)


@pytest.mark.parametrize("studio", [PHONE], indirect=True)
def test_a_phone_shows_everything_without_scrolling_sideways(studio: Studio) -> None:
    lead_id = studio.post(lastName="Phonewidth", email="a-rather-long-address-of-somebody@a-rather-long-domain.example")
    studio.sign_in()
    for query in ("", f"?open={lead_id}", "?view=inbox", "?view=overview"):
        studio.go(query)
        studio.page.locator("tr[data-id], .tile, .empty").first.wait_for()
        assert studio.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    studio.go(f"?open={lead_id}")
    studio.page.get_by_role("button", name="Close").click()
    expect(studio.page.locator("#drawer")).to_be_hidden()


def test_nothing_is_fetched_from_elsewhere_and_the_token_is_in_no_address(studio: Studio) -> None:
    addresses: list[str] = []
    studio.page.on("request", lambda request: addresses.append(request.url))
    studio.sign_in("?view=overview")
    studio.page.locator(".tile").first.wait_for()
    origin = f"http://{studio.server.host}:{studio.server.port}/"
    assert all(address.startswith((origin, "blob:")) for address in addresses)
    assert not any("a-token" in address for address in addresses)
    answer = studio.server.client.get("/studio")
    policy = answer.header("Content-Security-Policy") or ""
    assert re.match(r"default-src 'none'; script-src 'self';", policy)
    assert "unsafe" not in policy
