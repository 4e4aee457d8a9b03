"""Verification: the proof, afterwards, that what was acknowledged is what is there.

Goes through every raw row and every lead of one snapshot of the database, in pages, and through the spool. A running
server may go on meanwhile.

May import database, entities, the spool and errors; prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from pony.orm import count, db_session, raw_sql, select, sum

from leadcrm.database.entities import Entities, SpoolEntities
from leadcrm.database.sessions import bind_spool, forget_results, snapshot
from leadcrm.database.states import KEY_HOLDING_STATES
from leadcrm.ingest.spool.file import unsalvaged_files
from leadcrm.ingest.spool.spool import Spool

PAGE_ROWS = 500
PART_BYTES = 16 * 1024 * 1024
"""Rows are read without their bodies; these follow in parts of about this size."""

OUTCOMES = ("created", "repeats", "conflicts", "invalid", "failed", "spooled")

_OUTCOME_OF = {
    "stored": "created",
    "repeat": "repeats",
    "conflict": "conflicts",
    "invalid": "invalid",
    "failed": "failed",
}


class Problem(NamedTuple):
    """One thing that is off: the row's id, or the ledger's day, and what is wrong with it."""

    where: str
    what: str


@dataclass
class Day:
    """One day (UTC) of the ledger: what arrived by the count of each commit, and what is there, by outcome."""

    received: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def adds_up(self) -> bool:
        """Say whether as much is there as arrived."""
        return self.received == self.outcomes.total()


@dataclass
class Verification:
    """What was found: rows looked at, the ledger by day, and every problem."""

    rows: int = 0
    days: dict[date, Day] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def day(self, moment: date) -> Day:
        """Return the ledger's day of a moment."""
        return self.days.setdefault(moment.date() if isinstance(moment, datetime) else moment, Day())


class _Row(NamedTuple):
    id: UUID
    received_at: datetime
    state: str
    body_sha256: bytes
    key_sha256: bytes | None
    duplicate_of: UUID | None
    body_bytes: int


def verify(
    entities: Entities, spool: Spool | None, on_progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Verification:
    """Look at everything. `on_progress` hears how many of how many raw rows are done.

    For entities that only this thread uses. Raises `StoreUnavailable`, `SpoolUnavailable`.
    """
    found = Verification()
    # First the spool: a row that is drained meanwhile is then seen in both places, never in neither.
    spooled = _look_at_spool(spool, found)
    with snapshot(entities):
        in_all = select(row for row in entities.raw_lead).count()
        for rows in _pages(entities):
            _look_at_rows(entities, rows, spooled, found)
            found.rows += len(rows)
            on_progress(found.rows, in_all)
            forget_results(entities)
        _look_for_orphans(entities, found)
        _look_for_doubled_keys(entities, found)
        _look_at_ledger(entities, found)
    for row in spooled.values():
        # Not in the ledger yet: it counts with the commit that drains it.
        found.day(row.received_at).received += 1
        found.day(row.received_at).outcomes["spooled"] += 1
    found.days = dict(sorted(found.days.items()))
    for day, entry in found.days.items():
        if not entry.adds_up:
            there = entry.outcomes.total()
            kind = "missing" if there < entry.received else "more than were counted"
            found.problems.append(Problem(str(day), f"{entry.received} rows were received, {there} are there: {kind}"))
    return found


def _pages(entities: SpoolEntities) -> Iterator[list[_Row]]:
    raw_lead = entities.raw_lead
    after = UUID(int=0)
    while True:
        with db_session:
            page = select(
                (r.id, r.received_at, r.state, r.body_sha256, r.key_sha256, r.duplicate_of, raw_sql("length(r.body)"))
                for r in raw_lead
                if r.id > after
            ).order_by(1)[:PAGE_ROWS]
            rows = [_Row._make((*values[:-1], values[-1] or 0)) for values in page]
        if not rows:
            return
        yield rows
        after = rows[-1].id


def _look_at_rows(entities: Entities, rows: list[_Row], spooled: dict[UUID, _Row], found: Verification) -> None:
    first, last = rows[0].id, rows[-1].id
    lead = entities.lead
    leads = set(select(one.raw.id for one in lead if one.raw.id >= first and one.raw.id <= last))
    firsts = _firsts_of(entities, rows)
    for row in rows:
        found.day(row.received_at).outcomes[_OUTCOME_OF[row.state]] += 1
        # It may be seen in both places while it is drained; the database counts.
        spooled.pop(row.id, None)
        problems = [*_lead_problems(row, row.id in leads), *_duplicate_problems(row, firsts, spooled)]
        found.problems.extend(Problem(str(row.id), what) for what in problems)
    _look_at_bodies(entities, rows, found)


def _look_at_bodies(entities: SpoolEntities, rows: list[_Row], found: Verification) -> None:
    raw_lead = entities.raw_lead
    by_id = {row.id: row for row in rows}
    for part in _parts(rows):
        first, last = part[0].id, part[-1].id
        for id, body in select((r.id, r.body) for r in raw_lead if r.id >= first and r.id <= last):
            row = by_id[id]
            if body is None and row.state != "repeat":
                found.problems.append(Problem(str(id), f"a {row.state} row without its body"))
            elif body is not None and (not isinstance(body, bytes) or sha256(body).digest() != row.body_sha256):
                found.problems.append(Problem(str(id), "its body does not match its hash"))
        forget_results(entities)


def _parts(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Cut a page where its bodies would be too much to hold at once."""
    part: list[_Row] = []
    size = 0
    for row in rows:
        if part and size + row.body_bytes > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += row.body_bytes
    yield part


def _lead_problems(row: _Row, has_lead: bool) -> Iterator[str]:
    if row.state == "stored" and not has_lead:
        yield "a stored row without its lead"
    elif row.state != "stored" and has_lead:
        yield f"a lead of a row that is {row.state}"


def _firsts_of(entities: Entities, rows: list[_Row]) -> dict[UUID, tuple[bytes, bytes | None]]:
    """Return body hash and key hash of every row that the page's duplicates point at."""
    raw_lead = entities.raw_lead
    ids = list({row.duplicate_of for row in rows if row.duplicate_of})
    if not ids:
        return {}
    found = select((r.id, r.body_sha256, r.key_sha256) for r in raw_lead if r.id in ids)
    return {id: (body_sha256, key_sha256) for id, body_sha256, key_sha256 in found}


def _duplicate_problems(
    row: _Row, firsts: dict[UUID, tuple[bytes, bytes | None]], spooled: dict[UUID, _Row]
) -> Iterator[str]:
    if row.state not in ("repeat", "conflict"):
        if row.duplicate_of is not None:
            yield f"a {row.state} row that points at another"
        return
    if row.duplicate_of is None:
        yield f"a {row.state} that points at no first row"
        return
    waiting = spooled.get(row.duplicate_of)
    first = firsts.get(row.duplicate_of) or (waiting and (waiting.body_sha256, waiting.key_sha256))
    if first is None:
        yield f"a {row.state} whose first row {row.duplicate_of} is gone"
    elif row.key_sha256 != first[1]:
        yield f"a {row.state} of {row.duplicate_of}, which has another key"
    elif row.state == "repeat" and row.body_sha256 != first[0]:
        yield f"a repeat of {row.duplicate_of}, whose bytes differ"


def _look_for_orphans(entities: Entities, found: Verification) -> None:
    lead, raw_lead = entities.lead, entities.raw_lead
    after = UUID(int=0)
    while page := select(one.raw.id for one in lead if one.raw.id > after).order_by(1)[:PAGE_ROWS]:
        first, after = page[0], page[-1]
        raws = set(select(row.id for row in raw_lead if row.id >= first and row.id <= after))
        found.problems.extend(Problem(str(id), "a lead without its raw row") for id in page if id not in raws)
        forget_results(entities)


def _look_for_doubled_keys(entities: Entities, found: Verification) -> None:
    """The index forbids them; an index can be dropped or damaged."""
    raw_lead = entities.raw_lead
    holders = select(
        (row.key_sha256, count(row.id))
        for row in raw_lead
        if row.key_sha256 is not None and row.state in KEY_HOLDING_STATES and count(row.id) > 1
    )
    for key_sha256, leads in holders:
        found.problems.append(Problem(key_sha256.hex(), f"one key (its SHA-256) with {leads} leads"))


def _look_at_ledger(entities: Entities, found: Verification) -> None:
    ledger_entry = entities.ledger_entry
    for day, received in select((entry.day, sum(entry.received)) for entry in ledger_entry):
        found.day(day).received += received


def _look_at_spool(spool: Spool | None, found: Verification) -> dict[UUID, _Row]:
    """Return what waits in the spool, by id, and look at its bodies."""
    spooled: dict[UUID, _Row] = {}
    if spool is None or not spool.path.exists():
        return spooled
    for path in unsalvaged_files(spool.data_dir):
        found.problems.append(
            Problem(str(path), "a damaged spool whose rows are not salvaged yet: leadcrm spool drain")
        )
    entities = bind_spool(spool.path)
    try:
        for page in _pages(entities):
            with db_session:
                _look_at_bodies(entities, page, found)
            spooled.update((row.id, row) for row in page)
    finally:
        entities.database.disconnect()
    return spooled
