"""A courier with a real receiver and database: what is under way at once, and what its cursor has passed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from leadcrm.crm.feed import Feed
from leadcrm.database.clock import now_utc
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind, session
from leadcrm.delivery import courier
from leadcrm.delivery.attempt import Attempt
from leadcrm.delivery.courier import AT_ONCE, Courier
from leadcrm.delivery.definition import parse_sinks
from leadcrm.delivery.ledger import enable, hold_leases
from leadcrm.delivery.people import Chosen, drop_deliveries, retry_deliveries
from leadcrm.errors import StoreUnavailable
from leadcrm.operations.sink_verification import sink_problems
from tests.support.crm import keep, submission, url_of
from tests.support.receiver import Receiver, answer
from tests.support.rows import Rows
from tests.support.waiting import wait_until

NAME = "crm"
LEADS = 40


class Scene(NamedTuple):
    """A database with leads, and a receiver that may hold back its answers."""

    entities: Entities
    rows: Rows
    receiver: Receiver
    ids: list[str]

    def sink(self) -> dict[str, Any]:
        (row,) = self.rows.select("SELECT * FROM leads_sinks")
        return row

    def arrived(self) -> list[str]:
        return self.receiver.lead_ids("/")

    def numbers(self) -> list[int]:
        """Return the numbers of the events, in order."""
        return [row["seq"] for row in self.rows.select("SELECT seq FROM leads_feed ORDER BY seq")]

    def problems(self) -> list[Any]:
        with session(self.entities):
            return list(sink_problems(self.entities))

    @contextmanager
    def delivering(self, more: str = "", call: Callable[..., Any] | None = None) -> Iterator[Courier]:
        text = f"[sink.{NAME}]\nurl = '{self.receiver.url}/'\nallow_private = true\n{more}"
        (sink,) = parse_sinks(text, Path("/sinks.toml")).values()
        courier = Courier(sink, "a", Feed(), call or self.call)
        try:
            yield courier
        finally:
            courier.stop()
            courier.join(20)
            assert not courier.is_alive

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self.entities, *arguments)


@pytest.fixture
def scene(database: str) -> Iterator[Scene]:
    leads = [submission(b"{}") for _ in range(LEADS)]
    keep(database, leads)
    entities = bind(url_of(database))
    hold_leases(entities, [NAME], "a", now_utc())
    with Receiver() as receiver:
        yield Scene(entities, Rows(database), receiver, [lead.id for lead in leads])
    entities.database.disconnect()


def held_back(first: str) -> tuple[threading.Event, Callable[[BaseHTTPRequestHandler], None]]:
    """Return what answers all but the first `first` leads at once, and those once it is told to."""
    told = threading.Event()

    def handle(request: BaseHTTPRequestHandler) -> None:
        if request.headers["webhook-id"] == first:
            told.wait(30)
        answer(204)(request)

    return told, handle


def test_a_slow_answer_holds_up_no_other_event_and_the_cursor_waits_for_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "RECORD_S", 0.0)
    before, slow, *_ = scene.numbers()
    told, scene.receiver.handlers["/"] = held_back(f"msg_{slow}")
    with scene.delivering():
        wait_until(lambda: set(scene.arrived()) == set(scene.ids))
        wait_until(lambda: scene.sink()["cursor_seq"] >= before)
        assert (scene.sink()["cursor_seq"], scene.sink()["taken"]) == (before, 1)
        told.set()
        wait_until(lambda: scene.sink()["delivered"] == LEADS)
    assert len(scene.arrived()) == LEADS
    assert scene.problems() == []


def test_no_more_than_a_few_are_under_way_and_what_ends_late_is_kept_at_the_stop(scene: Scene) -> None:
    told = threading.Event()

    def handle(request: BaseHTTPRequestHandler) -> None:
        told.wait(30)
        answer(204)(request)

    scene.receiver.handlers["/"] = handle
    with scene.delivering() as courier:
        wait_until(lambda: len(scene.arrived()) == AT_ONCE)
        courier.wake()
        courier.stop()
        told.set()
    assert (len(scene.arrived()), scene.sink()["delivered"]) == (AT_ONCE, AT_ONCE)
    assert scene.problems() == []


def test_a_failure_is_kept_while_an_earlier_event_is_under_way_once_that_is_done(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "RECORD_S", 0.0)
    first, failing, *_ = scene.numbers()
    told, late = held_back(f"msg_{first}")

    def handle(request: BaseHTTPRequestHandler) -> None:
        (answer(500) if request.headers["webhook-id"] == f"msg_{failing}" else late)(request)

    scene.receiver.handlers["/"] = handle
    with scene.delivering():
        wait_until(lambda: set(scene.arrived()) == set(scene.ids))
        assert scene.rows.select("SELECT seq FROM leads_deliveries") == []
        told.set()
        wait_until(lambda: scene.sink()["delivered"] == LEADS - 1)
    assert [row["seq"] for row in scene.rows.select("SELECT seq FROM leads_deliveries")] == [failing]
    assert scene.problems() == []


def test_a_rate_is_kept_to_whatever_is_under_way(scene: Scene) -> None:
    with scene.delivering("rate = '20/s'"):
        wait_until(lambda: len(scene.arrived()) >= 12)
    times = [request.at for request in scene.receiver.received["/"]]
    # The first may arrive late on a busy machine, all the others with less delay.
    assert times[11] - times[0] > 0.8 * 11 * 0.05


def test_a_receiver_that_is_down_is_not_asked_for_every_event(scene: Scene) -> None:
    scene.receiver.handlers["/"] = answer(500)
    with scene.delivering():
        wait_until(lambda: scene.rows.select("SELECT 1 FROM leads_deliveries"))
        # The first attempts, and what the pauses of a second and a half leave room for.
        assert len(scene.arrived()) <= AT_ONCE + 2 * courier.FAILURES_IN_A_ROW
        scene.receiver.handlers["/"] = answer(204)
        wait_until(lambda: set(scene.arrived()) == set(scene.ids))
    assert scene.problems() == []


def test_what_a_database_did_not_keep_is_delivered_again_and_counted_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "FAULT_PAUSE_S", 0.05)
    faults = iter([StoreUnavailable("before", hint=""), StoreUnavailable("after", hint="")])

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        fault = next(faults, None) if function is courier.record else None
        if fault is not None and str(fault) == "before":
            raise fault
        result = scene.call(function, *arguments)
        if fault is not None:
            raise fault
        return result

    with scene.delivering(call=call):
        wait_until(lambda: scene.sink()["delivered"] == LEADS)
    assert set(scene.arrived()) == set(scene.ids)
    assert len({(request.id, request.document["leadId"]) for request in scene.receiver.received["/"]}) == LEADS
    assert scene.problems() == []


def test_an_attempt_that_cannot_begin_ends_no_courier(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "FAULT_PAUSE_S", 0.05)
    faults = iter([RuntimeError("can't start new thread")])

    class Pool(ThreadPoolExecutor):
        def submit(self, *arguments: Any) -> Any:  # type: ignore[override]
            for fault in faults:
                raise fault
            return super().submit(*arguments)

    monkeypatch.setattr(courier, "ThreadPoolExecutor", Pool)
    with scene.delivering():
        wait_until(lambda: scene.sink()["delivered"] == LEADS)
    assert scene.problems() == []


def test_a_courier_whose_lease_is_gone_keeps_nothing_and_ends(scene: Scene) -> None:
    told, scene.receiver.handlers["/"] = held_back(f"msg_{scene.numbers()[0]}")
    with scene.delivering() as courier:
        wait_until(lambda: set(scene.arrived()) == set(scene.ids))
        scene.rows.execute("UPDATE leads_sinks SET holder = 'b'")
        told.set()
        wait_until(lambda: not courier.is_alive)
    assert scene.sink()["taken"] == 0


@pytest.mark.parametrize("how", ["retried", "changed", "tested"])
def test_a_receiver_that_asks_to_be_left_alone_is_asked_again_where_a_person_wants_it(scene: Scene, how: str) -> None:
    scene.receiver.handlers["/"] = answer(429, Retry_After="3000")
    with scene.delivering() as courier:
        wait_until(lambda: courier._is_paused() and scene.rows.select("SELECT 1 FROM leads_deliveries"))
        asked = len(scene.arrived())
        scene.receiver.handlers["/"] = answer(204)
        assert len(scene.arrived()) == asked
        if how == "retried":
            retry_deliveries(scene.entities, Chosen(sink=NAME))
        elif how == "tested":
            drop_deliveries(scene.entities, Chosen(sink=NAME))
            enable(scene.entities, NAME, Attempt(200, "welcome"))
        else:
            courier.sink = replace(courier.sink, thin=True)
        wait_until(lambda: len(set(scene.arrived())) > LEADS - asked)
    assert scene.problems() == []


def test_only_what_a_person_asks_for_is_sent_to_a_receiver_that_wants_to_be_left_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "IDLE_S", 0.1)
    scene.receiver.handlers["/"] = answer(429, Retry_After="3000")
    with scene.delivering() as thread:
        wait_until(lambda: scene.rows.select("SELECT 1 FROM leads_deliveries") and not thread._window.done)
        before = len(scene.arrived())
        # All are due, and those that nobody asks for since long ago.
        past = "last_at = '2020-01-01 00:00:00.000000', next_at = '2020-01-01 00:00:01.000000'"
        scene.rows.execute(f"UPDATE leads_deliveries SET {past}")
        numbers = [
            row["seq"] for row in scene.rows.select("SELECT seq FROM leads_deliveries ORDER BY seq DESC LIMIT 2")
        ]
        for seq in numbers:
            with session(scene.entities):
                id = scene.entities.delivery.get(seq=seq).id
            retry_deliveries(scene.entities, Chosen((id,)))
            thread.wake()
            wait_until(partial(scene.rows.select, f"SELECT 1 FROM leads_deliveries WHERE seq = {seq} AND attempts = 2"))
            assert thread._is_paused()
        assert [request.id for request in scene.receiver.received["/"][before:]] == [f"msg_{seq}" for seq in numbers]
        scene.receiver.handlers["/"] = answer(204)
        retry_deliveries(scene.entities, Chosen((id,)))
        # It takes what it is sent again: the pause is over for all.
        wait_until(lambda: scene.sink()["delivered"] == LEADS - 1)
    assert scene.problems() == []


def test_a_failure_of_a_new_receiver_brings_no_pause_of_the_former_back(scene: Scene) -> None:
    scene.receiver.handlers["/"] = answer(429, Retry_After="3000")
    with scene.delivering() as courier:
        wait_until(lambda: courier._is_paused() and scene.rows.select("SELECT 1 FROM leads_deliveries"))
        asked = len(scene.arrived())
        scene.receiver.handlers["/"] = answer(500)
        courier.sink = replace(courier.sink, thin=True)
        wait_until(lambda: len(scene.arrived()) > asked and courier._is_paused())
        scene.receiver.handlers["/"] = answer(204)
        wait_until(lambda: scene.sink()["delivered"])
    assert scene.problems() == []
