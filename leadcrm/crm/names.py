"""What people have in hand of a lead beside its texts: any id that was answered, a click id, a key, a request id.

Ids and keys have indexes. Click ids and request ids have none, since every lead would pay for it: they are looked for
among the newest `CLICK_ROWS` and `REQUEST_ROWS`. A request id of ours begins with its time, and is found at any age.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pony.orm import desc, raw_sql, select

from leadcrm.crm.queries import newest_first, select_places
from leadcrm.database.entities import Entities
from leadcrm.database.states import KEY_HOLDING_SQL
from leadcrm.ingest.submission import API_SOURCE

CLICK_ROWS = 100_000
"""How many of the newest leads are looked through for a click id: some tens of milliseconds."""

REQUEST_ROWS = 20_000
"""How many of the newest requests are looked through for a request id that is none of ours: their rows are longer."""

SHORTEST_NAME = 4
"""Characters. Whoever has typed less has no id in hand."""

MAX_NAMED = 100
"""Leads that one name stands for at most: a marker is no name."""

_OURS = 7
"""The version of the UUIDs that we give."""

_NEAR_MS = 60_000
"""A body may arrive so long after its request began."""

MAX_STEPS = 100
"""From a duplicate to its first request."""


def leads_by_index(entities: Entities, text: str) -> set[UUID]:
    """Return the ids of leads that a text names by an id or a key. The caller holds the session."""
    if not _is_name(text):
        return set()
    rows = set(_by_key(entities, text))
    if (id := _as_id(text)) is not None:
        rows.add(id)
    return {_first_of(entities, id) for id in rows}


def leads_by_scan(entities: Entities, text: str) -> set[UUID]:
    """Return the ids of leads that a text names by a click id or a request id. The caller holds the session."""
    # Where it has no digit it is a person's name: nearly every search would pay for nothing.
    if not _is_name(text) or not any(map(str.isdigit, text)):
        return set()
    # Most people look for a click id, and raw rows are the longer ones.
    return set(_by_click(entities, text)) or {_first_of(entities, id) for id in _by_request(entities, text)}


def _is_name(text: str) -> bool:
    return len(text) >= SHORTEST_NAME and text.strip() == text


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) in (32, 36) else None
    except ValueError:
        return None


def _by_key(entities: Entities, text: str) -> Sequence[UUID]:
    # As the headers may have had it: a browser sends latin-1, most others UTF-8.
    spellings = {text.encode(), text.encode("latin-1", "replace")}
    hashes = [hashlib.sha256(key).digest() for key in spellings]
    for source in _sources(entities):
        prefix = b"source\0" + source.encode() + b"\0"
        hashes.extend(hashlib.sha256(prefix + key).digest() for key in spellings)
    holds_key = raw_sql(KEY_HOLDING_SQL)
    query = select(raw.id for raw in entities.raw_lead if raw.key_sha256 in hashes and raw.key_sha256 is not None)
    return list(query.where(lambda raw: holds_key).without_distinct())


def _sources(entities: Entities) -> Sequence[str]:
    table = entities.database.provider.quote_name(entities.lead._table_)
    # From each to the next in the index, which has every source but one.
    following = f"SELECT min(source) FROM {table} WHERE source <> '{API_SOURCE}' AND source"  # noqa: S608 - names of ours
    names: Sequence[str] = entities.database.select(
        f"name FROM (WITH RECURSIVE used(name) AS ({following} IS NOT NULL UNION ALL "  # noqa: S608 - the same
        f"SELECT ({following} > used.name) FROM used WHERE used.name IS NOT NULL) "
        "SELECT name FROM used WHERE name IS NOT NULL) AS listed"
    )
    return names


def _by_request(entities: Entities, text: str) -> Sequence[UUID]:
    query = select(row.id for row in entities.raw_lead if row.request_id == text)
    given = _as_id(text)
    if given is not None and given.version == _OURS:
        # One that we gave: it begins with its time, as the ids of rows do.
        low, high = (UUID(int=max(0, (given.int >> 80) + offset_ms) << 80) for offset_ms in (-_NEAR_MS, _NEAR_MS))
        return list(query.where(lambda row: row.id >= low and row.id < high).without_distinct()[:MAX_NAMED])
    oldest = select(row.id for row in entities.raw_lead).order_by(desc(1))[REQUEST_ROWS : REQUEST_ROWS + 1]
    if oldest:
        since = oldest[0]
        query = query.where(lambda row: row.id >= since)
    ids: Sequence[UUID] = query.without_distinct()[:MAX_NAMED]
    return ids


def _by_click(entities: Entities, text: str) -> Sequence[UUID]:
    query = select(lead.raw.id for lead in entities.lead if lead.click_id == text)
    oldest = newest_first(entities, select_places(entities))[CLICK_ROWS : CLICK_ROWS + 1]
    if oldest:
        since = oldest[0][0]
        query = query.where(lambda lead: lead.created_at >= since)
    ids: Sequence[UUID] = query.without_distinct()[:MAX_NAMED]
    return ids


def _first_of(entities: Entities, id: UUID) -> UUID:
    """Follow a duplicate to its first request; a lead made of a conflict is its own."""
    for _ in range(MAX_STEPS):
        row: Any = select((row.duplicate_of, row.state) for row in entities.raw_lead if row.id == id).first()
        if row is None or row[0] is None or row[1] == "stored":
            return id
        id = row[0]
    return id
