"""The answer to a sender when leadcrm itself fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sanic_testing.testing import SanicTestClient

from tests.support.application import application
from tests.support.waiting import wait_until

SECRET = "relation leads_raw: password=hunter2"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SanicTestClient]:
    """The application in this process, with a route that fails as a database driver would."""
    with application(tmp_path) as app:

        @app.get("/fails")
        async def _(request: object) -> None:
            raise RuntimeError(SECRET)

        yield SanicTestClient(app)


def test_an_unforeseen_error_is_answered_without_its_text_and_found_by_its_request(
    client: SanicTestClient, tmp_path: Path
) -> None:
    _, response = client.get("/fails", headers={"X-Request-Id": "req-1"})

    assert response.status == 500
    assert json.loads(response.body) == {"ok": False, "error": "internal_error"}
    assert response.headers["x-request-id"] == "req-1"
    assert SECRET not in response.text

    def logged() -> list[dict[str, Any]]:
        records = map(json.loads, (tmp_path / "log").read_text(encoding="utf-8").splitlines())
        return [record for record in records if record["msg"] == "a request failed"]

    (record,) = wait_until(logged)
    assert (record["level"], record["request_id"]) == ("error", "req-1")
    assert record["stack"].endswith(f"RuntimeError: {SECRET}")
