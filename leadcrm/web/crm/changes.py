"""Changes of leads, as bodies and headers of requests."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from leadcrm.crm.changes import MAX_IDS, MAX_VALUE_CHARS
from leadcrm.web.crm.declarations import UUID_SCHEMA, Body, Parameter, parse_uuid

# The output of encodeURIComponent for a name, where one letter may become twelve characters.
_ACTOR = r"[A-Za-z0-9_.!~*'()%-]{1,1200}"
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_VALUE = {"maxLength": MAX_VALUE_CHARS, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}
_CHANGES = {
    "status": {"type": "string", "minLength": 1, **_VALUE},
    "assignedTo": {"type": ["string", "null"], **_VALUE, "description": "Null or empty for nobody."},
}


def _parse_actor(text: str) -> str:
    if not re.fullmatch(_ACTOR, text):
        raise ValueError("a name is accepted, percent-encoded, of up to 1,200 characters with the encoding")
    return _CONTROLS.sub("\ufffd", unquote(text, errors="replace"))


def _parse_versions(text: str) -> list[str] | None:
    """Read If-Match (RFC 9110, section 13.1.1); None is any version. A weak tag never matches."""
    if text.strip() == "*":
        return None
    return [tag.strip()[1:-1] for tag in text.split(",") if re.fullmatch(r'"[^"]*"', tag.strip())]


def _parse_changes(members: dict[str, Any]) -> dict[str, str | None]:
    unknown = next((name for name in members if name not in _CHANGES), None)
    if unknown is not None:
        raise ValueError(f"{unknown[:100]} cannot be changed; status and assignedTo can")
    if not members:
        raise ValueError("says no change; status and assignedTo are accepted")
    changes: dict[str, str | None] = {}
    for name, value in members.items():
        if name == "assignedTo" and value in (None, ""):
            changes["assigned_to"] = None
        elif not isinstance(value, str) or not 1 <= len(value) <= MAX_VALUE_CHARS or _CONTROLS.search(value):
            raise ValueError(f"{name} is a text of 1 to {MAX_VALUE_CHARS} characters without control characters")
        else:
            changes["assigned_to" if name == "assignedTo" else name] = value
    return changes


def _parse_change(document: Any) -> dict[str, str | None]:
    if not isinstance(document, dict):
        raise ValueError("a JSON object is accepted")  # noqa: TRY004 - reported like every other fault of a body
    return _parse_changes(document)


def _parse_bulk_change(document: Any) -> tuple[list[UUID], dict[str, str | None]]:
    if not isinstance(document, dict) or not isinstance(document.get("ids"), list):
        raise ValueError("an object with ids, status and assignedTo is accepted")  # noqa: TRY004 - the same
    ids = [parse_uuid(id) for id in document["ids"]]
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"1 to {MAX_IDS} ids are accepted")
    return ids, _parse_changes({name: value for name, value in document.items() if name != "ids"})


ACTOR = Parameter(
    "X-Actor",
    "Who makes the change, for the history; percent-encoded UTF-8.",
    {"type": "string", "pattern": f"^{_ACTOR}$"},
    _parse_actor,
    "header",
)

IF_MATCH = Parameter("If-Match", "The version that was seen, or *.", {"type": "string"}, _parse_versions, "header")

CHANGE = Body(
    {
        "type": "object",
        "properties": _CHANGES,
        "minProperties": 1,
        "additionalProperties": False,
    },
    _parse_change,
)

BULK_CHANGE = Body(
    {
        "type": "object",
        "properties": {
            "ids": {"type": "array", "items": UUID_SCHEMA, "minItems": 1, "maxItems": MAX_IDS},
            **_CHANGES,
        },
        "required": ["ids"],
        "minProperties": 2,
        "additionalProperties": False,
    },
    _parse_bulk_change,
)
