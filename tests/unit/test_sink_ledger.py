"""Cursors, leases and deliveries in the database: what a transaction keeps, and who may keep it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from leadcrm.crm.feed import Feed, FeedEvent
from leadcrm.crm.queries import get_lead
from leadcrm.database.clock import now_utc
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind, session
from leadcrm.delivery import board as board_module
from leadcrm.delivery import dispatch, people, whereabouts
from leadcrm.delivery import ledger as ledger_module
from leadcrm.delivery.attempt import Attempt
from leadcrm.delivery.board import BEHIND_S, DeliveryBoard
from leadcrm.delivery.dispatch import Dispatcher
from leadcrm.delivery.ledger import (
    LeaseLost,
    Record,
    Result,
    backlog,
    enable,
    find_stranded,
    hold_leases,
    pass_gap,
    record,
    release_leases,
)
from leadcrm.delivery.live import LiveSinks
from leadcrm.delivery.people import Chosen, drop_deliveries, read_sink_documents, retry_deliveries
from leadcrm.delivery.sink import Sink
from leadcrm.delivery.whereabouts import lead_deliveries
from leadcrm.delivery.work import Work, take_work
from leadcrm.feed.pruning import prune_feed
from leadcrm.operations.sink_verification import sink_problems
from tests.support.crm import keep, submission, url_of
from tests.support.receiver import Receiver, answer
from tests.support.rows import Rows
from tests.support.waiting import wait_until

FAILURE = Attempt(500, "out of order")
SUCCESS = Attempt(200, "")
NAME = "crm"


class Ledger(NamedTuple):
    """A sink of the node `a` on a database with three leads."""

    entities: Entities
    rows: Rows
    feed: Feed
    database: str

    def take(self, holder: str = "a") -> Work:
        work = take_work(self.entities, self.feed, NAME, holder, 100)
        assert work is not None
        return work

    def deal(self, work: Work, *attempts: Attempt | None, holder: str = "a") -> Record:
        """Keep what came of the first events of some work."""
        events: list[tuple[FeedEvent, bool]] = [(event, False) for event in work.due]
        events += [(event, True) for event in work.fresh]
        results = [Result(*event, attempt) for event, attempt in zip(events, attempts, strict=False)]
        cursor = max((event.seq for event, is_fresh, _ in results if is_fresh), default=0)
        return record(self.entities, NAME, holder, results, cursor)

    def turn_clock(self, **time: float) -> None:
        """Let a time pass for the sink."""
        for table, column in (
            ("leads_deliveries", "next_at"),
            ("leads_sinks", "failing_since"),
            ("leads_sinks", "last_at"),
            ("leads_sinks", "lease_until"),
        ):
            for row in self.rows.select(f"SELECT DISTINCT {column} AS at FROM {table} WHERE {column} IS NOT NULL"):
                at = datetime.fromisoformat(row["at"]) if isinstance(row["at"], str) else row["at"]
                before, after = (one.isoformat(" ", "microseconds") for one in (at, at - timedelta(**time)))
                self.rows.execute(f"UPDATE {table} SET {column} = %s WHERE {column} = %s", after, before)

    def problems(self) -> list[str]:
        with session(self.entities):
            return [what for _, what in sink_problems(self.entities)]


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    with bound_ledger(database) as ledger:
        yield ledger


@contextmanager
def bound_ledger(database: str) -> Iterator[Ledger]:
    keep(database, [submission(b"{}") for _ in range(3)])
    entities = bind(url_of(database))
    assert hold_leases(entities, [NAME], "a", now_utc()) == {NAME}
    yield Ledger(entities, Rows(database), Feed(), database)
    entities.database.disconnect()


def test_a_sink_begins_with_what_is_stored_from_then_on(ledger: Ledger) -> None:
    later = now_utc() + timedelta(minutes=1)
    assert hold_leases(ledger.entities, ["late"], "a", later) == {"late"}
    late = take_work(ledger.entities, ledger.feed, "late", "a", 100)
    assert (late and late.fresh, len(ledger.take().fresh)) == ([], 3)


def test_a_cursor_passes_what_was_dealt_with_and_failures_are_kept_and_due_again(ledger: Ledger) -> None:
    work = ledger.take()
    assert ledger.deal(work, SUCCESS, FAILURE)[:2] == ({"delivered": 1, "failed": 1}, "")
    again = ledger.take()
    assert ([event.seq for event in again.fresh], again.due) == ([work.fresh[2].seq], [])
    ledger.turn_clock(seconds=7)
    again = ledger.take()
    assert [event.seq for event in again.due] == [work.fresh[1].seq]
    assert ledger.problems() == []
    assert ledger.deal(again, SUCCESS, None)[:2] == ({"delivered": 1, "skipped": 1}, "")
    assert (ledger.take().due, ledger.take().fresh, ledger.problems()) == ([], [], [])


def test_only_the_holder_of_the_lease_delivers_and_another_node_takes_one_that_has_run_out(ledger: Ledger) -> None:
    work = ledger.take()
    assert hold_leases(ledger.entities, [NAME], "b", now_utc()) == set()
    with pytest.raises(LeaseLost):
        ledger.take("b")
    ledger.turn_clock(seconds=31)
    assert hold_leases(ledger.entities, [NAME], "b", now_utc()) == {NAME}
    with pytest.raises(LeaseLost):
        ledger.deal(work, SUCCESS, SUCCESS, SUCCESS)
    assert len(ledger.take("b").fresh) == 3
    release_leases(ledger.entities, "b")
    assert hold_leases(ledger.entities, [NAME], "a", now_utc()) == {NAME}


def test_a_clock_that_is_set_back_keeps_no_delivery_and_no_sink_waiting(ledger: Ledger) -> None:
    ledger.deal(ledger.take(), Attempt(429, "", 86_400.0), FAILURE, SUCCESS)
    assert ledger.take().due == []
    ledger.turn_clock(days=-2)
    assert len(ledger.take().due) == 2
    assert hold_leases(ledger.entities, [NAME], "b", now_utc()) == {NAME}


def test_a_sink_that_has_failed_for_five_days_is_disabled_until_it_is_enabled(ledger: Ledger) -> None:
    ledger.deal(ledger.take(), FAILURE)
    ledger.turn_clock(days=4.9)
    assert ledger.deal(ledger.take(), FAILURE).disabled == ""
    ledger.turn_clock(days=0.2)
    assert "five days" in ledger.deal(ledger.take(), FAILURE).disabled
    assert take_work(ledger.entities, ledger.feed, NAME, "a", 100) is None
    assert enable(ledger.entities, NAME, SUCCESS)
    assert not enable(ledger.entities, NAME, SUCCESS)
    # One success, and the five days begin anew.
    ledger.deal(ledger.take(), SUCCESS)
    ledger.turn_clock(days=1)
    assert ledger.deal(ledger.take(), FAILURE).disabled == ""


def test_a_sink_is_not_disabled_for_a_time_in_which_nothing_was_tried(ledger: Ledger) -> None:
    """The node was off, or its clock was set forward."""
    ledger.deal(ledger.take(), FAILURE)
    ledger.turn_clock(days=1)
    ledger.deal(ledger.take(), FAILURE)
    ledger.turn_clock(days=3650)
    for _ in range(2):
        assert ledger.deal(ledger.take(), FAILURE).disabled == ""
        ledger.turn_clock(days=2.4)
    ledger.turn_clock(days=0.3)
    assert "five days" in ledger.deal(ledger.take(), FAILURE).disabled


def test_a_receiver_that_takes_what_it_gets_for_some_is_not_given_up(ledger: Ledger) -> None:
    ledger.deal(ledger.take(), FAILURE)
    ledger.turn_clock(days=6)
    assert ledger.deal(ledger.take(), Attempt(550, "one was refused", is_partial=True)).disabled == ""


def test_an_answer_that_the_databases_encoding_lacks_is_kept_in_other_letters(latin1: str) -> None:
    # The first has what no encoding but Unicode has, as is put for bytes that are no text.
    with bound_ledger(latin1) as ledger:
        work = ledger.take()
        counted = ledger.deal(work, Attempt(200, "\ufffd"), Attempt(500, "Пётр"), Attempt(200, "taken ✓"))
        assert counted.outcomes == {"delivered": 2, "failed": 1}
        assert ledger.take().fresh == [], "what arrived is not sent again"
        state, (delivery,) = backlog(ledger.entities, NAME), ledger.rows.select("SELECT answer FROM leads_deliveries")
        assert (state and state.last_answer, delivery["answer"]) == (r"200 taken \u2713", r"\u041f\u0451\u0442\u0440")
        enable(ledger.entities, NAME, Attempt(200, "✓"))
        state = backlog(ledger.entities, NAME)
        assert (state and state.last_answer) == r"200 \u2713"


def test_the_last_attempt_leaves_a_dead_delivery_that_a_person_retries_or_drops(ledger: Ledger) -> None:
    work = ledger.take()
    ledger.deal(work, FAILURE, FAILURE, FAILURE)
    outcomes: list[str] = []
    while "dead" not in outcomes:
        ledger.turn_clock(days=2)
        enable(ledger.entities, NAME, SUCCESS)
        outcomes += ledger.deal(Work(ledger.take().due[:1], [], 0), FAILURE).outcomes
    # Each of the three has had its first attempt before, and nine pauses follow one.
    assert len(outcomes) == 3 * 9 - 2
    enable(ledger.entities, NAME, SUCCESS)
    state = backlog(ledger.entities, NAME)
    assert state is not None
    assert (state.dead, state.waiting) == (1, 2)
    assert drop_deliveries(ledger.entities, Chosen(sink=NAME, since=now_utc() + timedelta(days=1))) == (0, None)
    assert retry_deliveries(ledger.entities, Chosen(sink=NAME, state="dead")) == (1, None)
    assert retry_deliveries(ledger.entities, Chosen(sink=NAME)) == (3, None)
    assert len(ledger.take().due) == 3
    assert ledger.problems() == []
    assert drop_deliveries(ledger.entities, Chosen(sink=NAME)) == (3, None)
    assert (ledger.take().due, ledger.problems()) == ([], [])


def test_a_lead_tells_where_it_went_and_when(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Sink(NAME, "webhook", urlsplit("https://example.com"), events=frozenset(["lead.created"]))
    sinks = {NAME: sink, "late": replace(sink, name="late")}
    work = ledger.take()
    ids = [event.lead_id for event in work.fresh]

    def told(id: UUID, sinks: dict[str, Sink] = sinks) -> list[tuple[str, str]]:
        with session(ledger.entities):
            lead = get_lead(ledger.entities, id)
        found = lead_deliveries(ledger.entities, sinks, id, lead)
        assert all(document.keys() == found[0].keys() for document in found)
        return [(document["sink"], document["state"]) for document in found]

    assert {state for id in ids for _, state in told(id)} == {"pending"}
    # However far behind a sink is.
    monkeypatch.setattr(whereabouts, "SCANNED_EVENTS", 1)
    later = submission(b"{}")
    keep(ledger.database, [later])
    assert told(UUID(later.id))[0] == (NAME, "pending")
    assert hold_leases(ledger.entities, ["late"], "a", now_utc() + timedelta(minutes=1)) == {"late"}
    ledger.deal(work, SUCCESS, FAILURE, None)
    assert told(ids[0]) == [(NAME, "delivered"), ("late", "unrecorded")]
    first, second = (lead_deliveries(ledger.entities, sinks, id, None)[0] for id in ids[:2])
    assert (now_utc() - first["at"] < timedelta(minutes=1), first["id"]) == (True, None)
    assert (second["state"], second["status"], second["answer"]) == ("waiting", 500, "out of order")
    assert second["since"] < second["at"] < second["nextAt"]
    picky = {NAME: replace(sink, only={"country": frozenset(["LV"])})}
    assert (told(ids[2], picky), told(ids[2])[0]) == ([(NAME, "unwanted")], (NAME, "unrecorded"))
    assert drop_deliveries(ledger.entities, Chosen([second["id"]])) == (1, None)
    assert told(ids[1])[0] == (NAME, "dropped")
    # A person may set a cursor back to have all delivered again.
    ledger.rows.execute("UPDATE leads_sinks SET cursor_seq = 0 WHERE name = %s", NAME)
    ledger.deal(work, SUCCESS, SUCCESS, SUCCESS)
    assert [told(id)[0] for id in ids] == [(NAME, "delivered")] * 3
    ledger.rows.execute("UPDATE leads_feed SET at = '2024-01-15 10:30:00.000000'")
    prune_feed(ledger.entities, days=1, now=now_utc() + timedelta(days=2))
    assert lead_deliveries(ledger.entities, {}, ids[0], None) == []


def test_deliveries_are_changed_in_pages_and_those_of_a_state_or_sink_alone(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "CHANGED_AT_ONCE", 2)
    ledger.deal(ledger.take(), FAILURE, FAILURE, FAILURE)
    assert retry_deliveries(ledger.entities, Chosen(sink="other")) == (0, None)
    assert retry_deliveries(ledger.entities, Chosen(state="dead")) == (0, None)
    # What runs out of time says where to go on, and no delivery is met twice.
    first = retry_deliveries(ledger.entities, Chosen(sink=NAME), seconds=0)
    assert (first.number, first.next is None) == (2, False)
    assert retry_deliveries(ledger.entities, Chosen(sink=NAME), after=first.next, seconds=0) == (1, None)
    (document,) = read_sink_documents(ledger.entities, {NAME: Sink(NAME, "webhook", urlsplit("https://example.com"))})
    assert (document["state"], document["waiting"], document["unread"]) == ("failing", 3, 0)
    keep(ledger.database, [submission(b"{}"), submission(b"bad")])
    (document,) = read_sink_documents(ledger.entities, {NAME: Sink(NAME, "webhook", urlsplit("https://example.com"))})
    assert (document["unread"], document["failingSince"] is None) == (1, False)
    assert drop_deliveries(ledger.entities, Chosen(state="waiting")) == (3, None)
    assert (ledger.take().due, ledger.problems()) == ([], [])


def test_what_a_sink_that_is_taken_out_has_not_read_is_told_until_it_is_given_up(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "CHANGED_AT_ONCE", 1)
    sinks = {"other": Sink("other", "webhook", urlsplit("https://example.com"))}

    def told() -> str:
        return ", ".join(map(str, find_stranded(ledger.entities, ["other"], "a").values()))

    ledger.rows.execute("UPDATE leads_feed SET at = '2024-01-15 10:30:00.000000'")
    unread = "what was stored from 2024-01-15 10:30:00 UTC on was not read for it"
    assert told() == unread
    # Another node may deliver to it, as what has no file may.
    assert find_stranded(ledger.entities, ["other"], "b") == {}
    for kept in ({}, {NAME: sinks["other"]}):
        assert drop_deliveries(ledger.entities, Chosen(sink=NAME), sinks=kept).number == 0
    ledger.deal(ledger.take(), FAILURE)
    assert told() == f"1 deliveries have not arrived there and {unread}"
    assert drop_deliveries(ledger.entities, Chosen(sink=NAME, state="dead"), sinks=sinks).number == 0
    # Of what is stored when nobody has it nothing is said.
    later = submission(b"{}")
    keep(ledger.database, [later])
    assert drop_deliveries(ledger.entities, Chosen([], NAME), sinks=sinks).number == 3
    assert (told(), ledger.problems()) == ("", [])
    with pytest.raises(LeaseLost):
        ledger.take()
    # Put back, it goes on with what came since.
    ledger.turn_clock(minutes=1)
    assert hold_leases(ledger.entities, [NAME], "b", now_utc()) == {NAME}
    assert [str(event.lead_id) for event in ledger.take("b").fresh] == [later.id]


def test_what_a_sink_has_not_read_is_not_pruned_and_a_gap_is_told(ledger: Ledger) -> None:
    ledger.deal(ledger.take(), SUCCESS)
    ledger.rows.execute("UPDATE leads_feed SET at = '2024-01-15 10:30:00.000000'")
    assert prune_feed(ledger.entities, days=1) == 1
    # A sink that no node has had for longer holds nothing back.
    assert prune_feed(ledger.entities, days=1, now=now_utc() + timedelta(days=2)) == 2
    assert ledger.problems() == []
    # One that is put back is told of what it has missed.
    ledger.rows.execute("UPDATE leads_feed_start SET since = '2024-01-15 10:30:00.000000'")
    assert len(ledger.problems()) == 1
    oldest = ledger.rows.select("SELECT after_seq FROM leads_feed_start")[0]["after_seq"]
    assert pass_gap(ledger.entities, NAME, "a", oldest) is not None
    assert pass_gap(ledger.entities, NAME, "a", oldest) is None
    assert ledger.take().fresh == []


def test_rows_that_were_taken_away_and_a_cursor_that_was_moved_are_named(ledger: Ledger) -> None:
    ledger.deal(ledger.take(), FAILURE, FAILURE)
    assert ledger.problems() == []
    ledger.rows.execute("DELETE FROM leads_deliveries WHERE seq = (SELECT max(seq) FROM leads_deliveries)")
    assert [problem.partition(",")[0] for problem in ledger.problems()] == ["it took 2 events"]
    ledger.rows.execute("UPDATE leads_sinks SET taken = 1, cursor_seq = cursor_seq + 1")
    assert ledger.problems() == ["it took 1 events of the feed, where 3 are up to its cursor"]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE leads_sinks SET cursor_seq = cursor_seq + 1000000000000000", "its cursor is at"),
        ("UPDATE leads_deliveries SET seq = seq + 1", "1 deliveries are of events that the feed does not have"),
        ("UPDATE leads_deliveries SET type = 'noted'", "1 deliveries are of events that the feed does not have"),
        ("DELETE FROM leads_sinks", "its cursor is gone"),
        (
            "DELETE FROM leads_delivered WHERE seq = (SELECT max(seq) FROM leads_delivered)",
            "it has 2 events as delivered",
        ),
    ],
)
def test_a_cursor_or_delivery_that_fits_no_event_is_named(ledger: Ledger, damage: str, problem: str) -> None:
    ledger.deal(ledger.take(), FAILURE, SUCCESS, SUCCESS)
    assert ledger.problems() == []
    ledger.rows.execute(damage)
    assert [text[: len(problem)] for text in ledger.problems()] == [problem]


def test_a_sink_that_is_put_back_waits_for_what_is_under_way(
    ledger: Ledger, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LOOK_S", 0.0)
    monkeypatch.setattr(dispatch, "BOARD_S", 0.0)
    answers, stopping = threading.Event(), threading.Event()

    def answer_late(request: BaseHTTPRequestHandler) -> None:
        answers.wait(10)
        answer(204)(request)

    with Receiver() as receiver:
        receiver.handlers["/"] = answer_late
        file = tmp_path / "sinks.toml"
        text = f"[sink.{NAME}]\nurl = '{receiver.url}/'\nallow_private = true\n"
        file.write_text(text)
        config: Any = SimpleNamespace(database=url_of(database))
        board = DeliveryBoard()
        # Nothing waits for the number of a version, as where the role may not use its table.
        ledger.rows.execute("DROP TABLE sink_versions")
        dispatcher = Dispatcher(config, LiveSinks(file), board, "a")
        thread = threading.Thread(target=dispatcher.run, args=(stopping,))
        thread.start()
        try:
            wait_until(lambda: len(receiver.received["/"]) == 3)
            file.write_text("# None.")
            wait_until(lambda: not board.sinks())
            file.write_text(text)
            wait_until(board.sinks)
            answers.set()
            wait_until(lambda: ledger.rows.select("SELECT 1 FROM leads_sinks WHERE delivered >= 3"))
        finally:
            stopping.set()
            thread.join()
        assert len(receiver.received["/"]) == 3
    assert ledger.problems() == []


def test_of_two_nodes_with_one_name_one_goes_on_under_another(
    ledger: Ledger, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a machine is copied together with its DATA_DIR: both delivered every event."""
    monkeypatch.setattr(dispatch, "LEASE_RENEWAL_S", 0.1)
    monkeypatch.setattr(ledger_module, "LEASE_S", 1.0)
    ledger.turn_clock(days=1)
    stopping = threading.Event()
    with Receiver() as receiver:
        file = tmp_path / "sinks.toml"
        file.write_text(f"[sink.{NAME}]\nurl = '{receiver.url}/'\nallow_private = true\n")
        folders = [tmp_path / "one", tmp_path / "copy"]
        for folder in folders:
            folder.mkdir()
            (folder / dispatch.LOCK_FILE).write_text("a\n")
        configs: list[Any] = [
            SimpleNamespace(database=url_of(database), data_dir=folder, uses_data_dir=True, node_name="a")
            for folder in folders
        ]
        threads = [
            threading.Thread(target=Dispatcher(config, LiveSinks(file), DeliveryBoard(), "a").run, args=(stopping,))
            for config in configs
        ]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: "delivers under this node's name" in caplog.text)
            # What its couriers have under way ends.
            unread = "SELECT 1 FROM leads_feed WHERE seq > (SELECT cursor_seq FROM leads_sinks)"
            keep(database, [submission(b"{}")])
            wait_until(lambda: not ledger.rows.select(unread))
            receiver.received["/"].clear()
            keep(database, [submission(b"{}") for _ in range(50)])
            wait_until(lambda: not ledger.rows.select(unread))
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
        assert len(receiver.received["/"]) == 50
    names = [(folder / dispatch.LOCK_FILE).read_text() for folder in folders]
    assert len({*names}) == 2


def test_it_is_told_when_nothing_is_heard_of_what_delivers(
    ledger: Ledger, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = monotonic()
    monkeypatch.setattr(board_module, "monotonic", lambda: now_s)
    board = DeliveryBoard()
    now_s += BEHIND_S + 1
    silence = "what delivers to the sinks has told nothing for 61 s"
    assert board.fault() == silence, "it has never told anything"
    file = tmp_path / "sinks.toml"
    file.write_text(f"[sink.{NAME}]\nurl = 'https://a.example/'\nenabled = false\n")
    config: Any = SimpleNamespace(database=url_of(database))
    stopping = threading.Event()
    thread = threading.Thread(target=Dispatcher(config, LiveSinks(file), board, "a").run, args=(stopping,))
    thread.start()
    try:
        wait_until(lambda: board.fault() == "")
    finally:
        stopping.set()
        thread.join()
    now_s += BEHIND_S + 1
    assert (board.fault(), list(board.sinks())) == (silence, [NAME])
    board.say_alive()
    assert (board.fault(), list(board.sinks())) == ("", [NAME])
