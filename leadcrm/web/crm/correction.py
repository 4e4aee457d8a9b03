"""`/api/raw/{id}/correct`: a person says what a kept request means."""

from __future__ import annotations

from leadcrm.crm.correction import CORRECTED_STATES, MAX_CORRECTION_CHARS, parse_correction
from leadcrm.crm.tokens import Right
from leadcrm.database.entities import FIELDS
from leadcrm.web.crm.changes import ACTOR
from leadcrm.web.crm.declarations import Body, Response, Route
from leadcrm.web.crm.leads import ID_PARAMETER, UNKNOWN
from leadcrm.web.crm.schemas import BOOLEAN, ID, ID_OR_NULL, TEXT, TEXT_OR_NULL, json_object

REPLAYED = json_object(id=ID, state=TEXT, changed=BOOLEAN, leadId=ID_OR_NULL, error=TEXT_OR_NULL)


_FIELD = {"type": "string", "pattern": r"^[^\u0000]*$", "maxLength": MAX_CORRECTION_CHARS}

CORRECT = Route(
    "POST",
    "/api/raw/{id}/correct",
    "correct",
    "Make a lead of a request by what a person says that it means",
    {200: Response("What became of it.", {"application/json": REPLAYED}), 404: UNKNOWN},
    "The request keeps the bytes that came. The correction is the first event of its lead (`body` or `fields`), and "
    "mapping again reads it instead of the bytes. A `body` is read as the request's own would be, `fields` past every "
    f"mapping. For {', '.join(f'`{state.value}`' for state in CORRECTED_STATES)} requests; one of which no lead can be "
    "made is left as it is, and `error` says why.",
    (ID_PARAMETER, ACTOR),
    Body(
        {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {
                        "body": {
                            "type": "string",
                            "maxLength": MAX_CORRECTION_CHARS,
                            "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
                        }
                    },
                    "required": ["body"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": {
                        "fields": {
                            "type": "object",
                            "properties": dict.fromkeys(FIELDS, _FIELD),
                            "minProperties": 1,
                            "additionalProperties": False,
                        }
                    },
                    "required": ["fields"],
                    "additionalProperties": False,
                },
            ]
        },
        parse_correction,
    ),
    right=Right.REPLAY,
)
