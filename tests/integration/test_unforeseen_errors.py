"""The answer to a sender when leadcrm itself fails."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sanic_testing.testing import SanicTestClient

from leadcrm.configuration.config import load
from leadcrm.ingest.ingestion import Ingestion
from leadcrm.logs import setup as logs
from leadcrm.web.app import create_app
from leadcrm.web.node import Node
from leadcrm.web.node_metrics import NodeMetrics

SECRET = "relation leads_raw: password=hunter2"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SanicTestClient]:
    """The application in this process, with a route that fails as a database driver would."""
    config = load({}, {"DATA_DIR": str(tmp_path)}, tmp_path)
    metrics = NodeMetrics(1)
    listener = socket.socket()
    with (tmp_path / "log").open("wb") as file:
        log = logs.configure("info", development=False, stream_fd=os.dup(file.fileno()))
    node = Node(
        config=config,
        listener=listener,
        owns_listener=True,
        metrics=metrics,
        limiter=None,
        log=log,
        may_migrate=True,
    )
    app = create_app(node, Ingestion(config, may_migrate=True), metrics.worker(0))

    @app.get("/fails")
    async def _(request: object) -> None:
        raise RuntimeError(SECRET)

    yield SanicTestClient(app)
    listener.close()


def test_an_unforeseen_error_is_answered_without_its_text(client: SanicTestClient) -> None:
    _, response = client.get("/fails", headers={"X-Request-Id": "req-1"})

    assert response.status == 500
    assert json.loads(response.body) == {"ok": False, "error": "internal_error"}
    assert response.headers["x-request-id"] == "req-1"
    assert SECRET not in response.text
