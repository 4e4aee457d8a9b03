"""A SQLite file that takes no leads: every kind of batch notices, before it is written and after its commit."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.database.connections import open_connection
from leadcrm.database.migrations import migrate
from leadcrm.errors import StoreUnavailable
from leadcrm.ingest.driving import block
from leadcrm.ingest.store.sqlite import SqliteStore
from leadcrm.ingest.submission import Submission
from leadcrm.ingest.writer import Writer
from tests.support.crm import keep, submission, url_of
from tests.support.receipts import submit_all
from tests.support.rows import Rows, sqlite_path
from tests.support.writers import run_writer, spool_in

KINDS = {
    "new keys": ("INSERT", [b"new", b"newer"]),
    "two of one key": ("INSERT", [b"new", b"new"]),
    "a taken key": ("COMMIT", [b"new", b"taken"]),
}
"""The last statement of a batch, and its keys: where none is taken it is one statement, its own transaction."""


def batch_of(keys: list[bytes]) -> list[Submission]:
    return [submission(b"{}", key=key.decode()) for key in keys]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A SQLite file in which one key is taken."""
    url = f"sqlite:///{tmp_path / 'leads.db'}"
    migrate(url_of(url))
    keep(url, batch_of([b"taken"]))
    return url


def sends_to_the_spool(store: SqliteStore, batch: list[Submission], folder: Path) -> bool:
    """Say whether a writer keeps the batch in the spool, all of it, and gives the store up."""

    async def use(writer: Writer) -> None:
        assert {receipt.stored for receipt in await submit_all(writer, *batch)} == {"spool"}
        assert not writer.has_store

    run_writer(use, store=store, spool=spool_in(folder))
    return {row["id"] for row in Rows(f"sqlite:///{folder / 'spool.db'}").raw()} == {row.id for row in batch}


def open_sqlite(database: str, *, min_free_bytes: int = 0) -> tuple[SqliteStore, sqlite3.Connection]:
    connection = open_connection(url_of(database), timeout_s=5)
    assert isinstance(connection, sqlite3.Connection)
    return SqliteStore(connection, sqlite_path(database), min_free_bytes=min_free_bytes), connection


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_a_batch_that_is_committed_into_a_file_that_is_not_there_any_more_goes_to_the_spool(
    database: str, tmp_path: Path, kind: str, what: str
) -> None:
    last_statement, keys = KINDS[kind]
    store, connection = open_sqlite(database)
    path, away = sqlite_path(database), tmp_path / "away.db"

    def take_away(statement: str) -> None:
        if statement.startswith(last_statement) and not away.exists():
            path.rename(away)
            if what == "replaced":
                path.write_bytes(away.read_bytes())

    connection.set_trace_callback(take_away)
    assert sends_to_the_spool(store, batch_of(keys), tmp_path / "spool")
    assert away.exists()


def test_no_write_to_a_full_disk_is_let_through_because_another_has_just_looked(database: str) -> None:
    store, _ = open_sqlite(database, min_free_bytes=1 << 62)
    with closing(store):
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="MIN_FREE_BYTES"):
                block(store.write(batch_of([b"new"])))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["deleted", "replaced", "full"])
def test_no_batch_is_begun_on_a_file_that_is_not_as_it_should_be(
    database: str, tmp_path: Path, kind: str, what: str
) -> None:
    _, keys = KINDS[kind]
    store, connection = open_sqlite(database, min_free_bytes=1 << 62 if what == "full" else 0)
    path, away = sqlite_path(database), tmp_path / "away.db"
    if what != "full":
        path.rename(away)
    if what == "replaced":
        path.write_bytes(away.read_bytes())
    written: list[str] = []
    connection.set_trace_callback(lambda sql: written.append(sql) if sql.startswith("INSERT") else None)
    assert sends_to_the_spool(store, batch_of(keys), tmp_path / "spool")
    assert written == []
