"""The JSON documents of the CRM: one mapping for the API, the commands, the stream and the export.

The names are public. They are camelCase, like the payload's fields.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from leadcrm.crm.counting import Count, Values
from leadcrm.crm.events import Event
from leadcrm.crm.feed import FeedEvent, FeedPage
from leadcrm.crm.leads import Lead, Page
from leadcrm.crm.lookup import LeadHistory
from leadcrm.crm.outcomes import Outcome
from leadcrm.crm.raw import Kept, RawPage, Summary
from leadcrm.crm.states import SPOOLED
from leadcrm.crm.statistics import Statistics
from leadcrm.crm.value_counts import DIMENSIONS
from leadcrm.database.entities import COLUMN_OF_FIELD, FIELDS
from leadcrm.database.states import TALLIES, UNSTORED_STATES, State
from leadcrm.ingest.replay import Replay

LEAD_NAMES = (
    "id",
    *FIELDS,
    "status",
    "assignedTo",
    "createdAt",
    "updatedAt",
    "normalizerVersion",
    "source",
    "isTest",
    "callAt",
)
"""The names of a lead's columns in JSON and CSV, in the order of the columns."""

NAME_OF_COLUMN = {
    **{column: field for field, column in COLUMN_OF_FIELD.items()},
    "assigned_to": "assignedTo",
    "call_at": "callAt",
}
"""The public names of columns that change, where they differ too."""

COLUMN_OF_NAME = {name: column for column, name in NAME_OF_COLUMN.items()}

_OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
"""The columns hold UTC, and times end in Z."""


def encode(document: Any) -> bytes:
    """Return a document as JSON."""
    return orjson.dumps(document, option=_OPTIONS)


def encode_line(document: Any) -> bytes:
    """Return a document as a line of NDJSON."""
    return orjson.dumps(document, option=_OPTIONS | orjson.OPT_APPEND_NEWLINE)


def lead_document(lead: Lead) -> dict[str, Any]:
    """Return a lead."""
    return dict(zip(LEAD_NAMES, lead, strict=True))


def lead_page_document(page: Page) -> dict[str, Any]:
    """Return a page of leads, with the cursor of the next page; one of a search says how far it has looked."""
    document: dict[str, Any] = {
        "leads": [lead_document(lead) for lead in page.leads],
        "next": page.next and page.next.encode(),
    }
    if page.reach is not None:
        document["searched"] = {"leads": page.reach.leads, "from": page.reach.since}
    return document


def count_document(count: Count) -> dict[str, Any]:
    """Return a number of leads."""
    return {"leads": count.leads, "exact": count.is_exact}


def values_document(name: str, values: Values) -> dict[str, Any]:
    """Return the values of a column."""
    listed = [{"value": value, "leads": leads} for value, leads in values.values]
    return {"column": name, "values": listed, "leads": values.leads, "from": values.since}


def history_document(history: LeadHistory, deliveries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a lead with its request, its changes, the number of its duplicates, and what became of it at sinks."""
    destination = history.destination
    return {
        "lead": destination.lead and lead_document(destination.lead),
        "raw": destination.raw and raw_document(destination.raw),
        "events": [event_document(event) for event in history.events],
        "duplicates": history.duplicates,
        "way": destination.followed,
        "deliveries": deliveries,
    }


def event_document(event: Event) -> dict[str, Any]:
    """Return one change of a lead, or a note."""
    return {
        "id": event.id,
        "at": event.at,
        "field": NAME_OF_COLUMN.get(event.field, event.field),
        "from": event.from_value,
        "to": event.to_value,
        "by": event.actor,
        "claimed": event.claimed,
    }


def feed_document(page: FeedPage, *, thin: bool) -> dict[str, Any]:
    """Return a page of the feed, with the number to go on from."""
    return {"events": [feed_event_document(event, thin=thin) for event in page.events], "next": page.next}


def feed_event_document(event: FeedEvent, *, thin: bool = False) -> dict[str, Any]:
    """Return one event of the feed; a thin one says only which lead it is about."""
    document = {"seq": event.seq, "type": f"lead.{event.type}", "at": event.at, "leadId": event.lead_id}
    if thin:
        return document
    lead, change = event.lead, event.change
    return {**document, "lead": lead and lead_document(lead), "change": change and event_document(change)}


def raw_page_document(page: RawPage) -> dict[str, Any]:
    """Return a page of raw rows, with the cursor of the next page."""
    return {"rows": [raw_summary_document(row) for row in page.rows], "next": page.next}


def raw_summary_document(summary: Summary) -> dict[str, Any]:
    """Return a raw row as lists show it."""
    return {**_request_document(summary, summary.stored, summary.refusal), "bodyBytes": summary.body_bytes}


def raw_document(kept: Kept) -> dict[str, Any]:
    """Return a raw row with headers and body; the body is text where it is UTF-8, else base64."""
    row = kept.row
    encoding, body = None, None
    if row.body is not None:
        try:
            encoding, body = "text", row.body.decode()
        except UnicodeDecodeError:
            encoding, body = "base64", base64.b64encode(row.body).decode()
    return {
        **_request_document(row, kept.stored, kept.refusal),
        "headers": row.headers,
        "bodySha256": row.body_sha256.hex(),
        "bodyEncoding": encoding,
        "body": body,
        "erased": row.is_erased,
    }


def replay_document(result: Replay) -> dict[str, Any]:
    """Return the result of a replay."""
    return {
        "id": result.id,
        "state": result.state,
        "changed": result.changed,
        "leadId": result.lead_id,
        "error": result.error,
    }


def statistics_document(statistics: Statistics, spooled: int) -> dict[str, Any]:
    """Return the statistics of a period, and how many rows wait in the spool now."""

    def count_at(start: datetime) -> dict[str, int]:
        counts = {State(state).tally: statistics.outcomes[state][start] for state in UNSTORED_STATES}
        return {State.STORED.tally: statistics.steps[start], **counts}

    steps = {start: count_at(start) for start in statistics.steps}
    totals = {tally: sum(step[tally] for step in steps.values()) for tally in TALLIES}
    return {
        "from": statistics.since,
        "to": statistics.until,
        "step": statistics.step,
        "zone": statistics.zone.name,
        "outcomes": {**totals, "spooled": spooled},
        "steps": [{"at": start, **step} for start, step in steps.items()],
        "by": {
            NAME_OF_COLUMN.get(name, name): [
                {"value": value, "leads": leads} for value, leads in statistics.dimensions[name]
            ]
            for name in DIMENSIONS
        },
    }


def outcomes_document(name: str, since: datetime, until: datetime, outcomes: list[Outcome]) -> dict[str, Any]:
    """Return what became of leads by the values of a column."""
    rows = [
        {
            "value": outcome.value,
            "leads": outcome.leads,
            "statuses": outcome.statuses,
            "touched": outcome.touched,
            "firstTouchSeconds": outcome.first_touch_s,
        }
        for outcome in outcomes
    ]
    return {"from": since, "to": until, "by": name, "rows": rows}


def _request_document(row: Any, stored: str, refusal: str | None) -> dict[str, Any]:
    """Return what `Submission` and `Summary` have in common.

    A row in the spool has no state in the database yet. If the database refused it, that is why it still waits, and
    matters more than an error of its own.
    """
    return {
        "id": row.id,
        "receivedAt": row.received_at,
        "requestId": row.request_id,
        "idempotencyKey": row.idempotency_key,
        "method": row.method,
        "target": row.target,
        "remoteAddr": row.remote_addr,
        "contentType": row.content_type,
        "state": SPOOLED if stored == "spool" else row.state,
        "error": refusal or row.error,
        "duplicateOf": row.duplicate_of,
        "node": row.node,
        "source": row.source,
        "mappingVersion": row.mapping_version,
        "partOf": row.part_of,
    }
