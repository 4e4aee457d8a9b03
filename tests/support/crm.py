"""Databases for tests of the CRM: migrated, with rows in any state, written by the product's own store."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from uuid import UUID

from uuid_utils import uuid7

from leadcrm.configuration.database_url import DatabaseURL, parse_database_url
from leadcrm.crm.day_keeping import DayKeeper
from leadcrm.database.connections import open_connection
from leadcrm.database.entities import Entities
from leadcrm.database.migrations import migrate
from leadcrm.database.postgres import PostgresConnection
from leadcrm.database.states import State
from leadcrm.ingest.driving import block
from leadcrm.ingest.store.postgres import PostgresStore
from leadcrm.ingest.store.sqlite import SqliteStore
from leadcrm.ingest.store.store import Store
from leadcrm.ingest.submission import API_SOURCE, Submission, process
from tests.support.command import run_from_source, run_line
from tests.support.server import clean_environment, command

MAX_DECODED_BYTES = 1_048_576


def url_of(database: str) -> DatabaseURL:
    """Return the parsed URL of a database."""
    return parse_database_url(database, base=Path("/"))


def submission(
    body: bytes,
    *,
    key: str | None = None,
    state: str | None = None,
    error: str | None = None,
    received_at: datetime | None = None,
    lead_id: str | None = None,
) -> Submission:
    """Return the submission of a request with this body; `state` overrides its outcome."""
    made_state, made_error, fields = process(
        body, content_type="application/json", content_encoding="", max_decoded_bytes=MAX_DECODED_BYTES
    )
    return Submission(
        id=lead_id or str(uuid7()),
        received_at=received_at or datetime.now(timezone.utc),
        request_id="a-request",
        idempotency_key=key,
        key_sha256=None if key is None else hashlib.sha256(key.encode()).digest(),
        method="POST",
        target="/api/lead",
        remote_addr="192.0.2.1",
        content_type="application/json",
        headers={"content-type": "application/json"},
        body=body,
        body_sha256=hashlib.sha256(body).digest(),
        node="a-node",
        source=API_SOURCE,
        state=State(state) if state else made_state,
        error=error if state else made_error,
        duplicate_of=None,
        fields=None if state else fields,
    )


def id_at(at: datetime, chance: random.Random) -> str:
    """Return an id that begins with a time."""
    return str(UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | chance.getrandbits(60)))


def keep_days(entities: Entities, keeper: DayKeeper | None = None) -> None:
    """Let a keeper of past days finish."""
    keeper = keeper or DayKeeper()
    while keeper.keep(entities):
        pass


def keep(database: str, rows: Sequence[Submission]) -> None:
    """Write rows into a database, which is created if missing."""
    url = url_of(database)
    migrate(url)
    connection = open_connection(url, timeout_s=30, create=True)
    store: Store
    if isinstance(connection, PostgresConnection):
        store = PostgresStore(connection, schema=url.schema, timeout_s=30)
    else:
        assert url.path is not None
        store = SqliteStore(connection, url.path, min_free_bytes=0)
    block(store.write(rows))
    store.close()


def run_command(directory: Path, database: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of leadcrm on a database and wait for it."""
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        **clean_environment(directory),
        "DATABASE_URL": database,
        "DATA_DIR": str(directory / "data"),
    }
    if "LEADCRM_TEST_EXECUTABLE" in os.environ:
        return run_line([*command(), *words], directory, environment)
    return run_from_source(directory, words, environment)
