"""What a worker records in the audit trail of what is read, and when tokens were used last.

Entries gather for a second and are written together, so that nobody waits for them: a worker that is killed may lose
those of its last second. An export begins once its entry is stored. Changes are recorded in their own transactions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any
from uuid import UUID

import orjson

from leadcrm.crm.audit import NOTHING, Action, Actor, Entry, make_entry, prune_entries, record_entries
from leadcrm.crm.times import now
from leadcrm.crm.tokens import USED_INTERVAL, Token, note_uses
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.errors import StoreError, SubmissionRefused
from leadcrm.web.crm.readers import Readers

GATHER_S = 1.0

SAME_S = 3600.0
"""The same reading of the same actor again within this time is one entry: a studio polls."""

MAX_REMEMBERED = 4_096

MAX_LISTS = 200
"""Different lists of an actor within `SAME_S`; what goes beyond is one entry, so that no client fills the disk."""

MAX_WAITING = 10_000
"""Entries that wait while the database is away: some megabytes. Nothing can be read meanwhile either."""

PRUNE_INTERVAL_S = 3600.0

STOP_TIMEOUT_S = 2.0

logger = logging.getLogger("leadcrm.web.crm")


class Trail:
    """For the event loop alone; the readers' threads write."""

    def __init__(self, readers: Readers, audit_days: int) -> None:
        """Set the threads that write, and for how many days entries are kept."""
        self._readers = readers
        self._audit_days = audit_days
        self._waiting: list[Entry] = []
        self._recorded: OrderedDict[object, float] = OrderedDict()
        self._lists: Counter[str] = Counter()
        self._lists_until = 0.0
        self._uses: dict[UUID, float] = {}
        self._used: set[UUID] = set()
        self._prune_at = 0.0
        self._writing: asyncio.Task[None] | None = None

    def note_use(self, token: Token) -> None:
        """Remember that a token was used."""
        if monotonic() < self._uses.get(token.id, 0.0):
            return
        if len(self._uses) >= MAX_REMEMBERED:
            self._uses.clear()
        self._uses[token.id] = monotonic() + USED_INTERVAL.total_seconds()
        self._used.add(token.id)
        self._write_soon()

    def note(
        self, actor: Actor, action: Action, lead_id: UUID | None = None, detail: Mapping[str, Any] = NOTHING
    ) -> None:
        """Record a reading soon, unless the same was recorded lately."""
        if len(self._waiting) >= MAX_WAITING:
            # Not remembered: what is read again once there is room is recorded then.
            text = "the audit trail cannot be written: entries are lost"
            logger.error(text, extra={"action": "audit", "repeat_key": text})
            return
        if self._is_known(actor, action, lead_id, detail):
            return
        if detail and self._has_many(actor):
            detail = {"many": True}
            if self._is_known(actor, action, lead_id, detail):
                return
        self._waiting.append(make_entry(actor, action, lead_id, detail))
        self._write_soon()

    async def record(self, actor: Actor, action: Action, detail: Mapping[str, Any]) -> None:
        """Record something; durable on return.

        Raises:
            TooBusy: Too many jobs wait already.
            StoreUnavailable: The database cannot be changed.
            SubmissionRefused: It does not take the entry.
        """
        entry = make_entry(actor, action, detail=detail)
        await self._readers.run(lambda entities: _record_one(entities, entry))

    async def close(self) -> None:
        """Write what waits, if that can be done at once."""
        if self._writing is not None:
            self._writing.cancel()
        with suppress(asyncio.TimeoutError, StoreError):
            await asyncio.wait_for(self._write(), STOP_TIMEOUT_S)

    def _is_known(self, actor: Actor, action: Action, lead_id: UUID | None, detail: Mapping[str, Any]) -> bool:
        """Say whether a reading was recorded lately, and remember it."""
        # Whom they say to act for makes no other reading: else a client could fill the disk with it.
        key = (actor.identity, actor.via, action, lead_id, orjson.dumps(dict(detail)))
        if monotonic() < self._recorded.get(key, 0.0):
            return True
        self._recorded[key] = monotonic() + SAME_S
        self._recorded.move_to_end(key)
        if len(self._recorded) > MAX_REMEMBERED:
            self._recorded.popitem(last=False)
        return False

    def _has_many(self, actor: Actor) -> bool:
        """Count one more list of an actor, and say whether they are too many."""
        if monotonic() > self._lists_until or len(self._lists) > MAX_REMEMBERED:
            self._lists.clear()
            self._lists_until = monotonic() + SAME_S
        self._lists[actor.identity] += 1
        return self._lists[actor.identity] > MAX_LISTS

    def _write_soon(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_gathered())

    async def _write_gathered(self) -> None:
        while self._waiting or self._used:
            await asyncio.sleep(GATHER_S)
            try:
                await self._write()
                await self._prune_now_and_then()
            except StoreError as error:
                text = "the audit trail cannot be written: %s"
                logger.warning(text, error, extra={"action": "audit", "hint": error.hint, "repeat_key": text})
            except Exception:
                text = "the audit trail cannot be written"
                logger.exception(text, extra={"action": "audit", "repeat_key": text})

    async def _write(self) -> None:
        entries, used = self._waiting[:], set(self._used)
        if not entries and not used:
            return
        await self._readers.run(lambda entities: _write(entities, entries, used))
        # Written only now: what could not be written waits on.
        del self._waiting[: len(entries)]
        self._used -= used

    async def _prune_now_and_then(self) -> None:
        if monotonic() < self._prune_at:
            return
        self._prune_at = monotonic() + PRUNE_INTERVAL_S
        try:
            await self._readers.run(lambda entities: prune_entries(entities, days=self._audit_days))
        except StoreError as error:
            text = "old entries of the audit trail cannot be deleted: %s"
            logger.warning(text, error, extra={"action": "audit", "hint": error.hint, "repeat_key": text})


def _write(entities: Entities, entries: list[Entry], used: set[UUID]) -> None:
    try:
        with session(entities, writes=True):
            record_entries(entities, entries)
            note_uses(entities, used, now())
    except SubmissionRefused:
        _record_each(entities, entries)
        with session(entities, writes=True):
            note_uses(entities, used, now())


def _record_each(entities: Entities, entries: list[Entry]) -> None:
    """Record the entries that the database takes: none must keep the others waiting."""
    if len(entries) == 1:
        try:
            _record_one(entities, entries[0])
        except SubmissionRefused as refusal:
            text = "the database refuses an entry of the audit trail: %s"
            logger.warning(text, refusal, extra={"action": "audit", "repeat_key": text})
        return
    try:
        with session(entities, writes=True):
            record_entries(entities, entries)
    except SubmissionRefused:
        middle = len(entries) // 2
        _record_each(entities, entries[:middle])
        _record_each(entities, entries[middle:])


def _record_one(entities: Entities, entry: Entry) -> None:
    try:
        with session(entities, writes=True):
            record_entries(entities, [entry])
    except SubmissionRefused:
        # Of a name with a letter that the database's encoding lacks.
        plain = entry._replace(actor=_in_ascii(entry.actor), claimed=entry.claimed and _in_ascii(entry.claimed))
        with session(entities, writes=True):
            record_entries(entities, [plain])


def _in_ascii(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode()
