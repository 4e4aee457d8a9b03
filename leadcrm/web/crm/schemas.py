"""The schemas of the API's documents, which `leadcrm.crm.documents` makes."""

from __future__ import annotations

from collections.abc import Mapping

from leadcrm.crm.audit import Action, Via
from leadcrm.crm.documents import NAME_OF_COLUMN
from leadcrm.crm.feed import EVENT_TYPES
from leadcrm.crm.states import RAW_STATES
from leadcrm.crm.tokens import Right, Role
from leadcrm.crm.value_counts import DIMENSIONS
from leadcrm.database.entities import FIELDS
from leadcrm.database.states import TALLIES
from leadcrm.web.crm.declarations import Schema

BOOLEAN: Schema = {"type": "boolean"}
TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
TIME: Schema = {"type": "string", "format": "date-time"}
ID: Schema = {"type": "string", "format": "uuid"}
ID_OR_NULL: Schema = {"type": ["string", "null"], "format": "uuid"}
COUNT: Schema = {"type": "integer", "minimum": 0}
COUNT_OR_NULL: Schema = {"type": ["integer", "null"], "minimum": 0}
TIME_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}


def reference(name: str) -> Schema:
    """Return a reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_object(**properties: Schema) -> Schema:
    """Return the schema of an object with exactly these members."""
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
    "source": TEXT,
    "isTest": BOOLEAN,
    "callAt": TIME_OR_NULL,
}
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
    "source": TEXT,
    "mappingVersion": {"type": ["integer", "null"]},
    "partOf": ID_OR_NULL,
}
_TOKEN = {
    "id": ID,
    "name": TEXT,
    "role": {"type": "string", "enum": [role.value for role in Role]},
    "state": {"type": "string", "enum": ["active", "expired", "revoked"]},
    "createdAt": TIME,
    "createdBy": TEXT,
    "expiresAt": TIME_OR_NULL,
    "revokedAt": TIME_OR_NULL,
    "usedAt": TIME_OR_NULL,
}

NULL: Schema = {"type": "null"}

SCHEMAS: Mapping[str, Schema] = {
    "Lead": json_object(**_LEAD),
    "RawSummary": json_object(**_RAW_SUMMARY, bodyBytes={"type": ["integer", "null"]}),
    "Raw": json_object(
        **_RAW_SUMMARY,
        headers={"type": "object", "additionalProperties": TEXT},
        bodySha256=TEXT,
        bodyEncoding={"type": ["string", "null"], "enum": ["text", "base64", None]},
        body=TEXT_OR_NULL,
        erased=BOOLEAN,
    ),
    "Event": json_object(
        id=ID,
        at=TIME,
        field={"type": "string"},
        **{"from": TEXT_OR_NULL, "to": TEXT_OR_NULL},
        by=TEXT,
        claimed=TEXT_OR_NULL,
    ),
    "FeedEvent": {
        "type": "object",
        "properties": {
            "seq": COUNT,
            "type": {"type": "string", "enum": [f"lead.{type}" for type in EVENT_TYPES]},
            "at": TIME,
            "leadId": ID,
            "lead": {"anyOf": [reference("Lead"), NULL]},
            "change": {"anyOf": [reference("Event"), NULL]},
        },
        "required": ["seq", "type", "at", "leadId"],
        "additionalProperties": False,
    },
    "Gone": {
        "type": "object",
        "properties": {"ok": {"const": False}, "error": TEXT, "message": TEXT, "oldest": COUNT},
        "required": ["ok", "error", "oldest"],
    },
    "LeadDelivery": json_object(
        sink=TEXT,
        type=TEXT,
        state=TEXT,
        seq=COUNT_OR_NULL,
        at=TIME_OR_NULL,
        since=TIME_OR_NULL,
        id=ID_OR_NULL,
        nextAt=TIME_OR_NULL,
        attempts=COUNT_OR_NULL,
        status=COUNT_OR_NULL,
        answer=TEXT_OR_NULL,
    ),
    "LeadWithHistory": json_object(
        lead={"anyOf": [reference("Lead"), NULL]},
        raw={"anyOf": [reference("Raw"), NULL]},
        events=array(reference("Event")),
        duplicates=json_object(repeats=COUNT, conflicts=COUNT),
        way=array(ID),
        deliveries=array(reference("LeadDelivery")),
    ),
    "Statistics": json_object(
        **{"from": TIME, "to": TIME},
        step={"type": "string", "enum": ["hour", "day"]},
        zone=TEXT,
        outcomes=json_object(**dict.fromkeys(TALLIES, COUNT), spooled=COUNT),
        steps=array(json_object(at=TIME, **dict.fromkeys(TALLIES, COUNT))),
        by=json_object(
            **dict.fromkeys(
                (NAME_OF_COLUMN.get(name, name) for name in DIMENSIONS),
                array(json_object(value=TEXT_OR_NULL, leads=COUNT)),
            )
        ),
    ),
    "Outcomes": json_object(
        **{"from": TIME, "to": TIME},
        by=TEXT,
        rows=array(
            json_object(
                value=TEXT_OR_NULL,
                leads=COUNT,
                statuses={"type": "object", "additionalProperties": COUNT},
                touched=COUNT,
                firstTouchSeconds={"type": ["number", "null"]},
            )
        ),
    ),
    "Token": json_object(**_TOKEN),
    "NewToken": json_object(**_TOKEN, token=TEXT),
    "AuditEntry": json_object(
        id=ID,
        at=TIME,
        actor=TEXT,
        via={"type": "string", "enum": [via.value for via in Via]},
        claimed=TEXT_OR_NULL,
        action={"type": "string", "enum": [action.value for action in Action]},
        leadId=ID_OR_NULL,
        detail={"type": "object"},
    ),
    "Session": json_object(
        name=TEXT_OR_NULL,
        role=TEXT_OR_NULL,
        rights=array({"type": "string", "enum": [right.value for right in Right]}),
        expiresAt=TIME_OR_NULL,
        isKept=BOOLEAN,
    ),
    "Error": {
        "type": "object",
        "properties": {"ok": {"const": False}, "error": TEXT, "message": TEXT},
        "required": ["ok", "error"],
    },
}
"""The API's documents by name."""
