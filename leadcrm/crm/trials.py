"""A kept request beside what a source would make of it: nothing is stored, and what may be read is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pony.orm import select

from leadcrm.crm.leads import LONGEST_LISTED
from leadcrm.crm.queries import select_leads, to_leads
from leadcrm.crm.raw import Kept, SpoolReader, get_raw
from leadcrm.crm.sources import try_kept
from leadcrm.database.entities import COLUMN_OF_FIELD, Entities
from leadcrm.database.sessions import session
from leadcrm.errors import SourcesFault
from leadcrm.ingest.submission import Submission
from leadcrm.sources.catalogue import parse_proposal
from leadcrm.sources.source import Source

MAX_LEADS = 20
"""Of a body with several, those that are shown."""

MAX_FAULTS = 100


def trial_document(
    entities: Entities,
    spool: SpoolReader,
    sources: Mapping[str, Source],
    id: UUID,
    *,
    name: str | None,
    text: str | None,
    max_decoded_bytes: int,
) -> dict[str, Any] | None:
    """Return a request as it is kept, what its source makes of it now, and what a proposed text would make of it.

    Args:
        entities: The bound database.
        spool: This node's spool.
        sources: Those in force.
        id: The request's.
        name: The source; None for the request's own or, where the text has another one alone, for that.
        text: The proposed text of `SOURCES_FILE`; None for none.
        max_decoded_bytes: The limit of a body once its content codings are undone.

    Returns:
        None where no body is kept under this id.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    kept = get_raw(entities, spool, id)
    request = kept and _with_body(entities, spool, kept)
    if kept is None or request is None:
        return None
    proposed, faults = _proposed(text, name or kept.row.source, is_named=name is not None)
    name = proposed.name if proposed else name or kept.row.source

    def make(source: Source | None) -> dict[str, Any] | None:
        if source is None:
            return None
        return _bounded(try_kept(source, request, max_decoded_bytes=max_decoded_bytes, at_leisure=False))

    document = {"id": id, "source": name, "faults": faults, "kept": _as_kept(entities, kept)}
    return {**document, "now": make(sources.get(name)), "proposed": make(proposed)}


def _with_body(entities: Entities, spool: SpoolReader, kept: Kept) -> Submission | None:
    """Return the request with its body, which for a repeat is that of the first request."""
    row = kept.row
    if row.body is None and row.duplicate_of is not None:
        first = get_raw(entities, spool, UUID(row.duplicate_of))
        row = row._replace(body=first.row.body if first else None)
    return None if row.body is None else row


def _proposed(text: str | None, name: str, *, is_named: bool) -> tuple[Source | None, list[str]]:
    if text is None:
        return None, []
    try:
        sources = parse_proposal(text).sources
    except SourcesFault as fault:
        return None, list(fault.faults[:MAX_FAULTS])
    if name not in sources and not is_named and len(sources) == 1:
        return next(iter(sources.values())), []
    return (sources[name], []) if name in sources else (None, [f"the text has no source {name!r}"])


def _as_kept(entities: Entities, kept: Kept) -> dict[str, Any]:
    id = UUID(kept.row.id)
    with session(entities):
        rows = select(
            (row.id, row.idempotency_key)
            for row in entities.raw_lead
            if row.id == id or row.part_of == id  # noqa: PLR1714 - Pony makes SQL of it
        ).without_distinct()
        keys = dict(rows.order_by(1)[: MAX_LEADS + 2])
        ids = list(keys)
        leads = list(to_leads(select_leads(entities).where(lambda lead: lead.raw.id in ids))) if ids else []
    made = [
        {
            "key": keys[lead.id],
            "isTest": lead.is_test,
            "fields": {
                field: value
                for field, column in COLUMN_OF_FIELD.items()
                if (value := getattr(lead, column)) is not None
            },
        }
        for lead in sorted(leads, key=lambda lead: lead.id)
    ]
    return _bounded({"state": kept.row.state.value, "error": kept.refusal or kept.row.error, "leads": made})


def _bounded(trial: dict[str, Any]) -> dict[str, Any]:
    """Return a trial with the first leads and the beginnings of their values."""
    leads = [
        {**lead, "fields": {field: value[:LONGEST_LISTED] for field, value in lead["fields"].items()}}
        for lead in trial["leads"][:MAX_LEADS]
    ]
    return {**trial, "leads": leads, "hasMore": len(trial["leads"]) > MAX_LEADS}
