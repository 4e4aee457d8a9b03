"""The recovery's thread: its pauses, its connection for the drain, and when a node is well again."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from leadcrm.configuration.config import load
from leadcrm.errors import StoreUnavailable
from leadcrm.ingest import recovery as recovery_module
from leadcrm.ingest.ingestion import REFUSAL_CACHE_S, Ingestion
from leadcrm.ingest.queue_budget import QueueBudget
from leadcrm.ingest.recovery import FIRST_PAUSE_S, IDLE_PAUSE_S, MAX_PAUSE_S, Recovery
from leadcrm.ingest.replay import Postponed
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.store.store import Store
from leadcrm.ingest.writer import Writer
from tests.support.crm import MAX_DECODED_BYTES, submission
from tests.support.receipts import submit_all
from tests.support.rows import Rows
from tests.support.stores import open_store
from tests.support.waiting import wait_until
from tests.support.writers import spool_in, until


class UnhurriedRecovery(Recovery):
    """A recovery that records its pauses instead of waiting."""

    def __init__(self, writer: Writer, connect: Callable[[], Store], on_pause: Callable[[], None]) -> None:
        super().__init__(writer, None, connect, lambda _: 0, max_decoded_bytes=MAX_DECODED_BYTES)
        self.pauses: list[float] = []
        self.on_pause = on_pause

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.on_pause()


def test_the_pauses_grow_during_an_outage_and_begin_anew_in_the_next(tmp_path: Path) -> None:
    outages = [9, 4]
    attempts_left = outages.copy()
    writer = Writer(None, lambda: None, QueueBudget(1))

    with ExitStack() as stack:

        def connect() -> Store:
            if attempts_left[0]:
                attempts_left[0] -= 1
                raise StoreUnavailable("away")
            return stack.enter_context(closing(open_store(f"sqlite:///{tmp_path / 'leads.db'}")))

        def lose_store() -> None:
            if writer.has_store:
                del attempts_left[0]
                recovery._stopping = not attempts_left
                writer._store = None

        recovery = UnhurriedRecovery(writer, connect, lose_store)
        recovery.start()
        wait_until(lambda: not attempts_left, what="both outages to end")
        recovery.stop()
    grown = [min(MAX_PAUSE_S, FIRST_PAUSE_S * 2**number) for number in range(max(outages))]
    expected = [*grown[: outages[0]], IDLE_PAUSE_S, *grown[: outages[1]], IDLE_PAUSE_S]
    for pause, longest in zip(recovery.pauses, expected, strict=True):
        assert longest / 2 <= pause <= longest


@contextmanager
def running(recovery: Recovery) -> Iterator[None]:
    """Run a recovery within a `with`."""
    recovery.start()
    try:
        yield
    finally:
        recovery.stop()


def test_a_recovery_that_was_woken_once_pauses_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(recovery_module, "MAX_PAUSE_S", 0.05)
    attempts: list[float] = []

    def connect() -> Store:
        attempts.append(time.monotonic())
        raise StoreUnavailable("away")

    recovery = Recovery(
        Writer(None, lambda: None, QueueBudget(1)), None, connect, lambda _: 0, max_decoded_bytes=MAX_DECODED_BYTES
    )
    with running(recovery):
        wait_until(lambda: attempts, what="the first attempt")
        recovery.wake()
        woken_at = len(attempts)
        wait_until(lambda: len(attempts) > woken_at + 5, what="more attempts")
    # The one that was woken may follow at once, and one may have been under way.
    later = attempts[woken_at + 1 :]
    assert min(after - before for before, after in pairwise(later)) >= 0.02


def test_old_events_are_deleted_in_turns_between_which_the_spool_is_drained(
    database: str, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_module, "PRUNE_TURN_S", 0.05)
    turns: list[int] = []

    def prune_without_end(is_stopping: Callable[[], bool]) -> int:
        with closing(spool_in(tmp_path / "spool")) as spool:
            spool.write([submission(b'{"phone":"%d"}' % len(turns))])
        turns.append(1)
        wait_until(is_stopping, timeout_s=60)
        return 1000

    recovery = Recovery(
        Writer(None, lambda: None, QueueBudget(1)),
        spool_in(tmp_path / "spool"),
        lambda: open_store(database),
        lambda _: 0,
        max_decoded_bytes=MAX_DECODED_BYTES,
        prune_feed=prune_without_end,
    )
    with running(recovery):
        wait_until(lambda: len(turns) > 1 and rows.leads())


def test_postponed_rows_that_could_not_be_read_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "IDLE_PAUSE_S", 0.05)
    results: list[Postponed | StoreUnavailable] = [StoreUnavailable("no answer"), Postponed(1, False, 0.0)]

    def replay_postponed() -> Postponed:
        result = results.pop(0)
        if isinstance(result, StoreUnavailable):
            raise result
        return result

    with closing(open_store(f"sqlite:///{tmp_path / 'leads.db'}")) as store:
        recovery = Recovery(
            Writer(None, lambda: None, QueueBudget(1)),
            None,
            lambda: store,
            lambda _: 0,
            max_decoded_bytes=MAX_DECODED_BYTES,
            replay_postponed=replay_postponed,
        )
        with running(recovery):
            wait_until(lambda: not results, what="another try")


def test_a_drain_whose_connection_breaks_takes_another_and_leaves_none_behind(
    database: str, rows: Rows, tmp_path: Path
) -> None:
    open_store(database).close()
    waiting = [submission(b'{"phone":"%d"}' % number) for number in range(5)]
    with closing(spool_in(tmp_path / "spool")) as spool:
        spool.write(waiting)
    stores: list[Store] = []
    open_stores: list[Store] = []

    def connect() -> Store:
        store = open_store(database)
        stores.append(store)
        open_stores.append(store)
        close = store.close

        def close_and_tell() -> None:
            close()
            if store in open_stores:
                open_stores.remove(store)

        store.close = close_and_tell  # type: ignore[method-assign]
        if len(stores) == 2:
            close()
        return store

    writer = Writer(None, lambda: None, QueueBudget(1))
    recovery = Recovery(
        writer,
        Spool(tmp_path / "spool", max_bytes=1 << 30, min_free_bytes=0),
        connect,
        lambda _: 0,
        max_decoded_bytes=MAX_DECODED_BYTES,
    )
    with running(recovery):
        wait_until(lambda: len(rows.leads()) == len(waiting), what="the spool to drain")
        wait_until(lambda: open_stores == stores[:1], what="the drain's connection to be closed")
    assert len(stores) == 3
    stores[0].close()


def test_a_node_that_refused_a_lead_is_well_again_after_a_while(tmp_path: Path) -> None:
    """Out of rotation it gets no lead that could show that it is well."""
    config = load({}, {"DATA_DIR": str(tmp_path), "PATH": os.defpath}, tmp_path)
    ingestion = Ingestion(config, may_migrate=False)
    assert ingestion.verdict().keeps_leads
    ingestion.writer.refused_at = time.monotonic()
    assert not ingestion.verdict().keeps_leads
    ingestion.writer.refused_at -= REFUSAL_CACHE_S
    assert ingestion.verdict().keeps_leads
    ingestion.end_verdicts()


def test_damage_found_beside_batches_that_still_commit_sends_the_next_leads_to_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_module, "INSPECTION_PAUSE_S", 0.0)
    monkeypatch.setattr(recovery_module, "IDLE_PAUSE_S", 0.05)
    ingestion = Ingestion(load({}, {"DATA_DIR": str(tmp_path), "PATH": os.defpath}, tmp_path), may_migrate=True)
    path = tmp_path / "leadcrm.db"

    async def main() -> None:
        ingestion.start(asyncio.get_running_loop())
        await until(lambda: ingestion.writer.has_store, "the database to take leads")
        receipts = await submit_all(ingestion.writer, *(submission(b"{}") for _ in range(300)))
        assert {receipt.stored for receipt in receipts} == {"database"}
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(-4096, os.SEEK_END)
            file.write(b"\xff" * 4096)
        await until(lambda: not ingestion.writer.has_store, "the damage to be found")
        (receipt,) = await submit_all(ingestion.writer, submission(b"{}"))
        assert receipt.stored == "spool"
        verdict = await asyncio.to_thread(ingestion.verdict)
        assert (verdict.keeps_leads, ingestion.database_now().fault) == (
            True,
            "the database is damaged: `leadcrm check`",
        )
        await asyncio.to_thread(ingestion.stop)

    asyncio.run(main())
    ingestion.end_verdicts()
