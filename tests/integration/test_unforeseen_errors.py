"""The answer to a sender when leadcrm itself fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sanic_testing.testing import SanicTestClient

from tests.support.application import application

SECRET = "relation leads_raw: password=hunter2"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SanicTestClient]:
    """The application in this process, with a route that fails as a database driver would."""
    with application(tmp_path) as app:

        @app.get("/fails")
        async def _(request: object) -> None:
            raise RuntimeError(SECRET)

        yield SanicTestClient(app)


def test_an_unforeseen_error_is_answered_without_its_text(client: SanicTestClient) -> None:
    _, response = client.get("/fails", headers={"X-Request-Id": "req-1"})

    assert response.status == 500
    assert json.loads(response.body) == {"ok": False, "error": "internal_error"}
    assert response.headers["x-request-id"] == "req-1"
    assert SECRET not in response.text
