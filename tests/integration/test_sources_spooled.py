"""Sources while the database is away: their requests wait in the spool, and their leads are the same afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leadcrm.sources.live import SEEN_FILE
from tests.conftest import server_starter
from tests.support.postgres import PostgresCluster
from tests.support.rows import Row, Rows
from tests.support.senders import senders, sources_text
from tests.support.server import Server
from tests.support.waiting import wait_until

OWN_TO_A_REQUEST = {"id", "received_at", "created_at", "updated_at", "request_id", "part_of", "duplicate_of"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sources.toml"
    path.write_text(sources_text())
    return path


@pytest.fixture
def server(
    request: pytest.FixtureRequest, own_postgres: PostgresCluster, file: Path, tmp_path: Path
) -> Iterator[Server]:
    url = own_postgres.create_database()
    for start in server_starter(request.node, tmp_path):
        yield start(url, environment={"SOURCES_FILE": str(file)})


def send_all(server: Server) -> list[int]:
    return [
        server.client.request(sent.method, sent.target, body=sent.body or None, headers=sent.headers).status
        for sent in senders()
    ]


def described(rows: list[Row]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in OWN_TO_A_REQUEST} for row in rows]


def test_leads_of_every_sender_are_the_same_by_way_of_the_spool(server: Server, own_postgres: PostgresCluster) -> None:
    rows = Rows(server.environment["DATABASE_URL"])
    # The process writes it once it knows its version, which the database has before.
    wait_until((server.data_dir / SEEN_FILE).exists, what="a version")
    statuses = send_all(server)
    raw, leads = described(rows.raw()), described(rows.leads())
    rows.execute("DELETE FROM leads")
    rows.execute("DELETE FROM leads_raw")
    own_postgres.stop()
    assert send_all(server) == statuses
    assert len(server.spooled()) == len(raw)
    own_postgres.start()
    server.wait_drained()
    assert described(rows.raw()) == raw
    assert described(rows.leads()) == leads
