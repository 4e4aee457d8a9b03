"""Correcting a kept request: a person says what its sender meant, and its lead is made of that.

Invariants:
- The raw row keeps the bytes that came. The correction is an event of the lead, with who and when, in the same commit.
- A correction of which no lead can be made changes nothing.
- Mapping again reads the correction and not the bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from pony.orm import select
from uuid_utils import uuid7

from leadcrm.crm.audit import Action, Actor, record
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.replay import waiting_in
from leadcrm.crm.times import now
from leadcrm.database.entities import FIELDS, Entities
from leadcrm.database.sessions import session
from leadcrm.database.states import State
from leadcrm.ingest.normalize import storable
from leadcrm.ingest.raw_row import submission_from_entity
from leadcrm.ingest.replay import Replay, take_reading
from leadcrm.ingest.submission import API_SOURCE, SourceReader, Submission

MAX_CORRECTION_CHARS = 65_536

CORRECTED_STATES = (State.FAILED, State.INVALID, State.CONFLICT, State.EVENT)
"""Not those whose sender is not proved: what a person writes proves nothing."""

KINDS: tuple[Literal["body", "fields"], ...] = ("body", "fields")
"""The fields of the events that are corrections."""

_CHARSET = re.compile(r";\s*charset=[^;]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person says that a request means.

    Attributes:
        kind: `body` is read as the request's own would be; `fields` are those of a lead, past every mapping.
        text: The body, or a JSON object of the fields.
    """

    kind: Literal["body", "fields"]
    text: str

    def read(self, kept: Submission, *, max_decoded_bytes: int, sources: SourceReader | None) -> Submission:
        """Return the row as if it had come so. It has a lead's fields, or an error."""
        headers = {name: value for name, value in kept.headers.items() if name != "content-encoding"}
        corrected = kept._replace(body=self.text.encode(), headers=headers, content_type=self._type(kept))
        if self.kind == "fields":
            corrected = corrected._replace(source=API_SOURCE)
        made = corrected.reprocessed(max_decoded_bytes=max_decoded_bytes, sources=sources)
        if made.parts:
            return kept.failing("the correction holds several leads: one is accepted")
        return made

    def _type(self, kept: Submission) -> str:
        if self.kind == "fields" or self.text.lstrip()[:1] in ("{", "["):
            return "application/json"
        return f"{_CHARSET.sub('', kept.content_type or 'text/plain')}; charset=utf-8"


def parse_correction(document: Any) -> Correction:
    """Read a correction as JSON has it.

    Raises:
        ValueError: It is none; the text says what is accepted.
    """
    if isinstance(document, dict) and len(document) == 1:
        body, fields = document.get("body"), document.get("fields")
        if isinstance(body, str) and _is_text(body):
            return Correction("body", body)
        if isinstance(fields, dict) and fields and all(map(_is_field, fields.items())):
            text = json.dumps(fields, ensure_ascii=False)
            if _is_text(text):
                return Correction("fields", text)
    raise ValueError(
        f"an object with body, a text of 1 to {MAX_CORRECTION_CHARS} characters, or with fields is accepted; fields "
        f"are texts: {', '.join(FIELDS)}"
    )


def _is_field(field: tuple[str, Any]) -> bool:
    name, value = field
    return name in FIELDS and isinstance(value, str) and storable(value) == value


def _is_text(text: str) -> bool:
    is_storable = storable(text) == text
    return is_storable and bool(text.strip()) and len(text) <= MAX_CORRECTION_CHARS


def correct(
    entities: Entities,
    spool: SpoolReader,
    id: UUID,
    correction: Correction,
    *,
    actor: Actor,
    max_decoded_bytes: int,
    sources: SourceReader | None = None,
) -> Replay | None:
    """Make a lead of one request by a correction. Durable on return.

    Returns:
        The result, as of a replay; None where neither the database nor this node's spool knows the id.

    Raises:
        StoreUnavailable: The database cannot be changed, or the commit is in doubt.
    """
    with session(entities):
        row = entities.raw_lead.get(id=id)
        kept = None if row is None else submission_from_entity(row)
    if kept is None:
        return waiting_in(spool, id)
    unchanged = Replay(str(id), kept.state, False, None, kept.error)
    if kept.state is State.STORED and not kept.is_erased:
        return unchanged._replace(lead_id=str(id), error="it is a lead already: change the lead")
    if kept.state not in CORRECTED_STATES or kept.body is None or kept.is_erased:
        return unchanged._replace(error=f"a request in this state cannot be corrected: {kept.state.value}")
    # Reading takes up to some tenths of a second, in which no lock may be held.
    made = correction.read(kept, max_decoded_bytes=max_decoded_bytes, sources=sources)
    if made.fields is None:
        return unchanged._replace(error=made.error)

    def on_result(done: Replay) -> None:
        detail = {"state": State(done.state).value, "changed": done.changed, "corrected": correction.kind}
        record(entities, actor, Action.CORRECT, id, detail)
        if done.changed and done.state == State.STORED:
            entities.lead_event(
                id=UUID(str(uuid7())),
                lead_id=id,
                at=now(),
                field=correction.kind,
                from_value=None,
                to_value=correction.text,
                actor=actor.name,
                claimed=actor.beside,
            )

    return take_reading(entities, id, made, on_result=on_result)


def corrections_of(entities: Entities, ids: Sequence[UUID]) -> dict[UUID, Correction]:
    """Return the corrections that leads were made of, by the leads' ids. The caller holds the session."""
    kinds = KINDS
    events = select(
        (event.id, event.lead_id, event.field, event.to_value)
        for event in entities.lead_event
        if event.lead_id in ids and event.field in kinds
    )
    return {lead_id: Correction(kind, text) for _, lead_id, kind, text in events.order_by(1)}
