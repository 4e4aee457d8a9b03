"""Replay: makes a lead of a kept request that is none, under the id it was given when it arrived.

For `failed` rows (a fault of ours, or a lead that the database refused) and `invalid` ones (no payload could be
read), once the cause is mended. The row's own bytes are processed again, as if they had just arrived.

Invariants:
- State, key and lead change in one transaction that has locked the row: replaying twice, or twice at once, makes
  one lead.
- A `failed` row holds its key all along. An `invalid` one claims it with its change of state; where another row has
  taken it meanwhile, it becomes that row's conflict (other bytes) or repeat (the same).
- A `failed` row never stops holding its key: its sender was told 201.

May import entities, database, errors, submission and spool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import flush, select

from leadcrm.database.entities import FIELD_COLUMNS, Entities
from leadcrm.database.sessions import session
from leadcrm.database.states import KEY_HOLDING_STATES, State
from leadcrm.errors import StoreUnavailable, SubmissionRefused
from leadcrm.ingest.normalize import NORMALIZER_VERSION
from leadcrm.ingest.raw_row import submission_from_entity
from leadcrm.ingest.submission import Fields, Submission

CLAIM_ATTEMPTS = 5
"""A live lead may take the key between the look-up and the claim; then it is found at the next look-up."""

PAGE_ROWS = 200


class Replay(NamedTuple):
    """What became of a row: its state now, whether that is new, the lead it leads to, why it is none."""

    id: str
    state: str
    changed: bool
    lead_id: str | None
    error: str | None


def replay(entities: Entities, id: UUID, *, max_decoded_bytes: int) -> Replay | None:
    """Try to make a lead of one raw row; None where there is no such row. Durable on return.

    A row that is a lead, a repeat or a conflict already is left as it is. Raises `StoreUnavailable`, with the
    commit possibly in doubt; replaying again is safe.
    """
    for _ in range(CLAIM_ATTEMPTS):
        try:
            with session(entities, writes=True):
                return _replay(entities, id, max_decoded_bytes)
        except SubmissionRefused as refusal:
            if refusal.detail.get("constraint") != "leads_raw_key":
                return _record_refusal(entities, id, f"the database refused the lead: {refusal}")
    raise StoreUnavailable("rows that rival for a key keep vanishing")


def replay_failed(
    entities: Entities, *, max_decoded_bytes: int, is_stopping: Callable[[], bool] = lambda: False
) -> int:
    """Replay every `failed` row and return how many became leads. Raises `StoreUnavailable`."""
    leads = 0
    for id in replayable_ids(entities, ("failed",)):
        if is_stopping():
            break
        replayed = replay(entities, id, max_decoded_bytes=max_decoded_bytes)
        leads += replayed is not None and replayed.changed
    return leads


def replayable_ids(entities: Entities, states: tuple[str, ...]) -> Iterator[UUID]:
    """Go through the ids of the rows in these states, in order of arrival, page by page."""
    raw_lead = entities.raw_lead
    after = UUID(int=0)
    while True:
        with session(entities):
            page = list(
                select(row.id for row in raw_lead if row.state in states and row.id > after).order_by(1)[:PAGE_ROWS]
            )
        yield from page
        if len(page) < PAGE_ROWS:
            return
        after = page[-1]


def _replay(entities: Entities, id: UUID, max_decoded_bytes: int) -> Replay | None:
    # Locked: a rival waits here, and then finds what this one made of the row.
    row = entities.raw_lead.get_for_update(id=id)
    if row is None:
        return None
    kept = submission_from_entity(row)
    if not kept.state.is_replayable or kept.body is None:
        return _unchanged(kept)
    reprocessed = kept.reprocessed(max_decoded_bytes=max_decoded_bytes)
    if reprocessed.fields is None:
        row.error = reprocessed.error
        return _unchanged(kept._replace(error=reprocessed.error))
    if not kept.state.holds_key and (holder := _find_holder(entities, kept)):
        duplicate = kept.duplicating(str(holder.id), holder.body_sha256)
        row.set(state=duplicate.state.value, duplicate_of=holder.id, error=None)
        return Replay(kept.id, duplicate.state, True, str(holder.id), None)
    row.set(state=State.STORED.value, error=None)
    # First the claim of the key: where a live lead has just taken it, the database says so by the index's name.
    flush()
    _make_lead(entities, row, reprocessed.fields)
    return Replay(kept.id, State.STORED, True, kept.id, None)


def _unchanged(kept: Submission) -> Replay:
    lead_id = kept.id if kept.state is State.STORED else kept.duplicate_of
    return Replay(kept.id, kept.state, False, lead_id, kept.error)


def _find_holder(entities: Entities, kept: Submission) -> Any:
    key_sha256 = kept.key_sha256
    if key_sha256 is None:
        return None
    raw_lead = entities.raw_lead
    # "Is not None" lets the databases use the key's index, which is over such rows alone.
    return select(
        row
        for row in raw_lead
        if row.key_sha256 == key_sha256 and row.key_sha256 is not None and row.state in KEY_HOLDING_STATES
    ).first()


def _make_lead(entities: Entities, row: Any, fields: Fields) -> None:
    entities.lead(
        raw=row,
        **dict(zip(FIELD_COLUMNS, fields, strict=True)),
        status="new",
        created_at=row.received_at,
        updated_at=row.received_at,
        normalizer_version=NORMALIZER_VERSION,
    )
    flush()


def _record_refusal(entities: Entities, id: UUID, error: str) -> Replay | None:
    with session(entities, writes=True):
        row = entities.raw_lead.get_for_update(id=id)
        if row is None:
            return None
        if State(row.state).is_replayable:
            row.error = error
        return _unchanged(submission_from_entity(row))
