"""A SQLite file that takes no leads: every kind of batch notices, before it is written and after its commit."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.database.connections import open_connection
from leadcrm.database.migrations import REWRITE_SQL, migrate
from leadcrm.database.overwritten import overwritten_files
from leadcrm.database.sqlite import log_of
from leadcrm.errors import StoreUnavailable
from leadcrm.ingest.driving import block
from leadcrm.ingest.spool.salvage import salvage_all
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


def take(path: Path, away: Path, what: str) -> None:
    """Delete the file, or put one of the same content but a page in its place or into it."""
    if what == "overwritten":
        away.write_bytes(path.read_bytes())
    else:
        path.rename(away)
    if what != "deleted":
        path.write_bytes(away.read_bytes() + b"\0" * 4096)


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
@pytest.mark.parametrize("what", ["deleted", "replaced", "overwritten"])
def test_a_batch_that_is_committed_into_a_file_that_is_not_there_any_more_goes_to_the_spool(
    database: str, tmp_path: Path, kind: str, what: str
) -> None:
    last_statement, keys = KINDS[kind]
    store, connection = open_sqlite(database)
    path, away = sqlite_path(database), tmp_path / "away.db"

    def take_away(statement: str) -> None:
        if statement.startswith(last_statement) and not away.exists():
            take(path, away, what)

    block(store.write(batch_of([b"earlier"])))
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
@pytest.mark.parametrize("what", ["deleted", "replaced", "overwritten", "full"])
def test_no_batch_is_begun_on_a_file_that_is_not_as_it_should_be(
    database: str, tmp_path: Path, kind: str, what: str
) -> None:
    _, keys = KINDS[kind]
    store, connection = open_sqlite(database, min_free_bytes=1 << 62 if what == "full" else 0)
    path, away = sqlite_path(database), tmp_path / "away.db"
    if what != "full":
        take(path, away, what)
    written: list[str] = []
    connection.set_trace_callback(lambda sql: written.append(sql) if sql.startswith("INSERT") else None)
    assert sends_to_the_spool(store, batch_of(keys), tmp_path / "spool")
    assert written == []


def restore_into(path: Path, backup: Path) -> None:
    """Do what `.restore` of SQLite's shell does: a commit whose content is another file's."""
    with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(path, timeout=5)) as target:
        source.backup(target)


@pytest.mark.parametrize("kind", [*KINDS, "none"])
def test_no_batch_is_begun_on_a_database_that_lacks_what_it_had_committed(
    database: str, tmp_path: Path, kind: str
) -> None:
    keys = KINDS[kind][1] if kind in KINDS else []
    path, backup = sqlite_path(database), tmp_path / "backup.db"
    store, connection = open_sqlite(database)
    block(store.write(batch_of([b"earlier"])))
    restore_into(backup, path)
    # Others' commits and checkpoints lose nothing, nor does the restore of what is there.
    keep(database, batch_of([b"others"]))
    block(store.write(batch_of([b"later"])))
    same = tmp_path / "same.db"
    restore_into(same, path)
    restore_into(path, same)
    block(store.write([]))
    restore_into(path, backup)
    written: list[str] = []
    connection.set_trace_callback(lambda sql: written.append(sql) if sql.startswith("INSERT") else None)
    with closing(store), pytest.raises(StoreUnavailable, match="lacks a row that was committed"):
        block(store.write(batch_of(keys)))
    assert written == []


def test_a_batch_that_is_committed_right_after_a_restore_goes_to_the_spool(database: str, tmp_path: Path) -> None:
    path, backup = sqlite_path(database), tmp_path / "backup.db"
    restore_into(backup, path)
    store, connection = open_sqlite(database)
    block(store.write(batch_of([b"earlier"])))
    restored: list[str] = []

    def restore(statement: str) -> None:
        if statement.startswith("INSERT") and not restored:
            restored.append(statement)
            restore_into(path, backup)

    connection.set_trace_callback(restore)
    assert sends_to_the_spool(store, batch_of([b"new"]), tmp_path / "spool")
    assert restored


def overwrite_head(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(24)
        file.write(b"\xff" * 4)


@pytest.mark.parametrize("overwrite", [overwrite_head, lambda path: path.write_bytes(b"")], ids=["same size", "empty"])
def test_a_file_that_anything_but_a_checkpoint_changes_was_overwritten(
    database: str, overwrite: Callable[[Path], None]
) -> None:
    store, connection = open_sqlite(database)
    path = sqlite_path(database)
    with closing(store):
        for number in range(3):
            block(store.write(batch_of([f"{number}".encode()])))
            os.utime(path)
            block(store.write([]))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            block(store.write([]))
        overwrite(path)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"leads\.db was overwritten"):
                block(store.write([]))


@pytest.mark.parametrize("after", ["the checkpoint", "the log was begun anew"])
def test_a_file_that_is_overwritten_after_the_checkpoint_of_another_worker_is_noticed(
    database: str, after: str
) -> None:
    """Between two looks of a store another one has moved the log's pages, and may have begun the log anew."""
    (store, _), (_, other) = open_sqlite(database), open_sqlite(database)
    path = sqlite_path(database)
    with closing(store):
        for number in range(300):
            block(store.write(batch_of([f"{number}".encode()])))
        backup = path.read_bytes()
        block(store.write(batch_of([b"new"])))
        other.execute("PRAGMA wal_checkpoint")
        block(store.write([]))
        block(store.write(batch_of([b"newer"])))
        other.execute("PRAGMA wal_checkpoint")
        path.write_bytes(backup)
        if after != "the checkpoint":
            other.execute(REWRITE_SQL.format(schema=""))
        with pytest.raises(StoreUnavailable, match=r"leads\.db was overwritten"):
            block(store.write([]))
    other.close()


def test_checkpoints_of_other_workers_and_programs_overwrite_nothing(database: str) -> None:
    """Two stores that write in turn, and a program that uses the file as it likes."""
    stores = [open_sqlite(database)[0] for _ in range(2)]
    path = sqlite_path(database)
    with closing(sqlite3.connect(path, isolation_level=None)) as program:
        for number in range(40):
            for worker, store in enumerate(stores):
                block(store.write(batch_of([f"{number} {worker} {row}".encode() for row in range(20)])))
            program.execute("UPDATE leads SET status = 'called'")
            if number % 4 == 0:
                program.execute(f"PRAGMA wal_checkpoint({('PASSIVE', 'FULL', 'RESTART', 'TRUNCATE')[number // 4 % 4]})")
            if number == 20:
                program.execute("VACUUM")
            stores[number % 2].files.checkpoint()
    for store in stores:
        block(store.prove())
        store.close()
    assert len(Rows(database).raw()) == 1 + 40 * 2 * 20
    assert overwritten_files(path) == []


def test_a_checkpoint_that_a_reader_holds_up_overwrites_nothing(database: str) -> None:
    """It leaves out the pages that were changed once more after what the reader sees."""
    store, connection = open_sqlite(database)
    path = sqlite_path(database)
    block(store.write(batch_of([b"before"])))
    with closing(store), closing(sqlite3.connect(path, isolation_level=None)) as reader:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        block(store.write(batch_of([b"seen"])))
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM leads_raw").fetchone()
        block(store.write(batch_of([b"not seen"])))
        store.files.checkpoint()
        assert store.files.fault() is None
        reader.execute("COMMIT")
        store.files.checkpoint()
        block(store.prove())
    assert overwritten_files(path) == []


def test_a_log_that_grows_is_moved_into_the_file(database: str) -> None:
    store, _ = open_sqlite(database)
    log = Path(log_of(sqlite_path(database)))
    with closing(store):
        block(store.prove())
        for number in range(50):
            block(store.write([submission(b"x" * 500_000, key=f"{number}")]))
        assert log.stat().st_size < 5000 * 4096


def test_rows_that_only_an_overwritten_file_held_are_kept_from_memory(database: str, tmp_path: Path) -> None:
    """The log is empty after a checkpoint that truncates it, and the rows are in the connection's memory alone."""
    store, connection = open_sqlite(database)
    path = sqlite_path(database)
    backup = path.read_bytes()
    batch = [submission(b"{}"), submission(b"x" * 100_000), submission(b"{}")]
    block(store.write(batch))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    block(store.write([]))
    path.write_bytes(backup)
    with pytest.raises(StoreUnavailable, match="was overwritten"):
        block(store.write([]))
    store.close()
    spool = spool_in(tmp_path / "spool")
    with closing(spool):
        salvage_all(spool, path)
    spooled = {row["id"]: row["body"] for row in Rows(f"sqlite:///{tmp_path / 'spool' / 'spool.db'}").raw()}
    assert {row.id: row.body for row in batch}.items() <= spooled.items()


def test_of_several_connections_one_keeps_what_an_overwritten_file_had(database: str) -> None:
    stores = [open_sqlite(database)[0] for _ in range(3)]
    path = sqlite_path(database)
    block(stores[0].write(batch_of([b"new"])))
    path.write_bytes(path.read_bytes() + b"\0" * 4096)
    for store in stores:
        with pytest.raises(StoreUnavailable, match="was overwritten"):
            block(store.write([]))
        store.close()
    assert len(overwritten_files(path)) == 1
    # It is whole with its log all the same, which alone has the row.
    assert "new" in {row["idempotency_key"] for row in Rows(database).raw()}
