"""Verification of the feed: each lead, change and erasure has its event, and each event its lead.

It says nothing of what was stored before the feed began or whose events are pruned.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from pony.orm import select

from leadcrm.database.entities import Entities, quoted_table
from leadcrm.ingest.submission import ERASED

# Pony cannot join what no attribute links. Both databases build an index or a hash for such a join by themselves.
_SILENT_LEADS = """SELECT lead.id FROM {leads} AS lead
    LEFT JOIN {feed} AS event ON event.lead_id = lead.id AND event.type = 'created'
    WHERE lead.created_at > $since AND event.seq IS NULL ORDER BY lead.id"""

_SILENT_CHANGES = """SELECT change.id FROM {changes} AS change
    LEFT JOIN {feed} AS event ON event.change_id = change.id
    WHERE change.at > $since AND event.seq IS NULL ORDER BY change.id"""

# That a stored row has no lead is said of the row.
_UNKNOWN_LEADS = """SELECT DISTINCT event.lead_id FROM {feed} AS event
    LEFT JOIN {leads} AS lead ON lead.id = event.lead_id
    LEFT JOIN {raw} AS request ON request.id = event.lead_id
    LEFT JOIN {feed} AS erased ON erased.lead_id = event.lead_id AND erased.type = 'erased'
    WHERE event.type NOT IN ('kept', 'erased') AND lead.id IS NULL AND erased.seq IS NULL
    AND (request.id IS NULL OR request.state <> 'stored')"""

_SILENT_ERASURES = f"""SELECT DISTINCT event.lead_id FROM {{feed}} AS event
    JOIN {{raw}} AS request ON request.id = event.lead_id AND substr(request.error, 1, {len(ERASED)}) = '{ERASED}'
    LEFT JOIN {{leads}} AS lead ON lead.id = event.lead_id
    LEFT JOIN {{feed}} AS erased ON erased.lead_id = event.lead_id AND erased.type = 'erased'
    WHERE event.type <> 'kept' AND erased.seq IS NULL AND lead.id IS NULL"""  # noqa: S608 - a word of ours


def feed_problems(entities: Entities) -> Iterator[tuple[UUID | str, str]]:
    """Yield what is wrong, each with the id of its lead or change. The caller holds the session."""
    since = select(start.since for start in entities.feed_start).first()
    if since is None:
        yield "feed", "where it begins is not kept, so that nothing in it can be verified"
        return
    for sql, what in (
        (_SILENT_LEADS, "a lead without its event in the feed"),
        (_SILENT_CHANGES, "a change of a lead without its event in the feed"),
        (_UNKNOWN_LEADS, "an event in the feed of a lead that is unknown"),
        (_SILENT_ERASURES, "a lead was erased without its event in the feed"),
    ):
        for id in _select_ids(entities, sql, since):
            yield id, what


def _select_ids(entities: Entities, sql: str, since: Any) -> list[UUID]:
    if entities.database.provider.dialect == "SQLite":
        since = since.isoformat(" ", "microseconds")  # as the column holds it
    tables = {
        "leads": entities.lead,
        "raw": entities.raw_lead,
        "changes": entities.lead_event,
        "feed": entities.feed_event,
    }
    names = {name: quoted_table(entity) for name, entity in tables.items()}
    ids = entities.database.select(sql.format(**names), {"since": since}, {})
    return [UUID(bytes=bytes(id)) if isinstance(id, (bytes, memoryview)) else UUID(str(id)) for id in ids]
