"""The lead within a text: JSON, JSON in base64, or lines such as `Name: Anna`, as in a mail that a portal sends."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

import orjson

from leadcrm.sources.labels import Effort, means_one_of

MAX_CHARACTERS = 65_536
"""Of all texts of a document in which a lead is looked for."""

MAX_LINED, MAX_LINES = 8_192, 40
"""A longer text is no list of a lead's fields."""

_CONTACT_FIELDS = frozenset(("email", "phone", "first_name", "last_name"))

_BEGINNINGS = ("{", "[", "eyJ", "eyAi", "ewo", "ew0K", "W3s")
"""Of JSON, and of its objects and lists of objects in base64."""

BEGINNINGS = frozenset(beginning[0] for beginning in _BEGINNINGS)
"""A text that has no other line begins with one of these, if it may hold more."""

_ESCAPED_JSON = re.compile(r'(?:\[\s*)?\{\s*\\"')
_LINE = re.compile(r"[ \t>*-]*([^\W\d_][^:=<>]{0,40})[:=][ \t]*(?!//)(\S.*)")


def may_hold_more(text: str) -> bool:
    """Say whether it is worth looking for a lead in a text."""
    return text.startswith(_BEGINNINGS) or ("\n" in text and (":" in text or "=" in text))


def json_in(text: str) -> Any:
    """Return the JSON in a text that begins like an object or a list, also in base64, or None.

    Its quotes may be escaped: WordPress puts a backslash in front of each that it receives, and plugins pass that on.
    """
    try:
        return orjson.loads(text if text[:1] in ("{", "[") else b64decode(text, validate=True))
    except ValueError:
        pass
    if _ESCAPED_JSON.match(text) is None:
        return None
    try:
        # In JSON stands no NUL.
        bare = text.replace("\\\\", "\0").replace('\\"', '"').replace("\\'", "'")
        return orjson.loads(bare.replace("\0", "\\"))
    except ValueError:
        return None


def lines_in(text: str, effort: Effort | None = None) -> dict[str, str] | None:
    """Return what a text says line by line, if a line is about how to reach somebody or who it is; else None.

    Raises:
        TooLaborious: There are more labels that were never met than there may be.
    """
    if len(text) > MAX_LINED:
        return None
    found = [line for text in text.split("\n", MAX_LINES)[:MAX_LINES] if (line := _LINE.fullmatch(text.strip()))]
    lines = {line[1].strip(): line[2] for line in found}
    if len(lines) < 2:
        return None
    return lines if any(means_one_of(label, _CONTACT_FIELDS, effort) for label in lines) else None
