"""The writer on PostgreSQL: the loop's statements and waits, and the spool after a timeout."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from leadcrm.database.connections import open_connection
from leadcrm.database.migrations import migrate
from leadcrm.database.states import Outcome
from leadcrm.ingest.driving import Operation, Readable, Writable, block
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.store.postgres import MAX_LOOP_BYTES, PostgresStore
from leadcrm.ingest.store.store import Known
from leadcrm.ingest.submission import Receipt, Submission
from leadcrm.ingest.writer import Writer
from tests.support.crm import submission, url_of
from tests.support.postgres import PostgresCluster, PostgresServer
from tests.support.receipts import submit_all
from tests.support.rows import Rows
from tests.support.waiting import wait_until
from tests.support.writers import run_writer

MAX_HELD_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 1.0


class WatchedStore(PostgresStore):
    """A store that records the rows of each insert and look-up, its kinds of waits, and the encoding threads."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        connection = open_connection(url_of(url), timeout_s=timeout_s)
        super().__init__(connection, schema=url_of(url).schema, timeout_s=timeout_s)  # type: ignore[arg-type]
        self.inserted: list[int] = []
        self.looked_up: list[int] = []
        self.waited_for: set[type] = set()
        self.loop_thread = threading.get_ident()
        self.was_encoded_by_the_loop: list[bool] = []
        block(self.prove())
        self.was_encoded_by_the_loop.clear()

    def _insert(self, until: float, rows: Sequence[Submission]) -> Operation[int]:
        if rows:
            self.inserted.append(len(rows))
        return (yield from super()._insert(until, rows))

    def _find(self, until: float, rows: Sequence[Submission]) -> Operation[tuple[dict[str, Submission], Known]]:
        self.looked_up.append(len(rows))
        return (yield from super()._find(until, rows))

    def _encode(self, rows: Iterable[Submission]) -> bytes:
        self.was_encoded_by_the_loop.append(threading.get_ident() == self.loop_thread)
        return super()._encode(rows)

    def _execute(self, until: float, sql: str | bytes, values: Any = None) -> Operation[list[tuple[Any, ...]]]:
        assert threading.get_ident() == self.loop_thread
        inner = super()._execute(until, sql, values)
        try:
            step = next(inner)
            while True:
                self.waited_for.add(type(step))
                try:
                    yield step
                except Exception as error:
                    step = inner.throw(error)
                else:
                    step = next(inner)
        except StopIteration as end:
            return list(end.value)


@pytest.fixture
def url(whole_database: str) -> str:
    """A migrated database on PostgreSQL."""
    migrate(url_of(whole_database))
    return whole_database


@pytest.fixture
def store(url: str) -> WatchedStore:
    """A store on that database, which the writer closes."""
    return WatchedStore(url)


def run(store: WatchedStore, use: Callable[[Writer], Awaitable[None]], spool: Spool | None = None) -> Writer:
    """Run a writer on a loop in this thread, as a worker does, and return it after it has stopped."""
    return run_writer(use, store=store, spool=spool, max_held_bytes=MAX_HELD_BYTES)


def spool_in(directory: Path) -> Spool:
    spool = Spool(directory, max_bytes=1 << 30, min_free_bytes=0)
    assert spool.is_empty(), "it is open now, like a writer's spool after its first batch"
    return spool


def test_the_loop_sends_new_leads_and_the_next_batch_gathers_during_a_commit(store: WatchedStore, url: str) -> None:
    async def use(writer: Writer) -> None:
        first = writer.submit(submission(b'{"email":"first"}', key="first"))
        await asyncio.sleep(0)  # the batch of `first` begins
        others = await submit_all(writer, *(submission(b"{}", key=f"key {number}") for number in range(100)))
        assert first.done()
        assert {receipt.outcome for receipt in others} == {Outcome.CREATED}
        assert {receipt.stored for receipt in others} == {"database"}

    writer = run(store, use)
    assert (store.inserted, store.looked_up) == ([1, 100], [])
    assert all(store.was_encoded_by_the_loop)
    assert store.waited_for == {Readable}
    assert (writer.batches, writer.rows) == (2, 101)
    assert len(Rows(url).leads()) == 101


def test_taken_keys_are_looked_up_in_a_second_statement(store: WatchedStore, url: str) -> None:
    first, again, other = submission(b"{}", key="k"), submission(b"{}", key="k"), submission(b'{"email":"x"}', key="k")
    twins = [submission(b"{}", key="twin") for _ in range(2)]

    async def use(writer: Writer) -> None:
        await submit_all(writer, first)
        new, repeat, conflict = await submit_all(writer, submission(b"{}", key="new"), again, other)
        assert new.outcome is Outcome.CREATED
        assert (repeat.outcome, repeat.lead_id) == (Outcome.DUPLICATE, first.id)
        assert (conflict.outcome, conflict.lead_id) == (Outcome.CONFLICT, first.id)
        assert [receipt.lead_id for receipt in await submit_all(writer, *twins)] == [twins[0].id] * 2
        await submit_all(writer, submission(b"{}"))

    run(store, use)
    assert (store.inserted, store.looked_up) == ([1, 2, 2, 1, 1, 1], [3])
    assert len(Rows(url).leads()) == 4
    assert len(Rows(url).raw()) == 7


def test_a_batch_larger_than_the_sockets_buffer_arrives_whole(own_postgres: PostgresCluster) -> None:
    url = own_postgres.create_database()
    migrate(url_of(url))
    store = WatchedStore(url, timeout_s=30)
    bodies = [b'{"description":"%s"}' % (bytes([97 + number]) * 1_000_000) for number in range(4)]
    backend = store._connection.get_backend_pid()

    def go_on_once_the_buffer_is_full() -> None:
        wait_until(lambda: Writable in store.waited_for, what="the store to wait for room")
        os.kill(backend, signal.SIGCONT)

    os.kill(backend, signal.SIGSTOP)
    waiting = threading.Thread(target=go_on_once_the_buffer_is_full)
    waiting.start()
    # Without the writer, which would answer 503 where a busy machine takes more than 2.8 s for four megabytes.
    block(store.write([submission(body) for body in bodies]))
    waiting.join()
    store.close()
    assert sorted(bytes(row["body"]) for row in Rows(url).raw()) == bodies


def test_a_row_that_the_database_refuses_does_not_affect_its_batch(
    store: WatchedStore, url: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    postgres.execute("ALTER TABLE leads ADD CONSTRAINT no_x CHECK (email <> 'x')", url=url)

    async def use(writer: Writer) -> None:
        await submit_all(
            writer, submission(b'{"email":"a"}'), submission(b'{"email":"x"}'), submission(b'{"email":"b"}')
        )
        await submit_all(writer, submission(b'{"email":"c"}'))
        assert writer.has_store, "the writer kept its connection"

    run(store, use, spool_in(tmp_path))
    assert {lead["email"] for lead in Rows(url).leads()} == {"a", "b", "c"}
    assert sorted(row["state"] for row in Rows(url).raw()) == ["failed", "stored", "stored", "stored"]


def test_a_row_whose_key_the_spool_holds_is_not_sent_to_the_database(
    store: WatchedStore, url: str, tmp_path: Path
) -> None:
    spool = spool_in(tmp_path)
    waiting = submission(b"{}", key="k")
    spool.write([waiting])

    async def use(writer: Writer) -> None:
        repeat, new = await submit_all(writer, submission(b"{}", key="k"), submission(b"{}", key="new"))
        assert (repeat.outcome, repeat.lead_id, repeat.stored) == (Outcome.DUPLICATE, waiting.id, "spool")
        assert new.stored == "database"

    run(store, use, spool)
    assert store.inserted == [1]


def test_a_terminated_session_costs_no_lead(
    store: WatchedStore, url: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()",
        url=url,
    )

    async def use(writer: Writer) -> None:
        receipts = await submit_all(writer, submission(b"{}"), submission(b"{}"))
        assert [receipt.stored for receipt in receipts] == ["spool", "spool"]
        assert not writer.has_store

    run(store, use, spool_in(tmp_path))


def test_a_batch_without_a_reply_in_time_is_spooled_and_its_store_abandoned(
    store: WatchedStore, url: str, postgres: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(postgres.connect(url)) as rival, rival.cursor() as cursor:
        # Without the server's own timeouts, so that the writer's deadline ends the wait.
        with store._connection.cursor() as own:
            own.execute("SET lock_timeout = 0; SET statement_timeout = 0")
        cursor.execute("BEGIN; LOCK TABLE leads_raw IN EXCLUSIVE MODE")

        async def use(writer: Writer) -> None:
            started = asyncio.get_running_loop().time()
            (receipt,) = await submit_all(writer, submission(b"{}"))
            assert receipt.stored == "spool"
            assert TIMEOUT_S <= asyncio.get_running_loop().time() - started < TIMEOUT_S + 0.5
            assert not writer.has_store
            (next_one,) = await submit_all(writer, submission(b"{}"))
            assert next_one.stored == "spool"

        run(store, use, spool_in(tmp_path))
    assert "did not answer within its deadline" in caplog.text


def test_a_stop_waits_for_the_batch_under_way_and_keeps_the_leads_behind_it(
    store: WatchedStore, url: str, postgres: PostgresServer
) -> None:
    with closing(postgres.connect(url)) as rival, rival.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE leads_raw IN EXCLUSIVE MODE")

        async def use(writer: Writer) -> None:
            sent = writer.submit(submission(b"{}"))
            await asyncio.sleep(0.05)
            behind = writer.submit(submission(b"{}"))
            stopped = asyncio.get_running_loop().run_in_executor(None, writer.stop)
            await asyncio.sleep(0.1)
            assert not stopped.done()
            cursor.execute("COMMIT")
            await stopped
            assert isinstance(await sent, Receipt)
            assert isinstance(await behind, Receipt)

        run(store, use)
    assert store.inserted == [1, 1]
    assert len(Rows(url).leads()) == 2


def test_a_large_batch_is_not_encoded_by_the_loop(store: WatchedStore, url: str) -> None:
    async def use(writer: Writer) -> None:
        await submit_all(writer, submission(b'"%s"' % (b"x" * MAX_LOOP_BYTES)))

    run(store, use)
    assert store.was_encoded_by_the_loop == [False]


def test_a_session_that_lost_its_prepared_statement_gets_the_insert_as_text(
    store: WatchedStore, url: str, postgres: PostgresServer
) -> None:
    with store._connection.cursor() as own:
        own.execute("DEALLOCATE ALL")

    async def use(writer: Writer) -> None:
        await submit_all(writer, submission(b'{"email":"a"}'))
        await submit_all(writer, submission(b'{"email":"b"}'))

    run(store, use)
    assert store.inserted == [1, 1, 1]
    assert {lead["email"] for lead in Rows(url).leads()} == {"a", "b"}


def test_all_statements_of_a_batch_share_one_time_limit(
    store: WatchedStore, url: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    taken = submission(b"{}", key="k")
    with closing(postgres.connect(url)) as first, closing(postgres.connect(url)) as second:
        with store._connection.cursor() as own:
            own.execute("SET lock_timeout = 0; SET statement_timeout = 0")
        with first.cursor() as holder, second.cursor() as next_holder:

            def hold_again() -> None:
                # It queues for the lock after the writer's statement and before the writer's next one.
                next_holder.execute("BEGIN; LOCK TABLE leads_raw IN ACCESS EXCLUSIVE MODE")

            async def use(writer: Writer) -> None:
                loop = asyncio.get_running_loop()
                await submit_all(writer, taken)
                holder.execute("BEGIN; LOCK TABLE leads_raw IN ACCESS EXCLUSIVE MODE")
                started = loop.time()
                receipts = asyncio.ensure_future(
                    submit_all(writer, submission(b"{}", key="k"), submission(b"{}", key="new"))
                )
                await asyncio.sleep(0.1)
                held = loop.run_in_executor(None, hold_again)
                await asyncio.sleep(0.7 * TIMEOUT_S)
                holder.execute("COMMIT")
                assert [receipt.stored for receipt in await receipts] == ["spool", "spool"]
                assert loop.time() - started < 1.3 * TIMEOUT_S
                await held
                next_holder.execute("COMMIT")

            run(store, use, spool_in(tmp_path))
    assert store.inserted == [1, 2]
