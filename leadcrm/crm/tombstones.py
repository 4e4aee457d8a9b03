"""Tombstones: what is left of a raw row whose content was erased.

A tombstone keeps id, time, method, path, key hash and body hash, state, source, mapping version, node and links; its
error says when it was erased and by whom. So a key goes on to be answered as before, every id that was answered leads
somewhere, and every count adds up. Body, headers, query, address, request id and the key's text are gone, and so are
the lead, its history and what waits to be delivered of it.

Invariants:
- A row becomes a tombstone in the transaction that deletes its lead and writes `lead.erased` into the feed: whoever
  runs into a kill half-way runs again.
- Nothing brings a tombstone's content back: drain, replay and renormalize find its id and leave it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple
from uuid import UUID

from leadcrm.crm.events import NOTE
from leadcrm.database.entities import Entities, SpoolEntities, quoted_table
from leadcrm.database.sessions import session
from leadcrm.errors import StoreUnavailable
from leadcrm.ingest.submission import ERASED

ERASED_AT_ONCE = 200
"""Rows of one transaction, some milliseconds: on SQLite leads wait meanwhile."""

_ATTEMPTS = 5

_DEADLOCK = "40P01"

_WIPE = """UPDATE {table} SET request_id = '', idempotency_key = NULL, target = {path}, remote_addr = '',
    content_type = NULL, headers = '{{}}', body = NULL, error = $trace WHERE id IN ({ids})"""

_NOTE_DROPPED = """INSERT INTO {delivered} (seq, sink, lead_id, type, outcome, at)
    SELECT seq, sink, lead_id, type, 'dropped', {now} FROM {delivery} WHERE lead_id IN ({ids})
    ON CONFLICT (seq, sink) DO UPDATE SET outcome = excluded.outcome, at = excluded.at"""

_PATHS = {
    "SQLite": "substr(target, 1, instr(target || '?', '?') - 1)",
    "PostgreSQL": "split_part(target, '?', 1)",
}
_DAYS = {
    "SQLite": "substr(received_at, 1, 10)",
    "PostgreSQL": "CAST(CAST(received_at AS date) AS text)",
}
_NOW = {
    "SQLite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "PostgreSQL": "now() AT TIME ZONE 'utc'",
}


class Counts(NamedTuple):
    """What was erased.

    Attributes:
        rows: Raw rows, which are tombstones now.
        leads: Of these, those that had a lead.
        notes: Notes of the leads.
        changes: Other entries of their histories.
        deliveries: Events of them that were still to be delivered.
    """

    rows: int = 0
    leads: int = 0
    notes: int = 0
    changes: int = 0
    deliveries: int = 0

    def plus(self, other: Counts) -> Counts:
        """Return the sums."""
        return Counts(*(one + two for one, two in zip(self, other, strict=True)))


def trace_of(actor: str) -> str:
    """Return the error of the rows that somebody erases now."""
    return f"{ERASED}{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ} by {actor}"


def erase_rows(entities: Entities, ids: Iterable[UUID], trace: str, *, at_once: int = ERASED_AT_ONCE) -> Counts:
    """Make tombstones of the database's rows with these ids, in parts. Each part is durable before the next begins.

    Unknown ids and tombstones are passed by.

    Raises:
        StoreUnavailable: The database cannot be changed now; run it again.
    """
    counts = Counts()
    left = sorted(set(ids))
    while left:
        part, left = left[:at_once], left[at_once:]
        counts = counts.plus(_erase_part(entities, part, trace))
    return counts


def wipe_spooled(entities: SpoolEntities, ids: Sequence[UUID], trace: str) -> None:
    """Make tombstones of rows of the spool, which the drain moves to the database as such. Durable on return."""
    for start in range(0, len(ids), ERASED_AT_ONCE):
        with session(entities, writes=True):
            _wipe(entities, ids[start : start + ERASED_AT_ONCE], trace)


def body_sizes(entities: Entities, ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return how long the bodies of rows are, of those that have one. The caller holds the session."""
    sql = f"id, length(body) FROM {quoted_table(entities.raw_lead)} WHERE id IN ({literals(entities, ids)})"
    return {_uuid(id): size for id, size in entities.database.select(sql) if size is not None}


def forget_answers(entities: Entities) -> None:
    """Forget what receivers answered last, which may quote a lead; that they did, and with which status, stays."""
    with session(entities, writes=True):
        for sink in entities.sink.select().order_by(entities.sink.name).for_update():
            if sink.last_answer and sink.last_answer[:4].strip() != sink.last_answer:
                sink.last_answer = sink.last_answer[:3] if sink.last_answer[:3].isdecimal() else None


def _erase_part(entities: Entities, ids: Sequence[UUID], trace: str) -> Counts:
    for attempt in range(_ATTEMPTS):
        try:
            with session(entities, writes=True):
                return _erase(entities, ids, trace)
        except StoreUnavailable as error:
            # An earlier version, on another node, that drops deliveries locks them before their sink.
            if error.sqlstate != _DEADLOCK or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


def _erase(entities: Entities, ids: Sequence[UUID], trace: str) -> Counts:
    # Before the rows, in the order of all who lock several sinks: what a courier keeps meanwhile is then seen here.
    sinks = list(entities.sink.select().order_by(entities.sink.name).for_update())
    ids = _lock_unerased(entities, ids)
    if not ids:
        return Counts()
    leads = _select_ids(entities, entities.lead, f"id IN ({literals(entities, ids)})")
    deliveries = _drop_deliveries(entities, sinks, ids)
    notes = _delete(entities, entities.lead_event, "lead_id", ids, "AND field = $note", note=NOTE)
    changes = _delete(entities, entities.lead_event, "lead_id", ids)
    _forget_counts(entities, leads)
    _delete(entities, entities.lead, "id", ids)
    _wipe(entities, ids, trace)
    if leads:
        # Last: the feed waits for whoever writes into it.
        values = ", ".join(f"('erased', {literals(entities, [id])})" for id in leads)
        entities.database.execute(f"INSERT INTO {quoted_table(entities.feed_event)} (type, lead_id) VALUES {values}")  # noqa: S608 - names and ids
    return Counts(len(ids), len(leads), notes, changes, deliveries)


def _forget_counts(entities: Entities, leads: Sequence[UUID]) -> None:
    """Delete what is kept of the leads' days: what leads are counted by may be what is erased."""
    if not leads:
        return
    day = _DAYS[entities.database.provider.dialect]
    condition = f"id IN ({literals(entities, leads)})"
    days = entities.database.select(f"DISTINCT {day} FROM {quoted_table(entities.raw_lead)} WHERE {condition}")
    for text in sorted(days):
        entities.database.execute(f"DELETE FROM {quoted_table(entities.counted_day)} WHERE day = '{text}'")  # noqa: S608 - names and a date


def _drop_deliveries(entities: Entities, sinks: Sequence[Any], ids: Sequence[UUID]) -> int:
    """Drop what waits to be delivered, as people do, and return how many events that were."""
    entities.database.execute(
        _NOTE_DROPPED.format(
            delivered=quoted_table(entities.delivered),
            delivery=quoted_table(entities.delivery),
            now=_NOW[entities.database.provider.dialect],
            ids=literals(entities, ids),
        )
    )
    deliveries = 0
    for sink in sinks:
        dropped = _delete(entities, entities.delivery, "lead_id", ids, "AND sink = $sink", sink=sink.name)
        if dropped:
            sink.dropped += dropped
            deliveries += dropped
    return deliveries


def _lock_unerased(entities: Entities, ids: Sequence[UUID]) -> list[UUID]:
    """Lock the rows, without reading their bodies, and return the ids of those that are no tombstones."""
    lock = "" if entities.database.provider.dialect == "SQLite" else "FOR UPDATE"
    condition = f"id IN ({literals(entities, ids)}) AND (error IS NULL OR error NOT LIKE '{ERASED}%')"
    return _select_ids(entities, entities.raw_lead, f"{condition} ORDER BY id {lock}")


def _select_ids(entities: Entities, entity: Any, condition: str) -> list[UUID]:
    found = entities.database.select(f"id FROM {quoted_table(entity)} WHERE {condition}")
    return [_uuid(id) for id in found]


def _uuid(id: Any) -> UUID:
    return UUID(bytes=bytes(id)) if isinstance(id, (bytes, memoryview)) else UUID(str(id))


def _delete(entities: Entities, entity: Any, column: str, ids: Sequence[UUID], more: str = "", **values: str) -> int:
    sql = f"DELETE FROM {quoted_table(entity)} WHERE {column} IN ({literals(entities, ids)}) {more}"  # noqa: S608 - names and ids
    return int(entities.database.execute(sql, values, {}).rowcount)


def _wipe(entities: SpoolEntities, ids: Sequence[UUID], trace: str) -> None:
    sql = _WIPE.format(
        table=quoted_table(entities.raw_lead),
        path=_PATHS[entities.database.provider.dialect],
        ids=literals(entities, ids),
    )
    entities.database.execute(sql, {"trace": trace}, {})


def literals(entities: SpoolEntities, ids: Iterable[UUID]) -> str:
    """Return ids as SQL. Hundreds of values take Pony and the driver longer than the database."""
    if entities.database.provider.dialect == "SQLite":
        return ", ".join(f"x'{id.hex}'" for id in ids)
    return ", ".join(f"'{id}'" for id in ids)
