"""Changes of leads, as bodies and headers of requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote
from uuid import UUID

from leadcrm.crm.changes import CORRECTABLE, MAX_CORRECTION_CHARS, MAX_IDS, MAX_NOTE_CHARS, MAX_VALUE_CHARS
from leadcrm.crm.documents import NAME_OF_COLUMN
from leadcrm.crm.events import check_person
from leadcrm.crm.times import parse_moment
from leadcrm.web.crm.declarations import UUID_SCHEMA, Body, Parameter, parse_uuid

# The output of encodeURIComponent for a name, where one letter may become twelve characters.
_ACTOR = r"[A-Za-z0-9_.!~*'()%-]{1,1200}"
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_VALUE = {"maxLength": MAX_VALUE_CHARS, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}
_WORK = {
    "status": {"type": "string", "minLength": 1, **_VALUE},
    "assignedTo": {"type": ["string", "null"], **_VALUE, "description": "Null or empty for nobody."},
    "callAt": {"type": ["string", "null"], "format": "date-time", "description": "The next call; null for none."},
}
_CORRECTION = {
    "type": ["string", "null"],
    **_VALUE,
    "maxLength": MAX_CORRECTION_CHARS,
    "description": "Corrects what was sent; null or empty for none.",
}
_CORRECTIONS = {NAME_OF_COLUMN[column]: _CORRECTION for column in CORRECTABLE}
_COLUMNS = {
    "status": "status",
    "assignedTo": "assigned_to",
    "callAt": "call_at",
    **{NAME_OF_COLUMN[column]: column for column in CORRECTABLE},
}


_NONE_IF_EMPTY = ("assignedTo", *_CORRECTIONS)


def parse_actor(text: str) -> str:
    """Read X-Actor."""
    if not re.fullmatch(_ACTOR, text):
        raise ValueError("a name is accepted, percent-encoded, of up to 1,200 characters with the encoding")
    return check_person(_CONTROLS.sub("\ufffd", unquote(text, errors="replace")))


def _parse_versions(text: str) -> list[str] | None:
    """Read If-Match (RFC 9110, section 13.1.1); None is any version. A weak tag never matches."""
    if text.strip() == "*":
        return None
    return [tag.strip()[1:-1] for tag in text.split(",") if re.fullmatch(r'"[^"]*"', tag.strip())]


Changes = dict[str, "str | datetime | None"]


def _parse_changes(members: dict[str, Any], accepted: Mapping[str, Any]) -> Changes:
    unknown = next((name for name in members if name not in accepted), None)
    if unknown is not None:
        raise ValueError(f"{unknown[:100]} cannot be changed; accepted: {', '.join(accepted)}")
    if not members:
        raise ValueError(f"says no change; accepted: {', '.join(accepted)}")
    return {_COLUMNS[name]: _parse_value(name, value) for name, value in members.items()}


def _parse_value(name: str, value: Any) -> str | datetime | None:
    if (name in _NONE_IF_EMPTY and value in (None, "")) or (name == "callAt" and value is None):
        return None
    if name == "callAt":
        try:
            return parse_moment(value)
        except (TypeError, ValueError):
            raise ValueError("callAt is null or a time as in 2024-01-15T10:30:00Z") from None
    most = MAX_CORRECTION_CHARS if name in _CORRECTIONS else MAX_VALUE_CHARS
    if not isinstance(value, str) or not 1 <= len(value) <= most or _CONTROLS.search(value):
        raise ValueError(f"{name} is a text of 1 to {most} characters without control characters")
    return value


def _parse_note(document: Any) -> str:
    text = document.get("text") if isinstance(document, dict) and len(document) == 1 else None
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_NOTE_CHARS or "\x00" in text or not text.strip():
        raise ValueError(f"an object with text is accepted, of 1 to {MAX_NOTE_CHARS} characters")
    return text


def _parse_change(document: Any) -> Changes:
    if not isinstance(document, dict):
        raise ValueError("a JSON object is accepted")  # noqa: TRY004 - reported like every other fault of a body
    return _parse_changes(document, {**_WORK, **_CORRECTIONS})


class BulkChange(NamedTuple):
    """Which leads to change, how, and the values that they must have now."""

    ids: list[UUID]
    changes: Changes
    expected: Changes | None


def _parse_bulk_change(document: Any) -> BulkChange:
    if not isinstance(document, dict) or not isinstance(document.get("ids"), list):
        raise ValueError("an object with ids, status, assignedTo and callAt is accepted")  # noqa: TRY004 - the same
    ids = [parse_uuid(id) for id in document["ids"]]
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"1 to {MAX_IDS} ids are accepted")
    changes = {name: value for name, value in document.items() if name not in ("ids", "expected")}
    return BulkChange(ids, _parse_changes(changes, _WORK), _parse_expected(document))


def _parse_expected(document: dict[str, Any]) -> Changes | None:
    if "expected" not in document:
        return None
    if not isinstance(document["expected"], dict):
        raise ValueError("expected is an object")  # noqa: TRY004 - the same
    return _parse_changes(document["expected"], _WORK)


class Archiving(NamedTuple):
    """Which requests to put out of the inbox or to bring back: by their ids, or all that are like one."""

    ids: list[UUID]
    like: UUID | None
    is_archived: bool


def _parse_archiving(document: Any) -> Archiving:
    if not isinstance(document, dict) or not document.keys() <= {"ids", "like", "archived"}:
        raise ValueError("an object with ids or like, and archived, is accepted")
    is_archived = document.get("archived", True)
    if not isinstance(is_archived, bool) or ("ids" in document) == ("like" in document):
        raise ValueError("either ids or like is accepted; archived is true or false")
    if "like" in document:
        if not is_archived:
            raise ValueError("what is brought back is named by ids")
        return Archiving([], parse_uuid(document["like"]), is_archived)
    if not isinstance(document["ids"], list) or not 1 <= len(document["ids"]) <= MAX_IDS:
        raise ValueError(f"1 to {MAX_IDS} ids are accepted")
    return Archiving([parse_uuid(id) for id in document["ids"]], None, is_archived)


ACTOR = Parameter(
    "X-Actor",
    "Who makes the change, for the history; percent-encoded UTF-8.",
    {"type": "string", "pattern": f"^{_ACTOR}$"},
    parse_actor,
    "header",
)

IF_MATCH = Parameter("If-Match", "The version that was seen, or *.", {"type": "string"}, _parse_versions, "header")

CHANGE = Body(
    {
        "type": "object",
        "properties": {**_WORK, **_CORRECTIONS},
        "minProperties": 1,
        "additionalProperties": False,
    },
    _parse_change,
)

NOTE = Body(
    {
        "type": "object",
        "properties": {
            "text": {"type": "string", "maxLength": MAX_NOTE_CHARS, "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}
        },
        "required": ["text"],
        "additionalProperties": False,
    },
    _parse_note,
)

BULK_CHANGE = Body(
    {
        "type": "object",
        "properties": {
            "ids": {"type": "array", "items": UUID_SCHEMA, "minItems": 1, "maxItems": MAX_IDS},
            **_WORK,
            "expected": {
                "type": "object",
                "properties": _WORK,
                "minProperties": 1,
                "additionalProperties": False,
                "description": "Only leads that have these values now are changed.",
            },
        },
        "required": ["ids"],
        "anyOf": [{"required": [name]} for name in _WORK],
        "additionalProperties": False,
    },
    _parse_bulk_change,
)

ARCHIVING = Body(
    {
        "oneOf": [
            {
                "type": "object",
                "properties": {
                    "ids": {"type": "array", "items": UUID_SCHEMA, "minItems": 1, "maxItems": MAX_IDS},
                    "archived": {"type": "boolean", "description": "False brings them back.", "default": True},
                },
                "required": ["ids"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"like": UUID_SCHEMA, "archived": {"const": True}},
                "required": ["like"],
                "additionalProperties": False,
            },
        ]
    },
    _parse_archiving,
)
