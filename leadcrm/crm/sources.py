"""Sources for people: what there are, and what a source would make of a body."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any

from leadcrm.crm.source_pages import path_of
from leadcrm.database.entities import FIELDS
from leadcrm.database.states import State
from leadcrm.ingest.sourced import Arrival
from leadcrm.ingest.submission import Submission
from leadcrm.sources.catalogue import Catalogue
from leadcrm.sources.proof import query_of
from leadcrm.sources.source import Source

TOO_LONG = "it takes too long to read here: leadcrm sources try {} --raw {}"


def source_documents(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return all sources of a text."""
    return [source_document(source) for source in catalogue.sources.values()]


def source_document(source: Source) -> dict[str, Any]:
    """Return a source, without its secrets."""
    is_open = not source.proof.secrets
    return {
        "source": source.name,
        "preset": source.preset,
        "url": path_of(source),
        "enabled": source.enabled,
        "verify": "open" if is_open else source.proof.kind,
        "secrets": len(source.proof.secrets),
        "hasKey": bool(source.keys),
        "answers": {**source.replies.statuses},
    }


def try_body(
    source: Source, body: bytes, *, content_type: str, query: str, headers: Mapping[str, str], max_decoded_bytes: int
) -> dict[str, Any]:
    """Return what a source would make of a body; nothing is stored, and nothing verified."""
    row = Submission(
        id="00000000-0000-0000-0000-000000000000",
        received_at=datetime.now(timezone.utc),
        request_id="",
        idempotency_key=None,
        method="POST" if body or not query else "GET",
        target=f"/in/{source.name}?{query}" if query else f"/in/{source.name}",
        remote_addr="",
        content_type=content_type or None,
        headers=dict(headers),
        body=body,
        body_sha256=sha256(body).digest(),
        state=State.STORED,
        key_sha256=None,
        error=None,
        duplicate_of=None,
        node="",
        source=source.name,
    )
    return try_kept(source, row, max_decoded_bytes=max_decoded_bytes)


def try_kept(source: Source, row: Submission, *, max_decoded_bytes: int, at_leisure: bool = True) -> dict[str, Any]:
    """Return what a source would make of a kept request that has its body; nothing is stored, and nothing verified.

    Without leisure a body that takes long is not read, and the document's error says so.
    """
    made = Arrival(
        row._replace(key_sha256=None, part_of=None, fields=None),
        source.reopened(),
        query_of(row.target),
        row.headers,
        None,
        max_decoded_bytes,
        row.target,
    ).interpreted(at_leisure=at_leisure)
    leads = made.parts or ((made,) if made.fields is not None else ())
    return {
        "state": made.state.value,
        "error": TOO_LONG.format(source.name, row.id) if made.is_postponed else made.error,
        "leads": [
            {
                "key": lead.idempotency_key,
                "isTest": lead.is_test,
                "fields": {
                    name: value for name, value in zip(FIELDS, lead.fields or (), strict=False) if value is not None
                },
            }
            for lead in leads
        ],
    }
