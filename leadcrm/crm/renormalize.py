"""Mapping again: old leads become what their kept bytes mean by the rules of now.

Invariants:
- A column that people have set stays as they set it, and a lead that was made of a correction is read by that.
- Each changed column is an event of the lead, committed with the change, page by page: an interrupted run is simply run
  again. Id, key, status and assignment never change.
- A lead stays a lead, although by the rules of now its bytes would be none, and as it is if its source was taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pony.orm import select

from leadcrm.crm.audit import Actor, Via
from leadcrm.crm.changes import apply_change, change_session
from leadcrm.crm.correction import Correction, corrections_of
from leadcrm.crm.events import is_program
from leadcrm.database.entities import FIELD_COLUMNS, Entities
from leadcrm.database.sessions import session
from leadcrm.ingest.normalize import NORMALIZER_VERSION
from leadcrm.ingest.raw_row import submission_from_entity
from leadcrm.ingest.submission import API_SOURCE, SourceReader, Submission

PAGE_ROWS = 200
PAGE_CHARACTERS = 4 * 1024 * 1024
"""The bounds of a page, whose leads are locked and changed together."""

MAX_SAMPLES = 3
"""Of each column."""


class Sample(NamedTuple):
    """One change of a column."""

    id: str
    from_value: str | None
    to_value: str | None


@dataclass(slots=True)
class ColumnReport:
    """What becomes of a column.

    Attributes:
        filled: Leads whose NULL becomes a value.
        changed: Leads whose value becomes another one.
        emptied: Leads whose value becomes NULL.
        kept: Leads that would change, had not people set the column.
    """

    filled: int = 0
    changed: int = 0
    emptied: int = 0
    kept: int = 0
    samples: list[Sample] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What a run did, or would do.

    Attributes:
        leads: That were read again.
        changed: Leads of which a column changes.
        no_leads: Leads whose bytes would be no lead now; they stay as they are.
        columns: By name, those of which something changes.
    """

    leads: int = 0
    changed: int = 0
    no_leads: int = 0
    columns: dict[str, ColumnReport] = field(default_factory=dict)


def renormalize(
    entities: Entities,
    sources: SourceReader,
    *,
    source: str | None,
    since: datetime | None,
    max_decoded_bytes: int,
    is_dry_run: bool,
    on_page: Callable[[int], None] = lambda _leads: None,
) -> Report:
    """Read the bytes of leads again and change the columns that differ; each page is durable once it is counted.

    Leads of `/api/lead` that the present version has read already are left out.

    Args:
        entities: The bound database.
        sources: Reads the rows of sources.
        source: Whose leads; None for all.
        since: Leads that arrived then or later, naive UTC.
        max_decoded_bytes: The limit of a body once its content codings are undone.
        is_dry_run: Change nothing.
        on_page: Called with the number of leads that were read so far.

    Raises:
        StoreUnavailable: The database cannot be used now, or a page's commit is in doubt; run it again.
        ChangeRefused: The database does not allow a change.
    """
    report = Report()
    for ids in _pages(entities, source, since):
        page: dict[UUID, Submission] = {}
        characters = 0
        with session(entities):
            corrections = corrections_of(entities, ids)
        for id in ids:
            made = _read_again(entities, sources, id, corrections.get(id), max_decoded_bytes)
            report.leads += made is not None
            if made is None:
                continue
            if made.fields is None:
                report.no_leads += 1
                continue
            page[id] = made._replace(body=None)
            characters += sum(len(value) for value in made.fields if value)
            if characters > PAGE_CHARACTERS:
                _take(entities, page, report, is_dry_run=is_dry_run)
                page, characters = {}, 0
        _take(entities, page, report, is_dry_run=is_dry_run)
        on_page(report.leads)
    return report


def _pages(entities: Entities, source: str | None, since: datetime | None) -> Iterator[list[UUID]]:
    after = UUID(int=0)
    current, api = NORMALIZER_VERSION, API_SOURCE
    while True:
        with session(entities):
            query = select(lead for lead in entities.lead if lead.raw.id > after)
            query = query.where(lambda lead: lead.source != api or lead.normalizer_version < current)
            if source is not None:
                query = query.where(lambda lead: lead.source == source)
            if since is not None:
                query = query.where(lambda lead: lead.created_at >= since)
            page = list(select(lead.raw.id for lead in query.order_by(lambda lead: lead.raw.id))[:PAGE_ROWS])
        if page:
            yield page
        if len(page) < PAGE_ROWS:
            return
        after = page[-1]


def _read_again(
    entities: Entities, sources: SourceReader, id: UUID, correction: Correction | None, max_decoded_bytes: int
) -> Submission | None:
    """Return the row as it would be read now; None if it is gone or its bytes are."""
    with session(entities):
        row = entities.raw_lead.get(id=id)
        kept = None if row is None else submission_from_entity(row)
    if kept is None or kept.body is None or kept.source not in (API_SOURCE, *sources.names):
        return None
    if correction is not None:
        return correction.read(kept, max_decoded_bytes=max_decoded_bytes, sources=sources)
    return kept.reprocessed(max_decoded_bytes=max_decoded_bytes, sources=sources)


def _take(entities: Entities, page: dict[UUID, Submission], report: Report, *, is_dry_run: bool) -> None:
    """Compare a page's leads with what they would be, and change them."""
    if not page:
        return
    ids = sorted(page)
    with session(entities) if is_dry_run else change_session(entities):
        leads = select(lead for lead in entities.lead if lead.raw.id in ids).order_by(lambda lead: lead.raw.id)
        held = leads[:] if is_dry_run else leads.for_update()[:]
        # Once the leads are locked: what people set until then stays, and what they set later waits.
        set_by_people = _set_by_people(entities, ids)
        for lead in held:
            made = page[lead.raw.id]
            differences = _differences(lead, made, set_by_people, report)
            report.changed += bool(differences)
            if not is_dry_run:
                _change(entities, lead, made, differences)


def _set_by_people(entities: Entities, ids: Sequence[UUID]) -> set[tuple[UUID, str]]:
    events = select((event.lead_id, event.field, event.actor) for event in entities.lead_event if event.lead_id in ids)
    return {(id, column) for id, column, actor in events if not is_program(actor)}


def _differences(
    lead: Any, made: Submission, set_by_people: set[tuple[UUID, str]], report: Report
) -> dict[str, str | None]:
    """Return the new values of the columns that change, and count them."""
    assert made.fields is not None
    differences = {}
    for column, value in zip(FIELD_COLUMNS, made.fields, strict=True):
        before = getattr(lead, column)
        if before == value:
            continue
        counts = report.columns.setdefault(column, ColumnReport())
        if (lead.raw.id, column) in set_by_people:
            counts.kept += 1
            continue
        if before is None:
            counts.filled += 1
        elif value is None:
            counts.emptied += 1
        else:
            counts.changed += 1
        if len(counts.samples) < MAX_SAMPLES:
            counts.samples.append(Sample(str(lead.raw.id), before, value))
        differences[column] = value
    return differences


def _change(entities: Entities, lead: Any, made: Submission, differences: dict[str, str | None]) -> None:
    is_api = made.source == API_SOURCE
    actor = f"normalizer v{NORMALIZER_VERSION}" if is_api else f"mapping v{made.mapping_version or ''}"
    apply_change(entities, lead, differences, Actor(actor, Via.COMMAND))
    if lead.normalizer_version != NORMALIZER_VERSION:
        lead.normalizer_version = NORMALIZER_VERSION
    if not is_api and lead.raw.mapping_version != made.mapping_version:
        lead.raw.mapping_version = made.mapping_version
