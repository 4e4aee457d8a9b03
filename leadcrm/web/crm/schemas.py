"""The documents that the CRM's API answers: their schemas, and how rows become them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from leadcrm.crm.changes import Event
from leadcrm.crm.leads import NAMES
from leadcrm.crm.raw import RAW_STATES, SPOOLED, Kept, Summary
from leadcrm.crm.statistics import DIMENSIONS, Statistics
from leadcrm.database.entities import FIELDS
from leadcrm.web.crm.declarations import Schema

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
TIME: Schema = {"type": "string", "format": "date-time"}
ID: Schema = {"type": "string", "format": "uuid"}
ID_OR_NULL: Schema = {"type": ["string", "null"], "format": "uuid"}
COUNT: Schema = {"type": "integer", "minimum": 0}


def reference(name: str) -> Schema:
    """Point at one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def document(**properties: Schema) -> Schema:
    """Return the schema of an object that has exactly these members."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def array(items: Schema) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


_LEAD = {
    "id": ID,
    **dict.fromkeys(FIELDS, TEXT_OR_NULL),
    "status": TEXT,
    "assignedTo": TEXT_OR_NULL,
    "createdAt": TIME,
    "updatedAt": TIME,
    "normalizerVersion": COUNT,
}
assert tuple(_LEAD) == NAMES

_RAW_SUMMARY = {
    "id": ID,
    "receivedAt": TIME,
    "requestId": TEXT,
    "idempotencyKey": TEXT_OR_NULL,
    "method": TEXT,
    "target": TEXT,
    "remoteAddr": TEXT,
    "contentType": TEXT_OR_NULL,
    "state": {"type": "string", "enum": list(RAW_STATES)},
    "error": TEXT_OR_NULL,
    "duplicateOf": ID_OR_NULL,
    "node": TEXT,
}

_NULL: Schema = {"type": "null"}

OUTCOMES = {"created": None, "repeats": "repeat", "conflicts": "conflict", "invalid": "invalid", "failed": "failed"}
"""The ledger's words, and the states of raw rows they stand for; what was created is leads."""

SCHEMAS: Mapping[str, Schema] = {
    "Lead": document(**_LEAD),
    "RawSummary": document(**_RAW_SUMMARY, bodyBytes={"type": ["integer", "null"]}),
    "Raw": document(
        **_RAW_SUMMARY,
        headers={"type": "object", "additionalProperties": TEXT},
        bodySha256=TEXT,
        bodyEncoding={"type": ["string", "null"], "enum": ["text", "base64", None]},
        body=TEXT_OR_NULL,
    ),
    "Event": document(id=ID, at=TIME, field={"type": "string"}, **{"from": TEXT_OR_NULL, "to": TEXT_OR_NULL}, by=TEXT),
    "LeadWithHistory": document(
        lead={"anyOf": [reference("Lead"), _NULL]},
        raw={"anyOf": [reference("Raw"), _NULL]},
        events=array(reference("Event")),
        duplicates=document(repeats=COUNT, conflicts=COUNT),
        way=array(ID),
    ),
    "Statistics": document(
        **{"from": TIME, "to": TIME},
        step={"type": "string", "enum": ["hour", "day"]},
        outcomes=document(**dict.fromkeys(OUTCOMES, COUNT), spooled=COUNT),
        steps=array(document(at=TIME, **dict.fromkeys(OUTCOMES, COUNT))),
        by=document(**dict.fromkeys(DIMENSIONS, array(document(value=TEXT_OR_NULL, leads=COUNT)))),
    ),
    "Error": {
        "type": "object",
        "properties": {"ok": {"const": False}, "error": TEXT, "message": TEXT},
        "required": ["ok", "error"],
    },
}
"""The API's documents by name."""


def summary_document(row: Summary) -> dict[str, Any]:
    """Return a raw row as lists show it."""
    return {
        "id": row.id,
        "receivedAt": row.received_at,
        "requestId": row.request_id,
        "idempotencyKey": row.idempotency_key,
        "method": row.method,
        "target": row.target,
        "remoteAddr": row.remote_addr,
        "contentType": row.content_type,
        "state": SPOOLED if row.stored == "spool" else row.state,
        "error": row.refusal or row.error,
        "duplicateOf": row.duplicate_of,
        "node": row.node,
        "bodyBytes": row.body_bytes,
    }


def raw_document(kept: Kept) -> dict[str, Any]:
    """Return a raw row with headers and body: text where it is UTF-8, else base64."""
    row = kept.row
    encoding, body = None, None
    if row.body is not None:
        try:
            encoding, body = "text", row.body.decode()
        except UnicodeDecodeError:
            encoding, body = "base64", base64.b64encode(row.body).decode()
    return {
        "id": row.id,
        "receivedAt": row.received_at,
        "requestId": row.request_id,
        "idempotencyKey": row.idempotency_key,
        "method": row.method,
        "target": row.target,
        "remoteAddr": row.remote_addr,
        "contentType": row.content_type,
        "state": SPOOLED if kept.stored == "spool" else row.state,
        "error": kept.refusal or row.error,
        "duplicateOf": row.duplicate_of,
        "node": row.node,
        "headers": row.headers,
        "bodySha256": row.body_sha256.hex(),
        "bodyEncoding": encoding,
        "body": body,
    }


def event_document(event: Event) -> dict[str, Any]:
    """Return one change of a lead."""
    field = "assignedTo" if event.field == "assigned_to" else event.field
    return {
        "id": event.id,
        "at": event.at,
        "field": field,
        "from": event.from_value,
        "to": event.to_value,
        "by": event.actor,
    }


def statistics_document(counted: Statistics, spooled: int) -> dict[str, Any]:
    """Return the statistics of a time, and how many rows wait in the spool now."""

    def at_step(start: datetime) -> dict[str, int]:
        states = {word: counted.outcomes[state][start] for word, state in OUTCOMES.items() if state}
        return {"created": counted.steps[start], **states}

    steps = {start: at_step(start) for start in counted.steps}
    totals = {word: sum(step[word] for step in steps.values()) for word in OUTCOMES}
    return {
        "from": counted.since,
        "to": counted.until,
        "step": counted.step,
        "outcomes": {**totals, "spooled": spooled},
        "steps": [{"at": start, **step} for start, step in steps.items()],
        "by": {
            name: [{"value": value, "leads": leads} for value, leads in counted.dimensions[name]] for name in DIMENSIONS
        },
    }
