"""A real browser for the studio: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import new_database, server_starter
from tests.support.server import Server

TOKEN = "a-token-for-the-studio"
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
# Nothing of the browser's own reaches out while tests run.
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True)
class Studio:
    """A page of the studio, the server behind it and its database."""

    page: Page
    server: Server
    database: str
    faults: list[str]

    def go(self, query: str = "") -> None:
        """Open the studio at an address."""
        self.page.goto(f"http://{self.server.host}:{self.server.port}/studio{query}")

    def sign_in(self, query: str = "") -> None:
        """Open the studio and sign in."""
        self.go(query)
        self.page.get_by_label("Token").fill(TOKEN)
        self.page.get_by_label("Your name").fill("J\u0101nis")
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("status").filter(has_text="live").wait_for()

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
    """A fresh tab; what the page itself complains about fails the test."""
    size = getattr(request, "param", WIDE)
    context = browser.new_context(viewport=size, reduced_motion="reduce")
    context.set_default_timeout(15_000)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    yield Studio(page, *studio_server, faults)
    page.screenshot(path=tmp_path / "end.png")
    context.close()
    assert faults == []
