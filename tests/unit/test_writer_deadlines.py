"""Leads that the database keeps waiting: none is kept behind its sender's back, and their room is given back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from leadcrm.errors import StoreUnavailable
from leadcrm.ingest import writer as writer_module
from leadcrm.ingest.submission import Receipt
from leadcrm.ingest.writer import Writer
from tests.support.crm import submission
from tests.support.receipts import submit_all
from tests.support.rows import Rows
from tests.support.stores import open_store
from tests.support.waiting import wait_until
from tests.support.writers import run_writer, spool_in, until

TIMEOUT_S = 1.0


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Senders hear 503 long before the database is given up."""
    monkeypatch.setattr(writer_module, "ANSWER_DEADLINE_S", 0.2)


def wait_until_no_statement_waits(rows: Rows) -> None:
    """Wait until PostgreSQL has given up what its client has given up: it would still be committed else."""
    if not rows.is_sqlite:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        wait_until(lambda: not rows.select(waiting), what="PostgreSQL to give the statement up")


@pytest.mark.usefixtures("short_deadline")
def test_a_lead_whose_sender_heard_503_while_it_was_written_is_kept_nowhere(
    database: str, rows: Rows, tmp_path: Path
) -> None:
    store = open_store(database, timeout_s=TIMEOUT_S)
    lead, retry = submission(b'{"email":"impatient"}'), submission(b'{"email":"impatient"}')

    async def use(writer: Writer) -> None:
        with rows.writes_blocked():
            assert isinstance(await writer.submit(lead), StoreUnavailable)
            assert writer.busy_since is not None, "the database has not given up yet"
            await until(lambda: writer.busy_since is None, "the batch to end")
            (receipt,) = await submit_all(writer, retry)
            assert receipt.stored == "spool"
            wait_until_no_statement_waits(rows)

    run_writer(use, store=store, spool=spool_in(tmp_path / "spool"))
    spooled = Rows(f"sqlite:///{tmp_path / 'spool' / 'spool.db'}")
    assert [row["id"] for row in [*rows.raw(), *spooled.raw()]] == [retry.id]


@pytest.mark.usefixtures("short_deadline")
def test_leads_that_are_given_up_give_their_room_back(database: str, rows: Rows) -> None:
    hung_up = submission(b'"%s"' % (b"h" * 18))

    async def use(writer: Writer) -> None:
        with rows.writes_blocked():
            under_way = writer.submit(submission(b'"%s"' % (b"x" * 38)))
            await asyncio.sleep(0)  # its batch is begun
            ahead = writer.submit(submission(b'"%s"' % (b"x" * 18)))
            writer.submit(hung_up).cancel()
            behind = writer.submit(submission(b'"%s"' % (b"x" * 18)))
            assert isinstance(await writer.submit(submission(b"1")), StoreUnavailable), "there is no room"
            results = await asyncio.gather(under_way, ahead, behind)
            assert all(isinstance(result, StoreUnavailable) for result in results)
        await until(lambda: writer.busy_since is None, "the batches to end")
        assert isinstance(await writer.submit(submission(b'"%s"' % (b"x" * 98))), Receipt)

    run_writer(use, store=open_store(database), max_held_bytes=100)
    assert hung_up.id in {row["id"] for row in rows.raw()}


@pytest.mark.usefixtures("short_deadline")
def test_a_process_that_is_late_at_each_tick_still_answers(
    database: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "PAUSE_S", -1.0)

    async def use(writer: Writer) -> None:
        with rows.writes_blocked():
            answer = asyncio.shield(writer.submit(submission(b"{}")))
            assert isinstance(await asyncio.wait_for(answer, 5), StoreUnavailable)

    run_writer(use, store=open_store(database, timeout_s=20))


def test_a_batch_has_all_of_its_time_however_long_ago_the_one_before_it_was(database: str, tmp_path: Path) -> None:
    async def use(writer: Writer) -> None:
        await submit_all(writer, submission(b"{}"))
        await asyncio.sleep(1.1 * TIMEOUT_S)
        # Two of one key: more than the loop sends by itself.
        answers = await submit_all(writer, submission(b"{}", key="k"), submission(b"{}", key="k"))
        assert [answer.stored for answer in answers] == ["database", "database"]

    run_writer(use, store=open_store(database, timeout_s=TIMEOUT_S), spool=spool_in(tmp_path / "spool"))
