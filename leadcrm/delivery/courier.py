"""Delivers to one sink, in a thread of its own: what is due again, then what is new, in the order of the feed.

Some attempts are under way at once, and each that ends makes room for the next one: a slow answer holds up no other.
A receiver that fails is left alone for longer and longer, up to `MAX_PAUSE_S`, so that one which is down is not asked
for every event that waits. A person ends such a pause who tests or changes the sink. A delivery that a person has
tried again is attempted in spite of it, and ends it if it arrives.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from itertools import islice
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from leadcrm.crm.feed import Feed, FeedEvent, FeedGone
from leadcrm.delivery.attempt import Attempt
from leadcrm.delivery.connections import Connections
from leadcrm.delivery.ledger import LeaseLost, Record, pass_gap, record
from leadcrm.delivery.sending import deliver
from leadcrm.delivery.sink import Sink
from leadcrm.delivery.window import Place, Window
from leadcrm.delivery.work import Wish, Work, read_again, read_wish, take_work, with_whole_lead
from leadcrm.errors import LeadcrmError

PAGE_EVENTS = 100

AT_ONCE = 16
"""Attempts under way."""

LONG_AT_ONCE = 4
"""Attempts under way from which an event with a long lead, which may have a mebibyte, waits."""

OPEN_EVENTS = 200
"""Events from which no more are taken: an attempt that lasts long holds back the results of those behind it. So many
and a page may be delivered twice after a kill."""

FAILURES_IN_A_ROW = 4
"""After so many failures without a success between them the receiver is left alone; where one attempt is under way,
after each."""

DOUBTFUL_FAILURES = 3
"""After so many pauses in a row, one attempt at a time asks whether the receiver is back."""

RECORD_EVENTS = 100
RECORD_S = 1.0
"""The number and the longest time for which results wait to be kept."""

FRESH_S = 0.1
"""For how long a lead that was read may be sent: after that it is read again, as it may have been erased."""

READ_AGAIN_EVENTS = 32

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
        self._window = Window()
        self._look_at = 0.0  # monotonic, like all moments here
        self._failed_in_a_row = self._pauses = 0
        self._asked_s = 0.0
        self._paused_at = self._paused_until = 0.0
        self._paused_sink = sink
        self._heed_at = 0.0
        self._asked_for: Place | None = None
        self._next_slot = 0.0
        self._is_disabled = False
        self._kept_cursor = 0
        self._last_at: datetime | None = None
        self._stopping = threading.Event()
        self._inbox: SimpleQueue[tuple[Place, Attempt] | None] = SimpleQueue()
        """What wakes the thread: an attempt that has ended, or None."""
        self._connections = Connections()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"leadcrm-{sink.name}")
        self._thread = threading.Thread(target=self._run, name=f"leadcrm-{sink.name}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still delivers."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Say that the feed has gone on."""
        self._look_at = 0.0
        self._inbox.put(None)

    def stop(self) -> None:
        """End soon: after what is under way."""
        self._stopping.set()
        self._inbox.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            try:
                self._go_on()
                if self._stopping.is_set() and not self._window.under_way:
                    break
                self._listen(self._pause_s())
            except LeaseLost:
                break
            except LeadcrmError as error:
                text = "deliveries wait for the database: %s"
                logger.warning(text, error, extra={"action": "deliver", "hint": error.hint, "repeat_key": text})
                self._pause(FAULT_PAUSE_S)
            except Exception:
                text = "deliveries have failed"
                extra = {"action": "deliver", "sink": self.sink.name, "repeat_key": f"{text} {self.sink.name}"}
                logger.exception(text, extra=extra)
                self._start_over()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    def _go_on(self) -> None:
        """Do what can be done now without waiting for an attempt."""
        if self._may_start():
            self._take_some()
            self._start_some()
        self._keep_done()
        self._connections.close_idle()
        self._heed_people()

    def _may_start(self) -> bool:
        is_open = not self._is_paused() or self._asked_for in self._window.todo
        return self.sink.enabled and not self._stopping.is_set() and is_open

    def _is_paused(self) -> bool:
        return monotonic() < self._paused_until and self.sink == self._paused_sink

    def _heed_people(self) -> None:
        """Attempt what a person wants now, though the receiver has asked for a pause of up to an hour."""
        is_long = self._paused_until - self._paused_at > MAX_PAUSE_S
        is_at_rest = not self._window.under_way and not self._window.done
        if not (is_long and self._is_paused() and is_at_rest and monotonic() >= self._heed_at):
            return
        self._heed_at = monotonic() + IDLE_S
        wish: Wish = self._call(read_wish, self.sink.name, self._holder, self._last_at)
        if wish.is_tested:
            self._paused_until = self._look_at = 0.0
        elif wish.again:
            # Nothing of the window has begun, and all of it is read again after the pause.
            self._window = Window()
            self._window.add(Work(wish.again, [], 0), monotonic() + FRESH_S)
            self._asked_for = self._window.todo[0]

    def _listen(self, pause_s: float) -> None:
        """Wait for an attempt that has ended or for news, and take in all that have ended."""
        with suppress(Empty):
            ended = self._inbox.get(timeout=pause_s)
            while True:
                if ended is not None and ended[0] in self._window.under_way:
                    self._window.end(*ended)
                    self._judge(*ended)
                ended = self._inbox.get_nowait()

    def _pause_s(self) -> float:
        """Return for how long there is nothing to do if nothing happens."""
        now, window = monotonic(), self._window
        moments = [now + IDLE_S]
        if (done_at := window.oldest_done_at) is not None:
            moments.append(done_at + RECORD_S)
        if self._is_paused():
            moments.append(self._paused_until)
        if self._may_start():
            if not window.todo:
                moments += [self._look_at] * (len(window) < OPEN_EVENTS)
            elif self._has_room():
                moments.append(self._slot(self.sink))
        return max(0.0, min(moments) - now)

    def _pause(self, pause_s: float) -> None:
        until = monotonic() + pause_s
        # What a sink's former receiver asked for is nothing to its new one.
        self._paused_until = max(self._paused_until, until) if self._is_paused() else until
        self._paused_sink = self.sink
        self._asked_for = None

    def _start_over(self) -> None:
        """Forget the window, and whether its attempts arrived: they are made again."""
        under_way = self._window.under_way
        while under_way:
            if (ended := self._inbox.get()) is not None:
                under_way.discard(ended[0])
        self._window = Window()
        self._look_at = 0.0
        self._pause(FAULT_PAUSE_S)

    def _pass_gap(self, gone: FeedGone) -> None:
        after = self._call(pass_gap, self.sink.name, self._holder, gone.oldest)
        if after is not None:
            logger.error(
                "events of the feed are no longer kept that a sink has not read",
                extra={"action": "deliver", "sink": self.sink.name, "after": after, "oldest": gone.oldest},
            )

    def _take_some(self) -> None:
        """Take the next page once all of the last one was started."""
        window, now = self._window, monotonic()
        if window.todo or len(window) >= OPEN_EVENTS or now < self._look_at:
            return
        # Before the reading: news that come during it are looked for again.
        self._look_at = now + IDLE_S
        arguments = self._feed, self.sink.name, self._holder, PAGE_EVENTS
        try:
            work: Work | None = self._call(take_work, *arguments, window.read_to, window.due)
        except FeedGone as gone:
            self._start_over()
            self._pass_gap(gone)
            return
        if work is None:
            return
        self._say_that_enabled()
        window.add(work, now + FRESH_S)
        if PAGE_EVENTS in (len(work.due), len(work.fresh)):
            self._look_at = 0.0

    def _start_some(self) -> None:
        """Start what the window, the rate and the receiver's state allow."""
        sink, window = self.sink, self._window
        while window.todo and self._has_room():
            if not sink.wants(window.todo[0].event):
                window.end(window.start(), None)
                continue
            if (slot := self._slot(sink)) > monotonic():
                break
            event = self._event_as_it_is()
            if not sink.wants(event):
                window.end(window.start(), None)
                continue
            if sink.rate is not None:
                self._next_slot = slot + sink.rate.per_s / sink.rate.requests
            # Before it counts as under way: one that does not begin, as where no thread can, would never end.
            self._pool.submit(self._attempt, sink, window.todo[0], event)
            window.start()

    def _has_room(self) -> bool:
        """Say whether an attempt of the first event that waits may begin beside those under way."""
        lead = self._window.todo[0].event.lead
        most = LONG_AT_ONCE if lead is not None and lead.may_be_cut else AT_ONCE
        if self._pauses:
            most = FAILURES_IN_A_ROW if self._pauses < DOUBTFUL_FAILURES else 1
        return len(self._window.under_way) < most

    def _slot(self, sink: Sink) -> float:
        """Return when the rate allows an attempt."""
        now = monotonic()
        if sink.rate is None:
            return now
        # The rate may have been raised meanwhile.
        return min(max(self._next_slot, now), now + sink.rate.per_s / sink.rate.requests)

    def _event_as_it_is(self) -> FeedEvent:
        """Return the first event that waits, with its lead as it is now."""
        todo, now = self._window.todo, monotonic()
        if now > todo[0].fresh_until:
            places = list(islice(todo, READ_AGAIN_EVENTS))
            events = self._call(read_again, [place.event for place in places])
            for place, event in zip(places, events, strict=True):
                place.event, place.fresh_until = event, now + FRESH_S
        event = todo[0].event
        if event.lead is not None and event.lead.may_be_cut:
            # Whole only now: a page of whole leads has no bound.
            whole: FeedEvent = self._call(with_whole_lead, event)
            return whole
        return event

    def _attempt(self, sink: Sink, place: Place, event: FeedEvent) -> None:
        self._inbox.put((place, deliver(sink, event, self._connections)))

    def _judge(self, place: Place, attempt: Attempt) -> None:
        """Leave the receiver alone for a while if attempt after attempt fails."""
        if attempt.is_success or attempt.is_partial:
            self._failed_in_a_row = self._pauses = 0
            self._asked_s = 0.0
            if place is self._asked_for:
                self._paused_until = self._look_at = 0.0
            return
        if place.started_at < self._paused_at:
            return
        self._failed_in_a_row += 1
        self._asked_s = max(self._asked_s, attempt.retry_after_s or 0.0)
        if self._failed_in_a_row < FAILURES_IN_A_ROW and self._window.under_way and not attempt.is_final:
            return
        pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._pauses, 10))
        self._pause(max(pause_s, min(self._asked_s, MAX_RETRY_AFTER_S)))
        self._paused_at = monotonic()
        self._pauses += 1
        self._failed_in_a_row, self._asked_s = 0, 0.0
        text = "a sink's receiver does not take what it is sent"
        extra = {"sink": self.sink.name, "status": attempt.status, "repeat_key": f"{text} {self.sink.name}"}
        logger.warning(text, extra={"action": "deliver", **extra})

    def _keep_done(self) -> None:
        """Keep results where they are many, have waited, or nothing is under way."""
        window = self._window
        done_at = window.oldest_done_at
        is_due = done_at is not None and (
            not window.under_way or window.done >= RECORD_EVENTS or monotonic() >= done_at + RECORD_S
        )
        if not is_due and (len(window) or window.read_to - self._kept_cursor < UNKEPT_EVENTS):
            return
        results, cursor = window.take_done()
        try:
            kept: Record = self._call(record, self.sink.name, self._holder, results, cursor)
        except LeadcrmError:
            # Perhaps it was kept: only the cursor in the database tells.
            self._start_over()
            raise
        self._kept_cursor, self._last_at = cursor, kept.last_at
        for outcome, number in kept.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number
        if kept.disabled and not self._is_disabled:
            self._is_disabled = True
            logger.error(
                "a sink is disabled: %s",
                kept.disabled,
                extra={"action": "deliver", "sink": self.sink.name, "hint": f"leadcrm sinks test {self.sink.name}"},
            )
            self._start_over()

    def _say_that_enabled(self) -> None:
        if self._is_disabled:
            self._is_disabled = False
            self._pauses = 0
            logger.info("a sink is enabled again", extra={"action": "deliver", "sink": self.sink.name})
