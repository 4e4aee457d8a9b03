"""The batch insert on both databases: idempotence, one holder for each key, rival writers and timeouts."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import groupby
from pathlib import Path

import pytest

from leadcrm.database.states import Outcome
from leadcrm.errors import StoreUnavailable
from leadcrm.ingest.driving import block
from leadcrm.ingest.store.store import LEDGER_BATCHES, Ledger, Store, WriteResult
from leadcrm.ingest.submission import Receipt, Submission
from tests.support.crm import submission
from tests.support.postgres import PostgresServer
from tests.support.rows import Rows, sqlite_path
from tests.support.stores import store_on


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """A store on a fresh database."""
    with store_on(database) as store:
        yield store


def receipts(results: Sequence[WriteResult]) -> list[tuple[Outcome, str]]:
    assert all(isinstance(result, Receipt) for result in results), results
    return [(result.outcome, result.lead_id) for result in results if isinstance(result, Receipt)]


def a_batch() -> list[Submission]:
    """Return rows with repeated and conflicting keys, one without a key, an unreadable one and a failed one."""
    return [
        submission(b'{"email":"a"}', key="a"),
        submission(b'{"email":"b"}'),
        submission(b'{"email":"a"}', key="a"),
        submission(b'{"email":"other"}', key="a"),
        submission(b"unreadable", key="c"),
        submission(b'{"email":"c"}', key="c"),
        submission(b'{"email":"d"}', key="d", state="failed", error="a fault"),
        submission(b'{"email":"d"}', key="d"),
    ]


def test_the_first_row_of_a_key_holds_it_and_later_rows_point_at_it(store: Store, rows: Rows) -> None:
    batch = a_batch()
    first, keyless, repeat, conflict, unreadable, corrected, failed, of_failed = (row.id for row in batch)
    assert receipts(block(store.write(batch))) == [
        (Outcome.CREATED, first),
        (Outcome.CREATED, keyless),
        (Outcome.DUPLICATE, first),
        (Outcome.CONFLICT, first),
        (Outcome.INVALID, unreadable),
        (Outcome.CREATED, corrected),
        (Outcome.CREATED, failed),
        (Outcome.DUPLICATE, failed),
    ]
    states = {row["id"]: (row["state"], row["duplicate_of"]) for row in rows.raw()}
    assert states == {
        first: ("stored", None),
        keyless: ("stored", None),
        repeat: ("repeat", first),
        conflict: ("conflict", first),
        unreadable: ("invalid", None),
        corrected: ("stored", None),
        failed: ("failed", None),
        of_failed: ("repeat", failed),
    }
    assert {row["id"] for row in rows.leads()} == {first, keyless, corrected}


@pytest.mark.parametrize("already", [8, 5, 3, 1], ids="{} of 8 exist".format)
def test_writing_a_batch_in_doubt_again_changes_nothing(store: Store, rows: Rows, already: int) -> None:
    batch = a_batch()
    before = receipts(block(store.write(batch[:already])))
    again = receipts(block(store.write(batch)))
    assert again[:already] == before
    raw, leads = rows.raw(), rows.leads()
    assert receipts(block(store.write(batch))) == again
    assert receipts(block(store.write(list(reversed(batch))))) == list(reversed(again))
    assert (rows.raw(), rows.leads()) == (raw, leads)
    assert len(raw) == 8


def test_finding_a_batch_in_doubt_commits_again(database: str, postgres: PostgresServer) -> None:
    """A row that is found may never have been synced, or have reached no standby: only a commit's wait proves it."""

    def written() -> int:
        if database.startswith("sqlite"):
            return Path(f"{sqlite_path(database)}-wal").stat().st_size
        return int(postgres.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn", url=database)[0][0])

    with store_on(database) as store:
        batch = a_batch()
        block(store.write(batch))
        before = written()
        block(store.write(batch))
        assert written() > before


def test_a_proof_on_sqlite_writes(tmp_path: Path) -> None:
    """SQLite writes nothing for an update that leaves a row as it is."""
    database = f"sqlite:///{tmp_path / 'leads.sqlite3'}"
    with store_on(database) as store, closing(sqlite3.connect(sqlite_path(database))) as reader:
        # A reader's snapshot keeps the checkpoint from emptying the log again.
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM leads").fetchall()
        block(store.prove())
        assert Path(f"{sqlite_path(database)}-wal").stat().st_size > 0


def test_a_key_of_an_earlier_batch_stays_taken(store: Store) -> None:
    first = submission(b"{}", key="k")
    block(store.write([first]))
    repeat, conflict = submission(b"{}", key="k"), submission(b"{ }", key="k")
    assert receipts(block(store.write([repeat, conflict]))) == [
        (Outcome.DUPLICATE, first.id),
        (Outcome.CONFLICT, first.id),
    ]


def test_rows_whose_key_is_taken_are_compared_with_the_stored_row(store: Store, rows: Rows) -> None:
    holder = submission(b'{"email":"held"}', key="k")
    block(store.write([holder]))
    behind = [submission(body, key="k") for body in (b'{"email":"other"}', b'{"email":"held"}', b'{"email":"other"}')]
    others = [submission(b'{"email":"of its own"}', key="own"), submission(b"{}")]
    assert receipts(block(store.write([*behind, *others]))) == [
        (Outcome.CONFLICT, holder.id),
        (Outcome.DUPLICATE, holder.id),
        (Outcome.CONFLICT, holder.id),
        *((Outcome.CREATED, other.id) for other in others),
    ]
    stored = {row["id"]: (row["state"], row["duplicate_of"]) for row in rows.raw()}
    assert [stored[row.id] for row in behind] == [
        ("conflict", holder.id), ("repeat", holder.id), ("conflict", holder.id),
    ]  # fmt: skip
    assert len(rows.leads()) == 3


def test_rows_that_each_lost_their_key_to_the_other_are_written(store: Store, rows: Rows) -> None:
    """They are salvaged so if their file was overwritten while the later one was written, which was written again."""
    first, again = (submission(b"{}", key="a") for _ in range(2))
    block(store.write([again]))
    salvaged = [again.duplicating(first.id, first.body_sha256), first]
    assert receipts(block(store.write(salvaged)))[1][0] == Outcome.DUPLICATE
    assert {row["id"]: (row["state"], row["duplicate_of"]) for row in rows.raw()} == {
        again.id: ("stored", None), first.id: ("repeat", again.id),
    }  # fmt: skip
    assert len(rows.leads()) == 1


def test_an_empty_batch_writes_nothing(store: Store, rows: Rows) -> None:
    assert block(store.write([])) == []
    block(store.prove())
    assert rows.raw() == []


def test_a_large_batch_settles_its_keys_as_a_small_one_does(store: Store, rows: Rows) -> None:
    batch = [submission(b'{"phone":"%d"}' % number, key=f"k{number % 1500}") for number in range(2000)]
    outcomes = [outcome for outcome, _ in receipts(block(store.write(batch)))]
    assert outcomes == [Outcome.CREATED] * 1500 + [Outcome.CONFLICT] * 500
    assert len(rows.leads()) == 1500


def test_two_stores_with_the_same_keys_in_opposite_orders_agree_and_do_not_deadlock(database: str, rows: Rows) -> None:
    rounds, keys = 10, 200
    slowest_s = 0.0
    pairs: list[list[tuple[Outcome, str]]] = []
    with ExitStack() as stack:
        stores = [stack.enter_context(store_on(database)) for _ in range(2)]
        for number in range(rounds):
            batches = [[submission(b"{}", key=f"{number}-{key}") for key in range(keys)] for _ in stores]
            batches[1].reverse()
            barrier = threading.Barrier(2)
            results: dict[int, tuple[float, list[tuple[Outcome, str]]]] = {}

            def write(
                which: int,
                barrier: threading.Barrier = barrier,
                batches: list[list[Submission]] = batches,
                results: dict[int, tuple[float, list[tuple[Outcome, str]]]] = results,
            ) -> None:
                barrier.wait()
                started = time.monotonic()
                written = receipts(block(stores[which].write(batches[which])))
                results[which] = (time.monotonic() - started, written)

            threads = [threading.Thread(target=write, args=(which,)) for which in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            slowest_s = max(slowest_s, *(duration for duration, _ in results.values()))
            pairs += [results[0][1], list(reversed(results[1][1]))]
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        for (outcome, lead_id), (other_outcome, other_id) in zip(one, other, strict=True):
            assert {outcome, other_outcome} == {Outcome.CREATED, Outcome.DUPLICATE}
            assert lead_id == other_id
    assert len(rows.leads()) == rounds * keys
    # PostgreSQL checks for a deadlock after a second.
    assert slowest_s < 1


def test_a_write_to_a_locked_database_times_out(database: str, rows: Rows) -> None:
    threads = threading.active_count()
    with store_on(database, timeout_s=0.4) as store:
        first = submission(b"{}", key="held up")
        with rows.writes_blocked():
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                block(store.write([first]))
            assert time.monotonic() - started < 3
    assert threading.active_count() == threads
    with store_on(database) as store:
        assert receipts(block(store.write([first]))) == [(Outcome.CREATED, first.id)]
    assert len(rows.raw()) == 1


@pytest.mark.parametrize("rows_a_statement", [2, 24, 512])
def test_a_batch_of_several_statements_is_stored_whole(
    rows_a_statement: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite before 3.32 allows 24 rows in a statement."""
    monkeypatch.setattr("leadcrm.ingest.store.sqlite.MAX_STATEMENT_ROWS", rows_a_statement)
    database = f"sqlite:///{tmp_path / 'leads.db'}"
    batch = [submission(b'{"email":"%d"}' % number, key=str(number)) for number in range(50)]
    with store_on(database) as store:
        block(store.write(batch[:30]))
        assert receipts(block(store.write(batch))) == [(Outcome.CREATED, row.id) for row in batch]
    rows = Rows(database)
    assert [lead["email"] for lead in rows.leads()] == [str(number) for number in range(50)]
    assert sum(row["received"] for row in rows.select("SELECT received FROM leads_ledger")) == 50


def test_a_row_that_cannot_be_encoded_does_not_affect_its_batch(store: Store, rows: Rows) -> None:
    first, poison, last = submission(b'{"email":"a"}'), submission(b'{"email":"x"}'), submission(b'{"email":"b"}')
    assert poison.fields is not None
    poison = poison._replace(fields=("\ud800", *poison.fields[1:]))
    block(store.prove())
    assert [outcome for outcome, _ in receipts(block(store.write([first, poison, last])))] == [Outcome.CREATED] * 3
    assert sorted(str(lead["email"]) for lead in rows.leads()) == ["a", "b"]
    assert [row["state"] for row in rows.raw()] == ["stored", "failed", "stored"]


def test_an_entry_of_the_ledger_counts_so_many_batches_and_no_other_number() -> None:
    ledger = Ledger()
    entries = [ledger.entry() for _ in range(5 * LEDGER_BATCHES)]
    assert [len([*same]) for _, same in groupby(entries)] == [LEDGER_BATCHES] * 5


def test_the_ledger_counts_every_row_once(store: Store, rows: Rows) -> None:
    batch = a_batch()
    block(store.write(batch[:3]))
    block(store.write(batch))
    block(store.write(batch))
    assert sum(row["received"] for row in rows.select("SELECT received FROM leads_ledger")) == len(batch)


def test_a_sqlite_file_that_was_moved_away_gets_no_more_rows(tmp_path_factory: pytest.TempPathFactory) -> None:
    database = f"sqlite:///{tmp_path_factory.mktemp('taken') / 'leads.db'}"
    with store_on(database) as store:
        path = sqlite_path(database)
        path.rename(path.with_suffix(".away"))
        with pytest.raises(StoreUnavailable):
            block(store.write([submission(b"{}")]))
        path.write_bytes(b"")
        with pytest.raises(StoreUnavailable, match="replaced"):
            block(store.write([submission(b"{}")]))


def test_the_store_of_a_replaced_sqlite_file_does_not_damage_the_new_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    database, other = (f"sqlite:///{tmp_path_factory.mktemp(name) / 'leads.db'}" for name in ("old", "new"))
    with store_on(other) as store:
        block(store.write([submission(b'{"email":"%d"}' % number, key=f"other {number}") for number in range(300)]))
    with store_on(database) as store:
        block(store.write([submission(b"{}", key="old")]))
        # The log is empty, as after every start.
        block(store.prove())
        sqlite_path(other).replace(sqlite_path(database))
        with pytest.raises(StoreUnavailable, match="replaced"):
            block(store.write([submission(b"{}", key="too late")]))
    with closing(sqlite3.connect(sqlite_path(database))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM leads").fetchone() == (300,)
