"""Export of all leads that a filter asks for, newest first.

Invariants:
- An export shows one moment: leads that arrive or change meanwhile are left out, or are as they were.
- It takes the memory of one page, whatever the number of leads.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from leadcrm.crm.events import Event, newest_notes, noted_leads
from leadcrm.crm.files import File
from leadcrm.crm.leads import Cursor, Lead, LeadFilter
from leadcrm.crm.queries import get_lead
from leadcrm.crm.search import read_page
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import forget_results, snapshot

PAGE_ROWS = 200
"""Leads of a page: some milliseconds, after which ingestion's threads get their turn."""


def export_leads(entities: Entities, lead_filter: LeadFilter, file: File) -> Generator[bytes, None, None]:
    """Yield the file piece by piece.

    Args:
        entities: A binding that only this thread uses. Only this thread may read the pieces.
        lead_filter: Which leads.
        file: What the leads are encoded as; it can be written once.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    yield file.begin()
    with snapshot(entities):
        after: Cursor | None = None
        while True:
            page = read_page(entities, lead_filter, limit=PAGE_ROWS, after=after)
            for leads, notes in _complete(entities, page.leads):
                # An empty piece would be the end.
                if piece := file.add(leads, notes):
                    yield piece
            forget_results(entities)
            assert page.next is None or isinstance(page.next, Cursor)
            after = page.next
            if after is None:
                break
    if end := file.end():
        yield end


def _complete(entities: Entities, leads: Sequence[Lead]) -> Iterator[tuple[list[Lead], list[Event]]]:
    """Yield a page's leads in groups; one with a long value or with notes is completed, and alone with its notes."""
    noted = noted_leads(entities, [lead.id for lead in leads])
    group: list[Lead] = []
    for lead in leads:
        if not (lead.may_be_cut or lead.id in noted):
            group.append(lead)
            continue
        if group:
            yield group, []
        group = []
        whole = get_lead(entities, lead.id) if lead.may_be_cut else lead
        assert whole is not None, "a snapshot keeps every lead"
        yield [whole], newest_notes(entities, lead.id) if lead.id in noted else []
        forget_results(entities)
    if group:
        yield group, []
