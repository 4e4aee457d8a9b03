"""What the database knows of sinks: leases, cursors, and the deliveries that have not arrived.

Invariants:
- A cursor passes an event in the transaction that keeps its failure, or that counts it as delivered or skipped. A
  process that dies before delivers again what its last transaction did not count: at least once.
- Only the holder of a sink's lease changes its cursor. Whoever lost it meanwhile keeps nothing of what it did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pony.orm import count, desc, min, raw_sql, select
from uuid_utils.compat import uuid7

from leadcrm.crm.feed import FeedEvent
from leadcrm.database.clock import database_time, now_utc
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.delivery.attempt import MAX_KEPT_BYTES, Attempt, next_attempt
from leadcrm.delivery.whereabouts import DELIVERED, Fact, note
from leadcrm.errors import SubmissionRefused

LEASE_S = 30.0
"""For how long a node that died keeps its sinks; others take them within 45 s."""

GIVE_UP = timedelta(days=5)
"""A sink that has failed for so long is disabled. After as long without an attempt, the count begins anew: the node was
off, or its clock was set forward, which says nothing of the receiver."""

BACKDATED = timedelta(seconds=10)
"""How much earlier than its first reading a sink begins: the clocks of node and database differ."""

MAX_COUNTED = 10_000
"""Events that are counted one by one, which takes some milliseconds."""

WAITING, DEAD = "waiting", "dead"


class LeaseLost(Exception):  # noqa: N818 - named by the condition
    """Another node has the sink now."""


class LeaseShared(Exception):  # noqa: N818 - named by the condition
    """Another process renews leases under the same name: a node's folder was copied together with its name."""


class Result(NamedTuple):
    """What became of an event; `attempt` is None where the sink does not want it."""

    event: FeedEvent
    is_fresh: bool
    attempt: Attempt | None


class Record(NamedTuple):
    """What a transaction has counted.

    Attributes:
        outcomes: How many attempts came to each outcome.
        disabled: Why the sink is disabled now; empty if it is not.
        last_at: When the sink's last answer was kept.
    """

    outcomes: dict[str, int]
    disabled: str
    last_at: datetime | None


class Stranded(NamedTuple):
    """What has not arrived at a sink that no file has any more.

    Attributes:
        deliveries: How many have failed and wait.
        unread_since: The time of the first event that it had not read, naive UTC; None if it had read all.
    """

    deliveries: int
    unread_since: datetime | None

    def __str__(self) -> str:
        told = [f"{self.deliveries} deliveries have not arrived there"] if self.deliveries else []
        if self.unread_since is not None:
            told.append(f"what was stored from {self.unread_since:%Y-%m-%d %H:%M:%S} UTC on was not read for it")
        return " and ".join(told)


class Backlog(NamedTuple):
    """What has not arrived at a sink.

    Attributes:
        oldest: The time of the oldest event that waits, naive UTC; None if none does.
        waiting: Deliveries that failed and are tried again.
        dead: Deliveries that wait for a person.
        disabled: Why the sink is disabled; empty if it is not.
        failing_since: Since when its receiver has taken nothing; None while it takes what it gets.
    """

    oldest: datetime | None
    waiting: int
    dead: int
    disabled: str
    cursor: int
    delivered: int
    holder: str
    last_at: datetime | None
    last_answer: str | None
    failing_since: datetime | None


def hold_leases(
    entities: Entities,
    names: Iterable[str],
    holder: str,
    since: datetime,
    renewed: dict[str, datetime] | None = None,
) -> set[str]:
    """Take or renew the leases of sinks that nobody else holds, and return their names. Durable on return.

    Args:
        entities: The bound database.
        names: The sinks.
        holder: This node.
        since: When this node has read of them: a sink that is new begins there.
        renewed: Up to when the calling process has renewed each; brought up to date.

    Raises:
        LeaseShared: Somebody else renews them under this node's name.
        StoreUnavailable: The database cannot be used now.
        SubmissionRefused: Another node has made the same sink at the same time.
    """
    held = set()
    renewed = {} if renewed is None else renewed
    with session(entities, writes=True):
        now = database_time(entities)
        until = now + timedelta(seconds=LEASE_S)
        # Two nodes that lock in different orders would wait for each other.
        for name in sorted(names):
            row = entities.sink.get_for_update(name=name)
            if row is None:
                start = _number_before(entities, since - BACKDATED)
                counts = dict.fromkeys(("taken", "delivered", "skipped", "dropped"), 0)
                row = entities.sink(
                    name=name, start_seq=start, cursor_seq=start, **counts, holder=holder, lease_until=now
                )
            # Nobody takes it for so long: the clock has been set back since.
            is_free = row.lease_until <= now or row.lease_until > now + timedelta(seconds=2 * LEASE_S)
            if row.holder == holder and row.lease_until > renewed.get(name, row.lease_until):
                raise LeaseShared
            if row.holder == holder or is_free:
                row.set(holder=holder, lease_until=until)
                # Before the commit: one whose answer is lost may have been made.
                renewed[name] = until
                held.add(name)
    return held


def release_leases(entities: Entities, holder: str) -> None:
    """Let other nodes take this node's sinks at once."""
    with session(entities, writes=True):
        now = database_time(entities)
        for row in select(row for row in entities.sink if row.holder == holder).for_update():
            row.lease_until = now


def pass_gap(entities: Entities, name: str, holder: str, oldest: int) -> int | None:
    """Move a sink's cursor to where the feed begins. Durable on return.

    Returns:
        The number after which events were missed; None for a sink that has just begun.

    Raises:
        LeaseLost: Another node has the sink now.
    """
    with session(entities, writes=True):
        row = entities.sink.get_for_update(name=name)
        if row is None or row.holder != holder:
            raise LeaseLost
        if row.cursor_seq == row.start_seq == 0:
            row.set(start_seq=oldest, cursor_seq=oldest)
            return None
        after: int = row.cursor_seq
        if after >= oldest:
            # The feed is behind the sink until its numbers are raised.
            return None
        row.cursor_seq = oldest
        return after


def record(entities: Entities, name: str, holder: str, results: list[Result], cursor: int) -> Record:
    """Keep what became of events, and move the cursor. Durable on return.

    Raises:
        LeaseLost: Another node has the sink now; nothing was kept.
        StoreUnavailable: The database cannot be used now; nothing was kept.
    """
    try:
        return _record(entities, name, holder, results, cursor)
    except SubmissionRefused:
        # Of an answer with a letter that the database's encoding lacks. What arrived must not be sent again for that.
        return _record(entities, name, holder, list(map(_in_ascii, results)), cursor)


def _in_ascii(result: Result) -> Result:
    return result if result.attempt is None else result._replace(attempt=result.attempt.in_ascii())


def _record(entities: Entities, name: str, holder: str, results: list[Result], cursor: int) -> Record:
    outcomes: dict[str, int] = {}
    with session(entities, writes=True):
        sink = entities.sink.get_for_update(name=name)
        if sink is None or sink.holder != holder:
            raise LeaseLost
        now = now_utc()
        results = _without_answers_of_erased(entities, results)
        arrived = []
        for result in results:
            outcome = _keep(entities, sink, result, now)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if outcome == DELIVERED:
                event = result.event
                arrived.append(Fact(event.seq, event.lead_id, event.type))
        note(entities, name, arrived, DELIVERED, now)
        attempts = [result.attempt for result in results if result.attempt is not None]
        if attempts:
            was_tried = sink.last_at is not None and sink.last_at > now - GIVE_UP
            sink.set(last_at=now, last_answer=str(attempts[-1])[:MAX_KEPT_BYTES])
            if any(attempt.is_success or attempt.is_partial for attempt in attempts):
                sink.failing_since = None
            elif sink.failing_since is None or not was_tried:
                sink.failing_since = now
            if any(attempt.is_final for attempt in attempts):
                sink.disabled = "its receiver answered 410: it wants nothing any more"
            elif sink.failing_since is not None and sink.failing_since <= now - GIVE_UP:
                sink.disabled = "its receiver has failed for five days"
        sink.cursor_seq = max(sink.cursor_seq, cursor)
        return Record(outcomes, sink.disabled or "", sink.last_at)


def backlog(entities: Entities, name: str) -> Backlog | None:
    """Return what has not arrived at a sink; None if no node has begun it."""
    with session(entities):
        row = entities.sink.get(name=name)
        if row is None:
            return None
        delivery = entities.delivery
        waiting = count(d for d in delivery if d.sink == name and d.state == WAITING)
        dead = count(d for d in delivery if d.sink == name and d.state == DEAD)
        oldest = min(d.event_at for d in delivery if d.sink == name and d.state == WAITING)
        times = [time for time in (oldest, _first_unread_at(entities, row.cursor_seq)) if time is not None]
        return Backlog(
            sorted(times)[0] if times else None,
            waiting,
            dead,
            row.disabled or "",
            row.cursor_seq,
            row.delivered,
            row.holder,
            row.last_at,
            row.last_answer,
            row.failing_since,
        )


def find_stranded(entities: Entities, names: Collection[str], holder: str) -> dict[str, Stranded]:
    """Return what has not arrived at sinks with other names, unless another node has them."""
    with session(entities):
        now = database_time(entities)
        others = [row for row in entities.sink.select() if row.name not in names]
        gone = {row.name: row for row in others if row.holder == holder or row.lease_until < now}
        if not gone:
            return {}
        delivery, gone_names = entities.delivery, list(gone)
        waiting = dict(select((d.sink, count()) for d in delivery if d.sink in gone_names))
        found = {name: Stranded(waiting.get(name, 0), unread_since(entities, row)) for name, row in gone.items()}
        return {name: stranded for name, stranded in found.items() if stranded != Stranded(0, None)}


def unread_since(entities: Entities, sink: Any) -> datetime | None:
    """Return when the first event was stored that a sink has not read though a node had it; None if there is none.

    What was stored in the lease's last seconds is left out: whoever had it may have been gone. The caller holds the
    session.
    """
    first_at = _first_unread_at(entities, sink.cursor_seq)
    return first_at if first_at is not None and first_at <= had_until(sink) else None


def had_until(sink: Any) -> datetime:
    """Return when a sink's lease was renewed last, naive UTC."""
    until: datetime = sink.lease_until
    return until - timedelta(seconds=LEASE_S)


def count_unread(entities: Entities, cursor: int) -> int:
    """Return how many events a sink has still to read, `MAX_COUNTED` where there are more."""
    with session(entities):
        unread = select(
            raw_sql("1", int) for event in entities.feed_event if event.seq > cursor and event.type != "kept"
        )
        return len(unread.without_distinct()[:MAX_COUNTED])


def enable(entities: Entities, name: str, attempt: Attempt) -> bool:
    """Deliver to a sink whose receiver has taken a test, and say whether it was disabled. Durable on return."""
    try:
        return _enable(entities, name, attempt)
    except SubmissionRefused:
        # As for `record`.
        return _enable(entities, name, attempt.in_ascii())


def _enable(entities: Entities, name: str, attempt: Attempt) -> bool:
    with session(entities, writes=True):
        row = entities.sink.get_for_update(name=name)
        if row is None:
            return False
        was_disabled = row.disabled is not None
        row.set(disabled=None, failing_since=None, last_at=now_utc(), last_answer=str(attempt)[:MAX_KEPT_BYTES])
        return was_disabled


def _without_answers_of_erased(entities: Entities, results: list[Result]) -> list[Result]:
    """Return results without what receivers said of leads that were erased meanwhile: it may quote them."""
    ids = list({result.event.lead_id for result in results if result.event.lead is not None})
    there = set(select(lead.raw.id for lead in entities.lead if lead.raw.id in ids)) if ids else set()
    return [
        result
        if result.attempt is None or result.event.lead is None or result.event.lead_id in there
        else result._replace(attempt=result.attempt._replace(answer=""))
        for result in results
    ]


def _keep(entities: Entities, sink: Any, result: Result, now: datetime) -> str:
    """Keep what became of one event, and return its outcome."""
    event, is_fresh, attempt = result
    row = None if is_fresh else entities.delivery.get(sink=sink.name, seq=event.seq)
    if is_fresh:
        sink.taken += 1
    elif row is None:
        # A person has dropped it meanwhile.
        return "dropped"
    if attempt is None or attempt.is_success:
        outcome = "skipped" if attempt is None else DELIVERED
        setattr(sink, outcome, getattr(sink, outcome) + 1)
        if row is not None:
            row.delete()
        return outcome
    attempts = 1 if row is None else row.attempts + 1
    next_at = now if attempt.is_final else next_attempt(attempts, now, attempt.retry_after_s)
    values = {
        "state": DEAD if next_at is None else WAITING,
        "attempts": attempts,
        "last_at": now,
        "next_at": next_at or now,
        "status": attempt.status,
        "answer": attempt.answer[:MAX_KEPT_BYTES],
    }
    if row is not None:
        row.set(**values)
    else:
        change = event.change and event.change.id
        entities.delivery(
            id=uuid7(), sink=sink.name, seq=event.seq, lead_id=event.lead_id, change_id=change, type=event.type,
            event_at=event.at, **values,
        )  # fmt: skip
    return DEAD if next_at is None else "failed"


def _first_unread_at(entities: Entities, cursor: int) -> datetime | None:
    """Return the time of the first event after a cursor; None if there is none."""
    feed_event = entities.feed_event
    query = select((event.seq, event.at) for event in feed_event if event.seq > cursor and event.type != "kept")
    first: tuple[int, datetime] | None = query.order_by(1).first()
    return None if first is None else first[1]


def _number_before(entities: Entities, moment: datetime) -> int:
    """Return the number of the newest event before a moment; 0 if there is none."""
    query = select((event.seq, event.at) for event in entities.feed_event if event.at < moment)
    newest = query.order_by(desc(1)).first()
    return newest[0] if newest else 0
