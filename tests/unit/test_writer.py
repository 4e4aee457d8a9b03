"""The writer on SQLite: how batches gather, receipts after the commit, and the spool after a failure."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from leadcrm.database.connections import open_connection
from leadcrm.database.migrations import migrate
from leadcrm.database.states import Outcome
from leadcrm.errors import LeadcrmError, SpoolUnavailable, StoreUnavailable
from leadcrm.ingest import writer as writer_module
from leadcrm.ingest.driving import InThread, Operation
from leadcrm.ingest.queue_budget import QueueBudget
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.store.sqlite import SqliteStore, Statement
from leadcrm.ingest.store.store import WriteResult
from leadcrm.ingest.submission import Receipt, Submission
from leadcrm.ingest.writer import MAX_BATCH_BYTES, MAX_BATCH_ROWS, Writer
from tests.support.crm import submission, url_of
from tests.support.receipts import submit_all
from tests.support.rows import Rows
from tests.support.writers import until

MEBIBYTE = 1024 * 1024


class WatchedStore(SqliteStore):
    """A store that records its batches, and that waits and fails on demand."""

    def __init__(self, url: str, *, timeout_s: float = 5) -> None:
        path = url_of(url).path
        assert path is not None
        connection = open_connection(url_of(url), timeout_s=timeout_s)
        assert isinstance(connection, sqlite3.Connection)
        super().__init__(connection, path, min_free_bytes=0)
        self.batches: list[int] = []
        self.held_bytes: list[int] = []
        self.may_close = threading.Event()
        self.may_close.set()
        self.may_write = threading.Event()
        self.may_write.set()
        self.has_begun = threading.Event()
        self.failure: Exception | None = None

    def write(self, batch: Sequence[Submission]) -> Operation[list[WriteResult]]:
        self.has_begun.set()
        yield InThread(partial(self.may_write.wait, 20))
        self.batches.append(len(batch))
        self.held_bytes.append(sum(row.held_bytes for row in batch))
        if self.failure:
            raise self.failure
        return (yield from super().write(batch))

    def close(self) -> None:
        self.may_close.wait(20)
        super().close()


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A URL of a migrated SQLite file."""
    url = f"sqlite:///{tmp_path / 'leads.db'}"
    migrate(url_of(url))
    return url


@pytest.fixture
def store(database: str) -> WatchedStore:
    """A store on `database`."""
    return WatchedStore(database)


def spool_in(directory: Path, max_bytes: int = 1 << 30) -> Spool:
    return Spool(directory, max_bytes=max_bytes, min_free_bytes=0)


def run(writer: Writer, use: Callable[[], Awaitable[None]], store: WatchedStore | None = None) -> None:
    """Run a writer in a loop, as a worker does."""

    async def main() -> None:
        if store is not None:
            writer.hand_over(store)
        writer.start(asyncio.get_running_loop())
        try:
            await use()
        finally:
            if store is not None:
                store.may_write.set()
            await asyncio.get_running_loop().run_in_executor(None, writer.stop)

    asyncio.run(main())


def test_leads_that_arrive_during_a_commit_share_the_next_batch(store: WatchedStore, database: str) -> None:
    writer = Writer(None, lambda: None, QueueBudget(MEBIBYTE))

    async def use() -> None:
        store.may_write.clear()
        first = writer.submit(submission(b"{}"))
        await asyncio.to_thread(store.has_begun.wait)
        others = [writer.submit(submission(b"{}")) for _ in range(100)]
        assert not first.done()
        store.may_write.set()
        results = await asyncio.gather(first, *others)
        assert all(isinstance(result, Receipt) and result.stored == "database" for result in results)

    run(writer, use, store)
    assert store.batches == [1, 100]
    assert len(Rows(database).leads()) == 101


def test_a_batch_is_bounded_in_rows_and_bytes(store: WatchedStore) -> None:
    writer = Writer(None, lambda: None, QueueBudget(1 << 30))

    async def use() -> None:
        store.may_write.clear()
        waiting = [writer.submit(submission(b"{}"))]
        await asyncio.to_thread(store.has_begun.wait)
        waiting += [writer.submit(submission(b"{}")) for _ in range(MAX_BATCH_ROWS + 1)]
        waiting += [writer.submit(submission(b'"' + b"x" * MEBIBYTE + b'"')) for _ in range(9)]
        store.may_write.set()
        await asyncio.gather(*waiting)

    run(writer, use, store)
    assert store.batches[:2] == [1, MAX_BATCH_ROWS]
    assert len(store.batches) == 5, "the large ones do not fit into one batch"
    assert max(store.held_bytes) <= MAX_BATCH_BYTES


def test_the_writer_abandons_a_failed_store_and_spools_its_batch(store: WatchedStore, tmp_path: Path) -> None:
    losses: list[None] = []
    writer = Writer(spool_in(tmp_path), lambda: losses.append(None), QueueBudget(MEBIBYTE))
    store.failure = StoreUnavailable("away")

    async def use() -> None:
        for _ in range(2):
            result = await writer.submit(submission(b"{}"))
            assert isinstance(result, Receipt)
            assert result.stored == "spool"
        assert not writer.has_store

    run(writer, use, store)
    assert store.batches == [1], "the second lead did not wait for the database"
    assert losses == [None]


FAILURES = [StoreUnavailable("away"), RuntimeError("a fault of ours")]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_probe_that_fails_in_any_way_abandons_the_store_and_leads_are_taken(
    store: WatchedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr(writer_module, "IDLE_S", 0.0)
    losses: list[None] = []
    writer = Writer(spool_in(tmp_path), lambda: losses.append(None), QueueBudget(MEBIBYTE))
    store.failure = failure

    async def main() -> None:
        writer.hand_over(store)
        writer.start(asyncio.get_running_loop())
        await until(lambda: not writer.has_store and writer.busy_since is None, "the probe to fail")
        (receipt,) = await submit_all(writer, submission(b"{}"))
        assert receipt.stored == "spool"
        # Only now: a writer that is stuck would never stop.
        await asyncio.to_thread(writer.stop)

    asyncio.run(main())
    assert (store.batches, losses) == ([0], [None])


def test_a_lead_whose_sender_heard_503_while_its_store_was_closed_is_kept_nowhere(
    store: WatchedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "ANSWER_DEADLINE_S", 0.2)
    writer = Writer(spool_in(tmp_path), lambda: None, QueueBudget(MEBIBYTE))
    store.failure = StoreUnavailable("away")
    store.may_close.clear()

    async def use() -> None:
        try:
            assert isinstance(await writer.submit(submission(b"{}")), StoreUnavailable)
        finally:
            store.may_close.set()

    run(writer, use, store)
    with closing(spool_in(tmp_path)) as spool:
        assert spool.is_empty()


@pytest.mark.parametrize("failure", FAILURES)
def test_without_a_spool_the_sender_gets_the_error(store: WatchedStore, failure: Exception) -> None:
    writer = Writer(None, lambda: None, QueueBudget(MEBIBYTE))
    store.failure = failure

    async def use() -> None:
        assert isinstance(await writer.submit(submission(b"{}")), LeadcrmError)

    run(writer, use, store)


def test_a_full_spool_is_reported_and_the_writer_goes_on(tmp_path: Path, store: WatchedStore) -> None:
    writer = Writer(spool_in(tmp_path, max_bytes=1), lambda: None, QueueBudget(MEBIBYTE))

    async def use() -> None:
        assert isinstance(await writer.submit(submission(b"{}")), SpoolUnavailable)
        writer.hand_over(store)
        assert isinstance(await writer.submit(submission(b"{}")), Receipt)

    run(writer, use)
    store.close()


def test_a_submission_over_the_budget_is_refused(store: WatchedStore) -> None:
    writer = Writer(None, lambda: None, QueueBudget(100))

    async def use() -> None:
        store.may_write.clear()
        kept = writer.submit(submission(b'"' + b"x" * 88 + b'"'))
        assert isinstance(await writer.submit(submission(b"1" * 20)), StoreUnavailable)
        store.may_write.set()
        assert isinstance(await kept, Receipt)
        assert isinstance(await writer.submit(submission(b"1" * 20)), Receipt)

    run(writer, use, store)


def test_a_lead_whose_sender_got_503_is_not_written_but_one_whose_sender_hung_up_is(
    store: WatchedStore, database: str
) -> None:
    writer = Writer(None, lambda: None, QueueBudget(MEBIBYTE))
    refused, gone = submission(b'{"email":"refused"}'), submission(b'{"email":"gone"}')

    async def use() -> None:
        store.may_write.clear()
        first = writer.submit(submission(b"{}"))
        await asyncio.to_thread(store.has_begun.wait)
        late = writer.submit(refused)
        writer.submit(gone).cancel()
        assert isinstance(await late, StoreUnavailable), "its deadline has passed"
        assert first.done()
        store.may_write.set()

    run(writer, use, store)
    assert {lead["email"] for lead in Rows(database).leads()} == {None, "gone"}


def test_a_stop_keeps_all_waiting_leads(store: WatchedStore, database: str) -> None:
    writer = Writer(None, lambda: None, QueueBudget(MEBIBYTE))

    async def use() -> None:
        for _ in range(50):
            writer.submit(submission(b"{}"))

    run(writer, use, store)
    assert len(Rows(database).leads()) == 50


def test_a_spooled_key_is_known_when_the_database_is_back(store: WatchedStore, database: str, tmp_path: Path) -> None:
    writer = Writer(spool_in(tmp_path), lambda: None, QueueBudget(MEBIBYTE))

    async def use() -> None:
        first = await writer.submit(submission(b"{}", key="k"))
        writer.hand_over(store)
        repeat = await writer.submit(submission(b"{}", key="k"))
        other = await writer.submit(submission(b"{}", key="another"))
        assert isinstance(first, Receipt)
        assert isinstance(repeat, Receipt)
        assert isinstance(other, Receipt)
        assert (repeat.outcome, repeat.lead_id, repeat.stored) == ("duplicate", first.lead_id, "spool")
        assert other.stored == "database"

    run(writer, use)
    store.close()
    assert len(Rows(database).raw()) == 1


@pytest.mark.parametrize("has_repeat_beside_it", [False, True])
def test_an_unreadable_body_under_a_spooled_key_is_called_unreadable(
    store: WatchedStore, database: str, tmp_path: Path, has_repeat_beside_it: bool
) -> None:
    writer = Writer(spool_in(tmp_path), lambda: None, QueueBudget(MEBIBYTE))
    unreadable = submission(b"unreadable", key="k")

    async def use() -> None:
        await submit_all(writer, submission(b"{}", key="k"))
        writer.hand_over(store)
        others = [submission(b"{}", key="k")] if has_repeat_beside_it else []
        *_, receipt = await submit_all(writer, *others, unreadable)
        assert (receipt.outcome, receipt.lead_id) == (Outcome.INVALID, unreadable.id)

    run(writer, use)
    store.close()
    (row,) = Rows(database).raw()
    assert (row["id"], row["state"], row["body"]) == (unreadable.id, "invalid", unreadable.body)


class TracedStore(WatchedStore):
    """A store that records its writing statements and asserts that none runs in the event loop's thread."""

    def __init__(self, url: str, *, timeout_s: float = 1) -> None:
        super().__init__(url, timeout_s=timeout_s)
        self.statements: list[str] = []
        self.loop_thread = threading.get_ident()
        self._connection.set_trace_callback(self._note)

    def _note(self, statement: str) -> None:
        word = statement.partition(" ")[0]
        if word in ("BEGIN", "INSERT", "COMMIT"):
            assert threading.get_ident() != self.loop_thread
            # SQLite traces each step of the trigger with the text of the statement that fired it.
            if self.statements[-1:] != [statement]:
                self.statements.append(statement)

    def noted(self) -> list[str]:
        """Return the first words of the statements since the last call."""
        statements, self.statements = self.statements, []
        return [statement.partition(" ")[0] for statement in statements]


def test_new_leads_take_one_statement_which_fails_on_a_taken_key(database: str, tmp_path: Path) -> None:
    store = TracedStore(database)
    writer = Writer(spool_in(tmp_path), lambda: None, QueueBudget(MEBIBYTE))
    first, again = submission(b"{}", key="k"), submission(b"{}", key="k")

    async def use() -> None:
        writer.hand_over(store)
        await submit_all(writer, first, *(submission(b"{}", key=f"key {number}") for number in range(20)))
        assert store.noted() == ["INSERT"]
        new, repeat = await submit_all(writer, submission(b"{}", key="new"), again)
        assert (new.outcome, repeat.outcome, repeat.lead_id) == ("created", "duplicate", first.id)
        assert store.noted() == ["INSERT", "BEGIN", "INSERT", "COMMIT"]
        # After a taken key, the next batch looks up its keys before it writes. The one after that does not.
        await submit_all(writer, submission(b"{}", key="one more"))
        assert store.noted() == ["BEGIN", "INSERT", "COMMIT"]
        await submit_all(writer, submission(b"{}", key="and one"))
        assert store.noted() == ["INSERT"]

    run(writer, use)
    assert len(Rows(database).leads()) == 24
    assert len(Rows(database).raw()) == 25
    assert sum(row["received"] for row in Rows(database).select("SELECT received FROM leads_ledger")) == 25


def test_a_failed_statement_is_not_retried_and_its_store_is_abandoned(database: str, tmp_path: Path) -> None:
    store = TracedStore(database)
    losses: list[None] = []
    writer = Writer(spool_in(tmp_path), lambda: losses.append(None), QueueBudget(MEBIBYTE))
    rival = open_connection(url_of(database), timeout_s=5)
    assert isinstance(rival, sqlite3.Connection)

    async def use() -> None:
        writer.hand_over(store)
        rival.execute("BEGIN IMMEDIATE")
        started = asyncio.get_running_loop().time()
        (receipt,) = await submit_all(writer, submission(b"{}"))
        assert receipt.stored == "spool"
        assert 1 <= asyncio.get_running_loop().time() - started < 1.9, "it waited for the lock only once"
        assert not writer.has_store

    run(writer, use)
    rival.close()
    assert (store.batches, losses) == ([1], [None])


class VanishingStore(WatchedStore):
    """A store whose file is moved away right after each commit."""

    def _commit(self, statements: Sequence[Statement]) -> None:
        super()._commit(statements)
        self._path.rename(self._path.with_name("away"))


def test_a_batch_committed_into_a_file_that_was_moved_away_is_spooled(database: str, tmp_path: Path) -> None:
    store = VanishingStore(database)
    writer = Writer(spool_in(tmp_path), lambda: None, QueueBudget(MEBIBYTE))

    async def use() -> None:
        writer.hand_over(store)
        (receipt,) = await submit_all(writer, submission(b"{}"))
        assert receipt.stored == "spool"

    run(writer, use)


@pytest.mark.parametrize("finds_it", ["a batch", "a probe"])
def test_a_store_that_cannot_be_closed_costs_no_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finds_it: str
) -> None:
    if finds_it == "a probe":
        monkeypatch.setattr(writer_module, "IDLE_S", 0.1)
    url = f"sqlite:///{tmp_path / 'leads.db'}"
    migrate(url_of(url))
    store = WatchedStore(url)
    close = store.close

    def close_and_fail() -> None:
        close()
        raise OSError(5, "Input/output error")

    async def main() -> None:
        writer = Writer(Spool(tmp_path, max_bytes=1 << 30, min_free_bytes=0), lambda: None, QueueBudget(MEBIBYTE))
        writer.start(asyncio.get_running_loop())
        writer.hand_over(store)
        store.close = close_and_fail  # type: ignore[method-assign]
        store.failure = StoreUnavailable("gone")
        if finds_it == "a probe":
            await until(lambda: not writer.has_store, "the loss")
        (receipt,) = await submit_all(writer, submission(b"{}"))
        assert receipt.stored == "spool"
        await asyncio.get_running_loop().run_in_executor(None, writer.stop)

    asyncio.run(main())
