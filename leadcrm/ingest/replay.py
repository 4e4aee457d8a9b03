"""Replay: makes a lead of a raw row that has none, under the id that the row got on arrival.

It serves `failed` rows (our own fault, or the database refused the lead), `invalid` rows (no readable payload), and
the `unverified`, `unrouted` and `event` rows of sources, once the cause is fixed; and `conflict` rows once a person has
seen that they are leads of their own: whoever posts under a key first makes a conflict of the next one's lead. The
row's bytes are processed again, as if they had just arrived.

Invariants:
- State, key and lead change in one transaction that has locked the row. Two replays of a row, even at once, make one
  lead.
- A `failed` row never stops holding its key, because its sender got 201.
- Any other row claims its key with its change of state. If another row has taken the key meanwhile, it becomes that
  row's conflict (different bytes) or repeat (same bytes).
- A `conflict` row becomes `stored` without its key, which stays its first holder's. It goes on to point at that row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from time import thread_time
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import flush, raw_sql, select
from uuid_utils import uuid7

from leadcrm.database.entities import FIELD_COLUMNS, RAW_COLUMNS, Entities
from leadcrm.database.sessions import session
from leadcrm.database.states import KEY_HOLDING_SQL, State
from leadcrm.errors import StoreUnavailable, SubmissionRefused
from leadcrm.ingest.normalize import NORMALIZER_VERSION
from leadcrm.ingest.raw_row import submission_from_entity
from leadcrm.ingest.submission import ERASED, FAILED_HINT, POSTPONED, SourceReader, Submission

logger = logging.getLogger("leadcrm.ingest.replay")

CLAIM_ATTEMPTS = 5
"""A new lead may take the key between the look-up and the claim; the next look-up then finds that lead."""

PAGE_ROWS = 200

POSTPONED_PAGE_ROWS = 20
"""About what one turn makes leads of: SQLite reads a row's long body on the way to why it is postponed."""

LEISURE_S = 0.05
"""The processor's time for postponed rows between two pauses: leads that arrive meanwhile wait for the interpreter."""


class Replay(NamedTuple):
    """The result of a replay.

    Attributes:
        state: The row's state after the replay.
        changed: Whether the replay changed the state.
        lead_id: The id that leads to the lead, if there is one.
        error: Why the row has no lead.
    """

    id: str
    state: str
    changed: bool
    lead_id: str | None
    error: str | None


class Postponed(NamedTuple):
    """How many postponed rows became leads, whether others are left, and the processor's time for the longest."""

    leads: int
    are_left: bool
    longest_s: float


def replay(
    entities: Entities,
    id: UUID,
    *,
    max_decoded_bytes: int,
    sources: SourceReader | None = None,
    on_result: Callable[[Replay], None] = lambda _: None,
) -> Replay | None:
    """Try to make a lead of one raw row; durable on return.

    A row that is stored or a repeat stays as it is. `on_result` is called with the result in its transaction.

    Returns:
        The result, or None if no row has the id.

    Raises:
        StoreUnavailable: The commit may be in doubt. Replaying again is safe.
    """
    with session(entities):
        row = entities.raw_lead.get(id=id)
        kept = None if row is None else submission_from_entity(row)
    if kept is None:
        return None
    # Reading takes up to some tenths of a second, in which no lock may be held. The bytes and headers never change.
    is_readable = kept.state.is_replayable and kept.body is not None
    read = partial(kept.reprocessed, max_decoded_bytes=max_decoded_bytes, sources=sources)
    return take_reading(entities, id, read() if is_readable else None, on_result=on_result)


def take_reading(
    entities: Entities, id: UUID, reprocessed: Submission | None, *, on_result: Callable[[Replay], None]
) -> Replay | None:
    """Make a lead of one raw row by a reading of it; durable on return.

    Args:
        entities: The bound database.
        id: The row's.
        reprocessed: The row as it was read; None where it cannot be.
        on_result: See `replay`.

    Returns:
        The result, or None if no row has the id.

    Raises:
        StoreUnavailable: The commit may be in doubt.
    """
    for _ in range(CLAIM_ATTEMPTS):
        try:
            with session(entities, writes=True):
                result = _replay(entities, id, reprocessed)
                if result is not None:
                    on_result(result)
                return result
        except SubmissionRefused as refusal:
            if refusal.detail.get("constraint") != "leads_raw_key":
                return _record_refusal(entities, id, f"the database refused the lead: {refusal}", on_result)
    raise StoreUnavailable("rival rows for a key keep vanishing")


def replay_failed(
    entities: Entities,
    *,
    max_decoded_bytes: int,
    sources: SourceReader | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Replay every `failed` row but the postponed ones, and return how many became leads.

    Raises:
        StoreUnavailable: The database cannot be used now.
    """
    leads = 0
    for id in _failed_ids(entities, are_postponed=False):
        if is_stopping():
            break
        leads += _becomes_lead(entities, id, max_decoded_bytes=max_decoded_bytes, sources=sources)
    return leads


def replay_postponed(entities: Entities, *, max_decoded_bytes: int, sources: SourceReader | None = None) -> Postponed:
    """Make the leads of postponed rows, in order of arrival, for `LEISURE_S`.

    Raises:
        StoreUnavailable: The database cannot be used now.
    """
    leads = 0
    longest_s = 0.0
    ends_at = None
    for id in _failed_ids(entities, are_postponed=True):
        began_at = thread_time()
        # Finding them takes as long again where their bodies are long, and must not leave no time for any.
        ends_at = ends_at or began_at + LEISURE_S
        if began_at > ends_at:
            return Postponed(leads, are_left=True, longest_s=longest_s)
        leads += _becomes_lead(entities, id, max_decoded_bytes=max_decoded_bytes, sources=sources)
        longest_s = max(longest_s, thread_time() - began_at)
    return Postponed(leads, are_left=False, longest_s=longest_s)


def _becomes_lead(entities: Entities, id: UUID, *, max_decoded_bytes: int, sources: SourceReader | None) -> bool:
    """Replay one of many rows, and say whether it became a lead. A fault of its own keeps no other from its turn.

    Raises:
        StoreUnavailable: The database cannot be used now.
    """
    try:
        replayed = replay(entities, id, max_decoded_bytes=max_decoded_bytes, sources=sources)
    except StoreUnavailable:
        raise
    except SubmissionRefused as refusal:
        why = str(refusal)
    except Exception as error:
        # Its text may quote the body.
        why = type(error).__name__
    else:
        return replayed is not None and replayed.changed
    text = "a row cannot be replayed: %s"
    extra = {"action": "replay", "id": str(id), "hint": FAILED_HINT, "repeat_key": f"{text} {id}"}
    logger.error(text, why, extra=extra)
    return False


def _failed_ids(entities: Entities, *, are_postponed: bool) -> Iterator[UUID]:
    """Yield the ids of the `failed` rows that are postponed or of those that are not, in order of arrival."""
    postponed = POSTPONED
    failed = _unstored(entities).where(lambda row: row.state == "failed")
    if are_postponed:
        return _ids(entities, failed.where(lambda row: row.error == postponed), page_rows=POSTPONED_PAGE_ROWS)
    return _ids(entities, unerased(failed).where(lambda row: row.error is None or row.error != postponed))


def replayable_ids(entities: Entities, states: tuple[str, ...]) -> Iterator[UUID]:
    """Yield the ids of the rows in these states in order of arrival, reading page by page."""
    return _ids(entities, unerased(_unstored(entities)).where(lambda row: row.state in states))


def _unstored(entities: Entities) -> Any:
    """Return a query of the rows that are no leads, in the words of the partial index: SQLite proves no others."""
    return select(row for row in entities.raw_lead if row.state != "stored")


def unerased(query: Any) -> Any:
    """Narrow a query over raw rows, whose variable is `row`, to those that are no tombstones."""
    erased = ERASED
    return query.where(lambda row: row.error is None or not row.error.startswith(erased))


def _ids(entities: Entities, query: Any, *, page_rows: int = PAGE_ROWS) -> Iterator[UUID]:
    after = UUID(int=0)
    while True:
        with session(entities):
            page = _page_of_ids(query, after, page_rows)
        yield from page
        if len(page) < page_rows:
            return
        after = page[-1]


def _page_of_ids(query: Any, after: UUID, page_rows: int) -> list[UUID]:
    rows = query.where(lambda row: row.id > after).order_by(lambda row: row.id)
    return list(select(row.id for row in rows)[:page_rows])


def _replay(entities: Entities, id: UUID, reprocessed: Submission | None) -> Replay | None:
    # The lock makes a concurrent replay wait here; it then finds the row as this one leaves it.
    row = entities.raw_lead.get_for_update(id=id)
    if row is None:
        return None
    kept = submission_from_entity(row)
    # What was read before the lock may have been erased meanwhile.
    if not kept.state.is_replayable or reprocessed is None or kept.is_erased:
        return _unchanged(kept)
    if reprocessed.parts:
        return _make_parts(entities, row, reprocessed)
    if reprocessed.fields is None:
        # A row that holds its key keeps doing so: its sender heard that it is a lead. A conflict goes on to name that
        # row.
        stays = kept.state.holds_key or kept.state is State.CONFLICT or reprocessed.state.holds_key
        state = kept.state if stays else reprocessed.state
        row.set(state=state.value, error=reprocessed.error)
        return _unchanged(kept._replace(state=state, error=reprocessed.error))._replace(changed=state != kept.state)
    if kept.state is State.CONFLICT:
        row.key_sha256 = None
    elif not kept.state.holds_key or kept.key_sha256 is None:
        # The key of a source's row may stand in its body, so that it is known only now.
        kept = kept._replace(idempotency_key=reprocessed.idempotency_key, key_sha256=reprocessed.key_sha256)
        # Looked for before the row has the key: a look-up flushes, and a failed row would claim it at once.
        holder = _find_holder(entities, kept)
        row.set(idempotency_key=kept.idempotency_key, key_sha256=kept.key_sha256)
        if holder:
            duplicate = kept.duplicating(str(holder.id), holder.body_sha256)
            row.set(state=duplicate.state.value, duplicate_of=holder.id, error=None)
            return Replay(kept.id, duplicate.state, True, str(holder.id), None)
    # The error of a body that was read leniently says so.
    row.set(state=State.STORED.value, error=reprocessed.error, mapping_version=reprocessed.mapping_version)
    # Claim the key before making the lead: if a new lead has just taken it, the error names the keys' index.
    flush()
    _make_lead(entities, row, reprocessed)
    return Replay(kept.id, State.STORED, True, kept.id, None)


def _make_parts(entities: Entities, row: Any, batch: Submission) -> Replay:
    """Make a row and a lead of each part of a body that turns out to hold several."""
    row.set(state=State.BATCH.value, error=None, mapping_version=batch.mapping_version)
    first = None
    for minted in batch.parts:
        holder = _find_holder(entities, minted)
        part = minted.duplicating(str(holder.id), holder.body_sha256) if holder else minted
        made = entities.raw_lead(**{name: _column(name, getattr(part, name)) for name in RAW_COLUMNS})
        flush()
        if part.fields is not None:
            _make_lead(entities, made, part)
        first = first or part.duplicate_of or part.id
    # The ledger counts the days on which requests arrived.
    entities.ledger_entry(day=row.received_at.date(), entry=UUID(bytes=uuid7().bytes), received=len(batch.parts))
    return Replay(batch.id, State.BATCH, True, first, None)


def _column(name: str, value: Any) -> Any:
    """Return a part's value as its entity takes it."""
    if name in ("id", "duplicate_of", "part_of"):
        return value and UUID(value)
    if name == "received_at":
        return value.replace(tzinfo=None)
    return value.value if name == "state" else value


def _unchanged(kept: Submission) -> Replay:
    lead_id = kept.id if kept.state is State.STORED and not kept.is_erased else kept.duplicate_of
    return Replay(kept.id, kept.state, False, lead_id, kept.error)


def _find_holder(entities: Entities, kept: Submission) -> Any:
    key_sha256 = kept.key_sha256
    if key_sha256 is None:
        return None
    raw_lead = entities.raw_lead
    # "is not None" is redundant, but it matches the partial index's predicate so that the planner can use it.
    holders = select(row for row in raw_lead if row.key_sha256 == key_sha256 and row.key_sha256 is not None)
    holds_key = raw_sql(KEY_HOLDING_SQL)
    return holders.where(lambda row: holds_key).first()


def _make_lead(entities: Entities, row: Any, read: Submission) -> None:
    assert read.fields is not None
    entities.lead(
        raw=row,
        **dict(zip(FIELD_COLUMNS, read.fields, strict=True)),
        status="new",
        created_at=row.received_at,
        updated_at=row.received_at,
        normalizer_version=NORMALIZER_VERSION,
        source=row.source,
        is_test=read.is_test,
    )
    flush()


def _record_refusal(entities: Entities, id: UUID, error: str, on_result: Callable[[Replay], None]) -> Replay | None:
    with session(entities, writes=True):
        row = entities.raw_lead.get_for_update(id=id)
        if row is None:
            return None
        if State(row.state).is_replayable:
            row.error = error
        result = _unchanged(submission_from_entity(row))
        on_result(result)
        return result
