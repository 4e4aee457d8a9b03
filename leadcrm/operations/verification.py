"""Verification that every acknowledged request is there, with its bytes, its lead and its places in ledger and feed.

It reads every raw row and every lead of one snapshot of the database, page by page, and the spool. A server may run
meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from pony.orm import count, db_session, raw_sql, select, sum

from leadcrm.database.entities import Entities, SpoolEntities
from leadcrm.database.overwritten import describe_overwriting
from leadcrm.database.sessions import bind_spool, forget_results, snapshot
from leadcrm.database.states import KEY_HOLDING_STATES, TALLIES, State
from leadcrm.ingest.spool.file import unsalvaged_files
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.submission import ERASED
from leadcrm.operations.feed_verification import feed_problems
from leadcrm.operations.sink_verification import sink_problems

PAGE_ROWS = 500
PART_BYTES = 16 * 1024 * 1024
"""Rows are read without their bodies; the bodies follow in parts of about this size."""

OUTCOMES = (*TALLIES, "spooled")
"""The outcomes by which the days of the ledger are counted."""


class Problem(NamedTuple):
    """One thing that is wrong, and where: a row's id, the ledger's day, a key or a file."""

    where: str
    what: str


@dataclass
class Day:
    """One day (UTC) of the ledger: rows received by the count of each commit, and rows found by outcome."""

    received: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def adds_up(self) -> bool:
        """Say whether as many rows were found as were received."""
        return self.received == self.outcomes.total()


@dataclass
class Verification:
    """The result: the number of rows read, the ledger by day, and every problem."""

    rows: int = 0
    days: dict[date, Day] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: int = 0
    """Rows that wait in the spool because the database refuses them."""

    def day(self, moment: date) -> Day:
        """Return the ledger's day of a moment."""
        return self.days.setdefault(moment.date() if isinstance(moment, datetime) else moment, Day())

    def report(self, where: object, what: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(str(where), what))


class _Row(NamedTuple):
    id: UUID
    received_at: datetime
    state: str
    body_sha256: bytes
    key_sha256: bytes | None
    has_key: bool
    duplicate_of: UUID | None
    part_of: UUID | None
    body_bytes: int
    error: str | None

    @property
    def is_erased(self) -> bool:
        """Say whether the row is a tombstone, which has neither body nor lead."""
        return self.error is not None and self.error.startswith(ERASED)

    @property
    def is_replayed_conflict(self) -> bool:
        """Say whether the row was a conflict and is a lead now: its key stayed its first holder's."""
        return self.state == State.STORED and self.has_key and self.key_sha256 is None


class _Hashes(NamedTuple):
    body_sha256: bytes
    key_sha256: bytes | None


def verify(
    entities: Entities,
    spool: Spool | None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    database: Path | None = None,
) -> Verification:
    """Verify everything.

    Args:
        entities: A binding that only this thread uses.
        spool: This node's spool, if there is one.
        on_progress: Called with the number of raw rows done and their total.
        database: The embedded database's file, which may have been overwritten with its ledger.

    Raises:
        StoreUnavailable: The database cannot be read.
        SpoolUnavailable: The spool cannot be read.
    """
    verification = Verification()
    if database is not None and (overwriting := describe_overwriting(database)):
        verification.report(database.name, overwriting)
    # The spool first: a row that is drained meanwhile is then found in both, never in neither.
    spooled = _check_spool(spool, verification)
    with snapshot(entities):
        total = select(row for row in entities.raw_lead).count()
        for rows in _pages(entities):
            _check_rows(entities, rows, spooled, verification)
            verification.rows += len(rows)
            on_progress(verification.rows, total)
            forget_results(entities)
        _find_orphans(entities, verification)
        _find_doubled_keys(entities, verification)
        for id, what in feed_problems(entities):
            verification.report(id, what)
        for sink, what in sink_problems(entities):
            verification.report(sink, what)
        _add_received(entities, verification)
    for row in spooled.values():
        # The commit that drains a row counts it as received; until then it is counted here.
        day = verification.day(row.received_at)
        day.received += 1
        day.outcomes["spooled"] += 1
    _check_ledger(verification)
    return verification


def _pages(entities: SpoolEntities) -> Iterator[list[_Row]]:
    """Yield all raw rows without their bodies, by id."""
    raw_lead = entities.raw_lead
    after = UUID(int=0)
    while True:
        with db_session:
            page = select(
                (
                    r.id,
                    r.received_at,
                    r.state,
                    r.body_sha256,
                    r.key_sha256,
                    raw_sql("r.idempotency_key IS NOT NULL", bool),
                    r.duplicate_of,
                    r.part_of,
                    raw_sql("length(r.body)"),
                    r.error,
                )
                for r in raw_lead
                if r.id > after
            ).order_by(1)[:PAGE_ROWS]
            rows = [_Row._make((*values[:-2], values[-2] or 0, values[-1])) for values in page]
        if not rows:
            return
        yield rows
        after = rows[-1].id


def _check_rows(entities: Entities, rows: list[_Row], spooled: dict[UUID, _Row], verification: Verification) -> None:
    first, last = rows[0].id, rows[-1].id
    lead_ids = set(select(lead.raw.id for lead in entities.lead if lead.raw.id >= first and lead.raw.id <= last))
    originals = _read_originals(entities, rows)
    batches = _read_batches(entities, rows)
    for row in rows:
        verification.day(row.received_at).outcomes[State(row.state).tally] += 1
        # A row that is being drained is in both; the database's row counts.
        spooled.pop(row.id, None)
        for what in (
            *_lead_problems(row, row.id in lead_ids),
            *_duplicate_problems(row, originals, spooled),
            *_part_problems(row, batches, spooled),
        ):
            verification.report(row.id, what)
    _check_bodies(entities, rows, verification)


def _check_bodies(entities: SpoolEntities, rows: list[_Row], verification: Verification) -> None:
    raw_lead = entities.raw_lead
    by_id = {row.id: row for row in rows}
    for part in _split_by_size(rows):
        first, last = part[0].id, part[-1].id
        for id, body in select((r.id, r.body) for r in raw_lead if r.id >= first and r.id <= last):
            row = by_id[id]
            if row.is_erased:
                if body is not None:
                    verification.report(id, "an erased row that has a body")
            elif body is None and row.state != State.REPEAT:
                verification.report(id, f"a {row.state} row without its body")
            elif body is not None and (not isinstance(body, bytes) or sha256(body).digest() != row.body_sha256):
                verification.report(id, "its body does not match its hash")
        forget_results(entities)


def _split_by_size(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Split a page where its bodies would be too much to hold at once."""
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
    if row.is_erased:
        if has_lead:
            yield "a lead of a row that was erased"
    elif row.state == State.STORED and not has_lead:
        yield "a stored row without its lead"
    elif row.state != State.STORED and has_lead:
        yield f"a lead of a row that is {row.state}"


def _part_problems(row: _Row, batches: set[UUID], spooled: dict[UUID, _Row]) -> Iterator[str]:
    if row.part_of is not None and row.part_of not in batches and row.part_of not in spooled:
        yield f"a part of {row.part_of}, which is gone or no batch"


def _read_originals(entities: Entities, rows: list[_Row]) -> dict[UUID, _Hashes]:
    """Return the hashes of every row that the page's duplicates point at."""
    raw_lead = entities.raw_lead
    ids = list({row.duplicate_of for row in rows if row.duplicate_of})
    if not ids:
        return {}
    originals = select((r.id, r.body_sha256, r.key_sha256) for r in raw_lead if r.id in ids)
    return {id: _Hashes(body_sha256, key_sha256) for id, body_sha256, key_sha256 in originals}


def _read_batches(entities: Entities, rows: list[_Row]) -> set[UUID]:
    """Return those of the rows that the page's parts name which are batches."""
    raw_lead = entities.raw_lead
    ids = list({row.part_of for row in rows if row.part_of})
    return set(select(r.id for r in raw_lead if r.id in ids and r.state == "batch")) if ids else set()


def _duplicate_problems(row: _Row, originals: dict[UUID, _Hashes], spooled: dict[UUID, _Row]) -> Iterator[str]:
    if row.state not in (State.REPEAT, State.CONFLICT):
        if row.duplicate_of is not None and not row.is_replayed_conflict and not row.is_erased:
            yield f"a {row.state} row that points at another"
        return
    if row.duplicate_of is None:
        yield f"a {row.state} that points at no first row"
        return
    original = originals.get(row.duplicate_of) or spooled.get(row.duplicate_of)
    if original is None:
        yield f"a {row.state} whose first row {row.duplicate_of} is gone"
    elif row.key_sha256 != original.key_sha256:
        yield f"a {row.state} of {row.duplicate_of}, which has another key"
    elif row.state == State.REPEAT and row.body_sha256 != original.body_sha256:
        yield f"a repeat of {row.duplicate_of}, whose bytes differ"


def _find_orphans(entities: Entities, verification: Verification) -> None:
    raw_lead = entities.raw_lead
    after = UUID(int=0)
    while page := select(lead.raw.id for lead in entities.lead if lead.raw.id > after).order_by(1)[:PAGE_ROWS]:
        first, after = page[0], page[-1]
        raw_ids = set(select(row.id for row in raw_lead if row.id >= first and row.id <= after))
        for id in page:
            if id not in raw_ids:
                verification.report(id, "a lead without its raw row")
        forget_results(entities)


def _find_doubled_keys(entities: Entities, verification: Verification) -> None:
    """Find keys with several leads. The index forbids them, but an index can be dropped or damaged."""
    raw_lead = entities.raw_lead
    doubled = select(
        (row.key_sha256, count(row.id))
        for row in raw_lead
        if row.key_sha256 is not None and row.state in KEY_HOLDING_STATES and count(row.id) > 1
    )
    for key_sha256, leads in doubled:
        verification.report(key_sha256.hex(), f"one key (its SHA-256) with {leads} leads")


def _add_received(entities: Entities, verification: Verification) -> None:
    for day, received in select((entry.day, sum(entry.received)) for entry in entities.ledger_entry):
        verification.day(day).received += received


def _check_ledger(verification: Verification) -> None:
    verification.days = dict(sorted(verification.days.items()))
    for date_, day in verification.days.items():
        if not day.adds_up:
            rows = day.outcomes.total()
            kind = "missing" if rows < day.received else "more than were counted"
            verification.report(date_, f"{day.received} rows were received, {rows} are there: {kind}")


def _check_spool(spool: Spool | None, verification: Verification) -> dict[UUID, _Row]:
    """Check the bodies of the rows that wait in the spool, and return the rows by id."""
    spooled: dict[UUID, _Row] = {}
    if spool is None or not spool.path.exists():
        return spooled
    for path in unsalvaged_files(spool.data_dir):
        verification.report(path, "a damaged spool whose rows are not salvaged yet: leadcrm spool drain")
    entities = bind_spool(spool.path)
    try:
        for page in _pages(entities):
            with db_session:
                _check_bodies(entities, page, verification)
            spooled.update((row.id, row) for row in page)
        with db_session:
            verification.refused = select(row for row in entities.raw_lead if row.refusal is not None).count()
    finally:
        entities.database.disconnect()
    return spooled
