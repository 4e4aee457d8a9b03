"""The recovery's thread: its pauses, its connection for the drain, and when a node is well again."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from leadcrm.configuration.config import load
from leadcrm.errors import LeadcrmError, SpoolUnavailable, StoreUnavailable
from leadcrm.ingest import recovery as recovery_module
from leadcrm.ingest.driving import Operation
from leadcrm.ingest.ingestion import REFUSAL_CACHE_S, Ingestion
from leadcrm.ingest.queue_budget import QueueBudget
from leadcrm.ingest.recovery import FIRST_PAUSE_S, IDLE_PAUSE_S, MAX_PAUSE_S, Recovery
from leadcrm.ingest.replay import Postponed
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.store.store import Store, WriteResult
from leadcrm.ingest.submission import Submission
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


def test_old_events_are_deleted_once_sinks_can_have_been_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_module, "IDLE_PAUSE_S", 0.05)
    began_at = time.monotonic()
    turns: list[float] = []

    def prune(_is_stopping: Callable[[], bool]) -> int:
        turns.append(time.monotonic())
        return 0

    with running(recovery_of(tmp_path, prune_feed=prune, first_prune_s=1.0)):
        wait_until(lambda: turns, what="the first turn")
    assert turns[0] - began_at >= 1.0


def recovery_of(tmp_path: Path, **given: Any) -> Recovery:
    """Return a recovery with a writer and a spool of its own."""
    (tmp_path / "spool").mkdir(exist_ok=True)
    parts: dict[str, Any] = {
        "writer": Writer(None, lambda: None, QueueBudget(1)),
        "spool": Spool(tmp_path / "spool", max_bytes=1 << 30, min_free_bytes=0),
        "connect": lambda: open_store(f"sqlite:///{tmp_path / 'leads.db'}"),
        "replay_failed": lambda _: 0,
        "max_decoded_bytes": MAX_DECODED_BYTES,
    }
    return Recovery(**{**parts, **given})


def test_postponed_rows_that_could_not_be_read_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "IDLE_PAUSE_S", 0.05)
    results: list[Postponed | StoreUnavailable] = [StoreUnavailable("no answer"), Postponed(1, False, 0.0)]

    def replay_postponed() -> Postponed:
        result = results.pop(0)
        if isinstance(result, StoreUnavailable):
            raise result
        return result

    with running(recovery_of(tmp_path, replay_postponed=replay_postponed)):
        wait_until(lambda: not results, what="another try")


def test_postponed_rows_that_nobody_tells_of_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "IDLE_PAUSE_S", 0.05)
    monkeypatch.setattr(recovery_module, "POSTPONED_LOOK_S", 0.1)
    looks: list[int] = []

    def replay_postponed() -> Postponed:
        looks.append(1)
        return Postponed(0, False, 0.0)

    with running(recovery_of(tmp_path, replay_postponed=replay_postponed)):
        wait_until(lambda: len(looks) > 2, what="more looks")


def test_failed_rows_are_replayed_although_another_process_drained_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_module, "IDLE_PAUSE_S", 0.05)
    replays: list[int] = []
    rounds: list[int] = []

    def replay_failed(_: Callable[[], bool]) -> int:
        replays.append(1)
        return 0

    def prune(_: Callable[[], bool]) -> int:
        rounds.append(1)
        return 0

    with closing(spool_in(tmp_path / "spool")) as other:
        with other.drain_lock() as is_locked:
            assert is_locked
            recovery = recovery_of(tmp_path, replay_failed=replay_failed, prune_feed=prune)
            recovery.start()
            wait_until(lambda: rounds, what="a round while another process drains")
            assert not replays
        try:
            wait_until(lambda: replays, what="the replay")
        finally:
            recovery.stop()


def test_a_drain_ends_once_the_writer_waits_for_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = f"sqlite:///{tmp_path / 'leads.db'}"
    open_store(database).close()
    writer = Writer(None, lambda: None, QueueBudget(1))
    recovery = recovery_of(tmp_path, writer=writer)
    losses: list[Store | None] = []
    drain = recovery_module.drain_batch
    with closing(spool_in(tmp_path / "spool")) as sender:
        sender.write([submission(b'{"phone":"%d"}' % number) for number in range(500)])

        def drain_and_lose(*arguments: Any, **named: Any) -> int:
            count = drain(*arguments, **named)
            if not losses:
                losses.append(writer._store)
                writer._store = None
            if not writer.has_store:
                # As the writer does with the leads that arrive meanwhile.
                sender.write([submission(b"{}")])
            return count

        monkeypatch.setattr(recovery_module, "drain_batch", drain_and_lose)
        with running(recovery):
            wait_until(lambda: losses, what="the loss")
            wait_until(lambda: writer.has_store, timeout_s=10, what="another store")
    assert losses[0] is not None
    losses[0].close()


def test_a_long_replay_ends_once_the_writer_waits_for_another_store(tmp_path: Path) -> None:
    writer = Writer(None, lambda: None, QueueBudget(1))
    begun = threading.Event()

    def replay_without_end(is_stopping: Callable[[], bool]) -> int:
        begun.set()
        wait_until(is_stopping, timeout_s=60)
        return 0

    with running(recovery_of(tmp_path, writer=writer, replay_failed=replay_without_end)):
        assert begun.wait(10)
        lost, writer._store = writer._store, None
        wait_until(lambda: writer.has_store, timeout_s=10, what="another store")
        assert lost is not None
        lost.close()


@pytest.mark.parametrize("fault", [SpoolUnavailable("its disk is full"), StoreUnavailable("no", sqlstate="42P01")])
def test_what_cannot_be_drained_keeps_nothing_else_waiting(tmp_path: Path, fault: LeadcrmError) -> None:
    done: set[str] = set()

    def step(name: str, result: Any) -> Callable[..., Any]:
        def do(*_: object) -> Any:
            done.add(name)
            return result

        return do

    spool = spool_in(tmp_path / "spool")

    def fail() -> bool:
        raise fault

    spool.is_drained = spool.is_empty = fail  # type: ignore[method-assign]
    recovery = recovery_of(
        tmp_path,
        spool=spool,
        replay_failed=step("failed", 0),
        replay_postponed=step("postponed", Postponed(0, False, 0.0)),
        prune_feed=step("prune", 0),
    )
    with running(recovery):
        wait_until(lambda: done == {"failed", "postponed", "prune"}, what="all steps")
        wait_until(lambda: recovery.is_stuck, what="people to be told")


def test_a_replay_in_another_process_is_waited_for_with_pauses(tmp_path: Path) -> None:
    calls: list[int] = []
    rounds: list[int] = []

    def replay_postponed() -> Postponed:
        calls.append(1)
        return Postponed(1, True, 0.01)

    recovery = recovery_of(tmp_path, replay_postponed=replay_postponed)
    pause = recovery._pause

    def count_and_pause(seconds: float) -> None:
        rounds.append(1)
        pause(seconds)

    recovery._pause = count_and_pause  # type: ignore[method-assign]
    with closing(spool_in(tmp_path / "spool")) as other, running(recovery):
        wait_until(lambda: len(calls) > 2, what="a quiet node, on which it rests no moment")
        with ExitStack() as stack:
            wait_until(lambda: stack.enter_context(other.drain_lock()), what="the lock")
            before = len(rounds)
            time.sleep(1)
            assert len(rounds) - before < 20


def test_a_process_that_holds_the_spool_and_moves_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_module, "IDLE_PAUSE_S", 0.05)
    monkeypatch.setattr(recovery_module, "KEPT_OUT_S", 0.3)
    recovery = recovery_of(tmp_path)
    with closing(spool_in(tmp_path / "spool")) as other:
        other.write([submission(b"{}")])
        with other.drain_lock(), running(recovery):
            wait_until(lambda: recovery.is_stuck, what="people to be told")


def test_a_store_that_cannot_be_closed_ends_no_recovery(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'leads.db'}"
    closes: list[int] = []

    def connect() -> Store:
        store = open_store(database)
        close = store.close

        def close_and_fail() -> None:
            close()
            closes.append(1)
            raise OSError(5, "Input/output error")

        store.close = close_and_fail  # type: ignore[method-assign]
        return store

    with closing(spool_in(tmp_path / "spool")) as sender:
        sender.write([submission(b"{}")])
        with running(recovery_of(tmp_path, connect=connect)):
            wait_until(lambda: closes, what="the end of the drain")
            sender.write([submission(b"{}")])
            wait_until(sender.is_empty, what="another drain")


def test_a_row_that_fails_alone_lets_those_behind_it_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "MAX_PAUSE_S", 0.05)
    database = f"sqlite:///{tmp_path / 'leads.db'}"
    waiting = [submission(b'{"phone":"%d"}' % number) for number in range(20)]
    poison = waiting[3]

    def connect() -> Store:
        store = open_store(database)
        write = store.write

        def write_others(batch: Sequence[Submission]) -> Operation[list[WriteResult]]:
            if any(row.id == poison.id for row in batch):
                raise StoreUnavailable("undefined_table (SQLSTATE 42P01)", sqlstate="42P01")
            return (yield from write(batch))

        store.write = write_others  # type: ignore[method-assign]
        return store

    with closing(spool_in(tmp_path / "spool")) as spool:
        spool.write(waiting)
        with running(recovery_of(tmp_path, connect=connect)):
            wait_until(lambda: spool.status().depth == 1, timeout_s=30, what="the others to pass")
        status = spool.status()
        assert (status.refused, [row.id for row in spool.oldest(5, 1 << 20)]) == (1, [])
    assert len(Rows(database).leads()) == len(waiting) - 1


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
