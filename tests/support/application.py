"""The application of one worker in this process, for tests that need no server."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sanic import Sanic

from leadcrm.configuration.config import load
from leadcrm.ingest.ingestion import Ingestion
from leadcrm.logs import setup as logs
from leadcrm.web.app import App, create_app
from leadcrm.web.node import Node
from leadcrm.web.node_metrics import NodeMetrics


@contextmanager
def application(folder: Path, **environment: str) -> Iterator[App]:
    """Hold the application with its default configuration but for `environment`, its data and its log in `folder`."""
    config = load({}, {"DATA_DIR": str(folder), **environment}, folder)
    metrics = NodeMetrics(1)
    with (folder / "log").open("wb") as file, socket.socket() as listener:
        node = Node(
            config=config,
            listeners=(listener,),
            owns_listeners=True,
            metrics=metrics,
            limiter=None,
            slots=None,
            log=logs.configure("info", development=False, stream_fd=os.dup(file.fileno())),
            may_migrate=True,
        )
        app = create_app(node, Ingestion(config, may_migrate=True), metrics.worker(0))
        try:
            yield app
        finally:
            Sanic.unregister_app(app)
