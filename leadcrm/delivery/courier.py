"""Delivers to one sink, in a thread of its own: what is due again, then what is new, in the order of the feed.

A few attempts are under way at once. A receiver that fails is left alone for longer and longer, up to `MAX_PAUSE_S`, so
that one which is down is not asked for every event that waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any

from leadcrm.crm.feed import Feed, FeedEvent, FeedGone
from leadcrm.delivery.attempt import Attempt
from leadcrm.delivery.ledger import LeaseLost, Record, Result, Work, pass_gap, record, take_work, with_whole_lead
from leadcrm.delivery.sending import deliver
from leadcrm.delivery.sink import Sink
from leadcrm.errors import LeadcrmError

PAGE_EVENTS = 100

AT_ONCE = 4
"""Attempts under way, and events that a kill may have delivered twice besides those not yet counted."""

DOUBTFUL_FAILURES = 3
"""After so many failures in a row, one attempt at a time asks whether the receiver is back."""

RECORD_S = 1.0
"""The longest time for which results wait to be kept."""

FRESH_S = 0.1
"""For how long a lead that was read may be sent: after that it is read again, as it may have been erased."""

UNKEPT_EVENTS = 1_000
"""How many requests that became no lead a cursor may have passed without being kept: they are quickly passed again."""

IDLE_S = 1.0
"""How often a sink without news looks for what is due again."""

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 5.0
MAX_RETRY_AFTER_S = 3600.0

FAULT_PAUSE_S = 1.0

Call = Callable[..., Any]
"""Calls a function with the bound entities, in the one thread that uses the database."""

logger = logging.getLogger("leadcrm.delivery")


class Courier:
    """One sink's thread."""

    def __init__(self, sink: Sink, holder: str, feed: Feed, call: Call) -> None:
        """Start to deliver."""
        self.sink = sink
        """May be replaced by the sink of a newer text."""
        self.outcomes: dict[str, int] = {}
        """How many attempts came to each outcome."""
        self._holder = holder
        self._feed = feed
        self._call = call
        self._failures = 0
        self._paused_until = 0.0  # monotonic
        self._next_slot = 0.0  # monotonic
        self._fresh_until = 0.0  # monotonic
        self._is_disabled = False
        self._kept_cursor = 0
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"leadcrm-{sink.name}")
        self._thread = threading.Thread(target=self._run, name=f"leadcrm-{sink.name}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still delivers."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Say that the feed has gone on."""
        self._news.set()

    def stop(self) -> None:
        """End soon: after what is under way."""
        self._stopping.set()
        self._news.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause_s = FAULT_PAUSE_S
            try:
                pause_s = 0.0 if self._deliver_some() else IDLE_S
            except LeaseLost:
                break
            except FeedGone as gone:
                self._pass_gap(gone)
            except LeadcrmError as error:
                text = "deliveries wait for the database: %s"
                logger.warning(text, error, extra={"action": "deliver", "hint": error.hint, "repeat_key": text})
            except Exception:
                text = "deliveries have failed"
                extra = {"action": "deliver", "sink": self.sink.name, "repeat_key": f"{text} {self.sink.name}"}
                logger.exception(text, extra=extra)
            if pause_s:
                self._wait(pause_s)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _wait(self, pause_s: float) -> None:
        """Wait for news; while the receiver is left alone, for its time."""
        self._news.clear()
        paused_s = self._paused_until - monotonic()
        if paused_s > 0:
            self._stopping.wait(min(paused_s, IDLE_S))
        else:
            self._news.wait(pause_s)

    def _pass_gap(self, gone: FeedGone) -> None:
        after = self._call(pass_gap, self.sink.name, self._holder, gone.oldest)
        if after is not None:
            logger.error(
                "events of the feed are no longer kept that a sink has not read",
                extra={"action": "deliver", "sink": self.sink.name, "after": after, "oldest": gone.oldest},
            )

    def _deliver_some(self) -> bool:
        """Deliver for up to `RECORD_S` and keep the results; return whether there may be more."""
        sink = self.sink
        if not sink.enabled or monotonic() < self._paused_until:
            return False
        self._fresh_until = monotonic() + FRESH_S
        work: Work | None = self._call(take_work, self._feed, sink.name, self._holder, PAGE_EVENTS)
        self._say_whether_disabled(work)
        if work is None:
            return False
        todo = [*((event, False) for event in work.due), *((event, True) for event in work.fresh)]
        results = self._attempt_all(sink, todo)
        is_done = len(results) == len(todo)
        fresh = [result.event.seq for result in results if result.is_fresh]
        cursor = work.cursor if is_done else (fresh[-1] if fresh else 0)
        if results or self._is_worth_keeping(cursor):
            self._count(self._call(record, sink.name, self._holder, results, cursor))
        return bool(results)

    def _is_worth_keeping(self, cursor: int) -> bool:
        """Say whether a cursor that has passed nothing but requests without a lead should be kept."""
        if cursor - self._kept_cursor < UNKEPT_EVENTS:
            return False
        self._kept_cursor = cursor
        return True

    def _attempt_all(self, sink: Sink, todo: list[tuple[FeedEvent, bool]]) -> list[Result]:
        """Attempt events in order, until the time is over, the rate is used up or the receiver fails."""
        results: list[Result] = []
        ends_at = monotonic() + RECORD_S
        at_once = AT_ONCE if self._failures < DOUBTFUL_FAILURES else 1
        while some := todo[len(results) : len(results) + at_once]:
            started = self._start_some(sink, some, ends_at)
            made = [
                Result(event, is_fresh, None if future is None else future.result())
                for (event, is_fresh), future in zip(some, started, strict=False)
            ]
            results += made
            attempts = [result.attempt for result in made if result.attempt is not None]
            if (attempts and self._has_failed(attempts)) or len(made) < len(some) or monotonic() > ends_at:
                break
        return results

    def _start_some(
        self, sink: Sink, some: list[tuple[FeedEvent, bool]], ends_at: float
    ) -> list[Future[Attempt] | None]:
        """Start as many attempts as the rate allows by a time; None for an event that the sink does not want."""
        started: list[Future[Attempt] | None] = []
        for event, _ in some:
            if not sink.wants(event):
                started.append(None)
            elif self._stopping.is_set() or not self._takes_slot(sink, ends_at):
                break
            else:
                started.append(self._start(sink, event))
        return started

    def _takes_slot(self, sink: Sink, ends_at: float) -> bool:
        """Wait until the rate allows an attempt, and say whether it does by a time."""
        if sink.rate is None:
            return True
        now, pause_s = monotonic(), sink.rate.per_s / sink.rate.requests
        # The rate may have been raised meanwhile.
        slot = min(max(self._next_slot, now), now + pause_s)
        if slot > ends_at:
            # What has been attempted must not wait to be kept for as long as a rate may ask.
            self._paused_until = max(self._paused_until, min(slot, now + IDLE_S))
            return False
        if self._stopping.wait(slot - now):
            return False
        self._next_slot = slot + pause_s
        return True

    def _start(self, sink: Sink, event: FeedEvent) -> Future[Attempt] | None:
        """Start an attempt; return None if the sink does not want the event any more."""
        if event.lead is not None and (event.lead.may_be_cut or monotonic() > self._fresh_until):
            # Whole only now: a page of whole leads has no bound.
            event = self._call(with_whole_lead, event)
            if not sink.wants(event):
                return None
        return self._pool.submit(deliver, sink, event)

    def _has_failed(self, attempts: list[Attempt]) -> bool:
        """Leave the receiver alone for a while if none of the attempts went well."""
        if any(attempt.is_success for attempt in attempts):
            self._failures = 0
            return False
        pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        asked_s = max((attempt.retry_after_s or 0.0) for attempt in attempts)
        self._failures += 1
        self._paused_until = monotonic() + max(pause_s, min(asked_s, MAX_RETRY_AFTER_S))
        text = "a sink's receiver does not take what it is sent"
        logger.warning(
            text,
            extra={
                "action": "deliver",
                "sink": self.sink.name,
                "status": attempts[-1].status,
                "repeat_key": f"{text} {self.sink.name}",
            },
        )
        return True

    def _count(self, kept: Record) -> None:
        for outcome, number in kept.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number
        if kept.disabled and not self._is_disabled:
            self._is_disabled = True
            logger.error(
                "a sink is disabled: %s",
                kept.disabled,
                extra={"action": "deliver", "sink": self.sink.name, "hint": f"leadcrm sinks test {self.sink.name}"},
            )

    def _say_whether_disabled(self, work: Work | None) -> None:
        if work is not None and self._is_disabled:
            self._is_disabled = False
            self._failures = 0
            logger.info("a sink is enabled again", extra={"action": "deliver", "sink": self.sink.name})
