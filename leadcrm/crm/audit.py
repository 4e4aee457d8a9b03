"""The audit trail: who read, exported, changed, replayed or erased what, and who let whom in.

Invariants:
- No entry quotes a lead: it names the lead's id, columns and filters, but no value that could be a person's. So the
  trail stays as it is when a lead is erased.
- What changes the database is recorded in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import desc, select
from uuid_utils import uuid7

from leadcrm.crm.times import now
from leadcrm.database.clock import earlier_time
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session

PRUNE_ROWS = 1_000
"""Entries of one transaction: on SQLite leads wait meanwhile."""

ROWS_AT_ONCE = 100
"""Entries of one statement: old versions of SQLite take 999 values."""

LONGEST_VALUE = 100
"""The characters of a filter's value that an entry keeps."""

MAX_NAMES = 30
"""The parameters of a filter that an entry keeps."""

PERSONAL = frozenset(("q", "email", "phone", "id", "contains"))
"""The parameters of a filter whose values may be a person's: an entry says only that they were there."""

NOTHING: Mapping[str, Any] = MappingProxyType({})

HIDDEN = "\u2026"

_MAX_CLOCK_DIFFERENCE_S = 300
"""Between the two readings of the clock for an entry's id and for its time. They are microseconds apart."""


class Via(str, Enum):
    """How an actor is known."""

    TOKEN = "token"  # noqa: S105
    ADMIN_TOKEN = "ADMIN_TOKEN"  # noqa: S105
    COMMAND = "command"


class Action(str, Enum):
    """What an entry tells of."""

    READ = "read"
    LIST = "list"
    READ_RAW = "read-raw"
    LIST_RAW = "list-raw"
    FEED = "feed"
    EXPORT = "export"
    CHANGE = "change"
    NOTE = "note"
    REPLAY = "replay"
    CORRECT = "correct"
    ARCHIVE = "archive"
    BRING_BACK = "bring-back"
    PERSON = "person"
    ERASE = "erase"
    PRUNE = "prune"
    RETRY = "retry"
    DROP = "drop"
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    TOKEN_ADD = "token-add"  # noqa: S105
    TOKEN_REVOKE = "token-revoke"  # noqa: S105
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something.

    Attributes:
        identity: The name of the token or of the machine's user; with ADMIN_TOKEN what `X-Actor` says.
        via: How that is known.
        claimed: Whom they say to act for, in `X-Actor` beside a token or in `--actor` of a command.
    """

    identity: str
    via: Via
    claimed: str | None = None

    @property
    def name(self) -> str:
        """Return the name for histories and assignments: only a command may act in the name of others."""
        return self.claimed if self.claimed and self.via is Via.COMMAND else self.identity

    @property
    def beside(self) -> str | None:
        """Return what histories keep beside the name."""
        return None if self.via is Via.COMMAND else self.claimed


class Entry(NamedTuple):
    """One row of `leads_audit`; `at` is naive UTC."""

    id: UUID
    at: datetime
    actor: str
    via: str
    claimed: str | None
    action: str
    lead_id: UUID | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries to read; an empty part narrows nothing. Times are naive UTC, and `until` is excluded."""

    actor: str | None = None
    action: str | None = None
    lead_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


def make_entry(actor: Actor, action: Action, lead_id: UUID | None = None, detail: Mapping[str, Any] = NOTHING) -> Entry:
    """Return an entry of now."""
    id = UUID(str(uuid7()))
    return Entry(id, now(), actor.identity, actor.via.value, actor.claimed, action.value, lead_id, dict(detail))


def record(
    entities: Entities,
    actor: Actor,
    action: Action,
    lead_id: UUID | None = None,
    detail: Mapping[str, Any] = NOTHING,
) -> None:
    """Record what somebody does, in the session that the caller holds for it; durable when that ends.

    Args:
        entities: The bound database.
        actor: Who does it.
        action: What is done.
        lead_id: The lead or request that it is done to, if it is one.
        detail: What else an auditor should know, as JSON has it; never a value of a lead.
    """
    record_entries(entities, [make_entry(actor, action, lead_id, detail)])


def record_entries(entities: Entities, entries: Sequence[Entry]) -> None:
    """Record entries that were made before, in the session that the caller holds; those that are there stay."""
    database = entities.database
    is_sqlite = database.provider.dialect == "SQLite"
    row = f"({', '.join(['?' if is_sqlite else '%s'] * len(Entry._fields))})"
    table = database.provider.quote_name(entities.audit_entry._table_)
    insert = f"INSERT INTO {table if is_sqlite else table.replace('%', '%%')} ({', '.join(Entry._fields)}) VALUES "  # noqa: S608 - ours
    # Past Pony, which takes a statement for each: an entry for every lead of a change of a thousand.
    for start in range(0, len(entries), ROWS_AT_ONCE):
        some = entries[start : start + ROWS_AT_ONCE]
        values = [value for entry in some for value in _as_columns(entry, is_sqlite=is_sqlite)]
        statement = f"{insert}{', '.join([row] * len(some))} ON CONFLICT (id) DO NOTHING"
        database.get_connection().cursor().execute(statement, values)


def _as_columns(entry: Entry, *, is_sqlite: bool) -> Iterator[object]:
    """Yield an entry's values as the driver takes them, and as Pony writes them."""
    for value in entry:
        if isinstance(value, UUID):
            yield value.bytes if is_sqlite else str(value)
        elif isinstance(value, datetime):
            yield value.isoformat(" ", "microseconds") if is_sqlite else value
        elif isinstance(value, Mapping):
            yield json.dumps(dict(value))
        else:
            yield value


def describe_filter(pairs: Mapping[str, list[str]]) -> dict[str, list[str] | str]:
    """Return a filter's parameters as an entry keeps them."""
    return {
        name: HIDDEN if name in PERSONAL else [value[:LONGEST_VALUE] for value in values[:MAX_NAMES]]
        for name, values in list(pairs.items())[:MAX_NAMES]
    }


def list_entries(
    entities: Entities, narrowing: AuditFilter, *, limit: int, before: UUID | None = None
) -> tuple[list[Entry], UUID | None]:
    """Return a page of entries, newest first, and the id before which the next page begins; None after the last.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    query = select(
        (entry.id, entry.at, entry.actor, entry.via, entry.claimed, entry.action, entry.lead_id, entry.detail)
        for entry in entities.audit_entry
    ).without_distinct()
    query = _narrow(query, narrowing)
    if before is not None:
        query = query.where(lambda entry: entry.id < before)
    with session(entities):
        entries = [Entry._make(row) for row in query.order_by(desc(1))[: limit + 1]]
    page = entries[:limit]
    return page, page[-1].id if len(entries) > limit else None


def _narrow(query: Any, narrowing: AuditFilter) -> Any:
    actor, action, lead_id = narrowing.actor, narrowing.action, narrowing.lead_id
    since, until = narrowing.since, narrowing.until
    if actor is not None:
        query = query.where(lambda entry: entry.actor == actor)
    if action is not None:
        query = query.where(lambda entry: entry.action == action)
    if lead_id is not None:
        query = query.where(lambda entry: entry.lead_id == lead_id)
    if since is not None:
        # Ids begin with the time and are indexed: they narrow the rows, the times select them.
        low = _lowest_id(since, -_MAX_CLOCK_DIFFERENCE_S)
        query = query.where(lambda entry: entry.id >= low and entry.at >= since)
    if until is not None:
        high = _lowest_id(until, _MAX_CLOCK_DIFFERENCE_S)
        query = query.where(lambda entry: entry.id < high and entry.at < until)
    return query


def prune_entries(
    entities: Entities, *, days: int, at: datetime | None = None, is_stopping: Callable[[], bool] = lambda: False
) -> int:
    """Delete the entries that are older than so many days, and return how many were deleted.

    Args:
        entities: The bound database.
        days: How old they are.
        at: As of when; None for the earlier of the node's and the database's time.
        is_stopping: Asked before each transaction.

    Raises:
        StoreUnavailable: The database cannot be changed now.
    """
    before = _lowest_id((at or earlier_time(entities)) - timedelta(days=days))
    entry_entity = entities.audit_entry
    pruned = 0
    while not is_stopping():
        with session(entities, writes=True):
            old = select(entry.id for entry in entry_entity if entry.id < before).without_distinct()
            ids = list(old.order_by(1)[:PRUNE_ROWS])
            if ids:
                last = ids[-1]
                select(entry for entry in entry_entity if entry.id <= last).delete(bulk=True)
        pruned += len(ids)
        if len(ids) < PRUNE_ROWS:
            break
    return pruned


def _lowest_id(at: datetime, offset_s: int = 0) -> UUID:
    """Return the lowest id of a time, moved by an offset."""
    seconds = at.replace(tzinfo=timezone.utc).timestamp() + offset_s
    return UUID(int=max(0, round(seconds * 1000)) << 80)


def entry_document(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON has it."""
    return {
        "id": entry.id,
        "at": entry.at,
        "actor": entry.actor,
        "via": entry.via,
        "claimed": entry.claimed,
        "action": entry.action,
        "leadId": entry.lead_id,
        "detail": entry.detail,
    }
