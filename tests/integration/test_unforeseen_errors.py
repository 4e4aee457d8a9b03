"""What a sender hears when the program itself is at fault."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sanic_testing.testing import SanicTestClient

from leadcrm.configuration.config import load
from leadcrm.ingest.ingestion import Ingestion
from leadcrm.logs import setup as logs
from leadcrm.web.app import create_app
from leadcrm.web.node_metrics import NodeMetrics

SECRET = "relation leads_raw: password=hunter2"


@pytest.fixture
def client(tmp_path: Path) -> SanicTestClient:
    """The application in this process, with a route that fails as a driver would."""
    config = load({}, {"DATA_DIR": str(tmp_path)}, tmp_path)
    node_metrics = NodeMetrics(1)
    with (tmp_path / "log").open("wb") as file:
        log = logs.configure("info", development=False, stream_fd=os.dup(file.fileno()))
    app = create_app(config, Ingestion(config, may_migrate=True), node_metrics, node_metrics.worker(0), log, None)

    @app.get("/fails")
    async def _(request: object) -> None:
        raise RuntimeError(SECRET)

    return SanicTestClient(app)


def test_an_unforeseen_error_is_answered_without_a_word_of_its_own(client: SanicTestClient) -> None:
    _, response = client.get("/fails", headers={"X-Request-Id": "req-1"})

    assert response.status == 500
    assert json.loads(response.body) == {"ok": False, "error": "internal_error"}
    assert response.headers["x-request-id"] == "req-1"
    assert SECRET not in response.text
