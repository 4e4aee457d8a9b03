"""A real browser for the studio: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, Route, sync_playwright

from tests.conftest import new_database, server_starter
from tests.support.server import Server

TOKEN = "a-token-for-the-studio"
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
HOSTILE_ERROR = "<b>unavailable</b>"
# Nothing of the browser's own reaches out while tests run.
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True)
class Studio:
    """A page of the studio, its server and its database; `faults` are the page's own error messages."""

    page: Page
    server: Server
    database: str
    faults: list[str]

    def go(self, query: str = "") -> None:
        """Open the studio at an address."""
        self.page.goto(f"http://{self.server.host}:{self.server.port}/studio{query}")

    def sign_in(self, query: str = "") -> None:
        """Open the studio, sign in and wait until announcements arrive."""
        self.enter(query)
        self.page.get_by_role("status").filter(has_text="live").wait_for()

    def enter(self, query: str = "") -> None:
        """Open the studio and sign in."""
        self.go(query)
        self.page.get_by_label("Token").fill(TOKEN)
        self.page.get_by_label("Your name").fill("J\u0101nis")
        self.page.get_by_role("button", name="Sign in").click()
        self.rest()

    def rest(self) -> None:
        """Take the mouse off the list: rows under it stay where they are."""
        self.page.mouse.move(0, 0)

    def choose(self, text: str) -> None:
        """Choose a status or a person from the list that is open."""
        self.page.locator(".chooser input").fill(text)
        self.page.keyboard.press("Enter")

    def hold(self, target: str) -> list[Route]:
        """Leave requests for a target unanswered, and return the list that collects them."""
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        self.page.route(target, hold)
        return held

    def fail(self, target: str, method: str = "GET") -> None:
        """Answer requests for a target with an error whose text looks like HTML."""

        def answer(route: Route) -> None:
            if route.request.method == method:
                route.fulfill(status=503, json={"ok": False, "error": "unavailable", "message": HOSTILE_ERROR})
            else:
                route.fallback()

        self.page.route(target, answer)

    def expect_fault(self, text: str) -> None:
        """Assert that the browser reported a failed request, and forgive that report."""
        expected = [fault for fault in self.faults if text in fault]
        assert expected, f"{text!r} is not among {self.faults}"
        self.faults[:] = [fault for fault in self.faults if fault not in expected]

    def post(self, **fields: Any) -> str:
        """Send a lead and return its id."""
        answer = self.server.client.post_lead(fields)
        assert answer.status == 201
        return str(answer.json()["lead_id"])

    def ask(self, method: str, target: str, body: bytes | None = None) -> Any:
        """Ask the API."""
        headers = [("Authorization", f"Bearer {TOKEN}")]
        return self.server.client.request(method, target, body=body, headers=headers).json()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = os.environ.get("LEADCRM_TEST_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium here: apt-get install chromium, or name one in LEADCRM_TEST_BROWSER")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield running
        # A Ctrl-C in the terminal ends the browser too.
        with suppress(Error):
            running.close()


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def studio_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    for database in new_database(request.param, request, tmp_path_factory.mktemp("studio-database")):
        for start in server_starter(request.node, tmp_path_factory.mktemp("studio")):
            yield start(database, environment={"ADMIN_TOKEN": TOKEN}), database


@pytest.fixture
def studio(
    browser: Browser, studio_server: tuple[Server, str], request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Studio]:
    """A fresh tab. Errors that the page reports fail the test."""
    size = getattr(request, "param", WIDE)
    context = browser.new_context(viewport=size, reduced_motion="reduce")
    context.set_default_timeout(15_000)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    yield Studio(page, *studio_server, faults)
    with suppress(Error):
        page.screenshot(path=tmp_path / "end.png")
        context.close()
    assert faults == []
