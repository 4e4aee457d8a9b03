"""Normalizes a payload to the columns of a lead.

Pure: no clock, no database, no configuration. Every lead stores `NORMALIZER_VERSION`. Raise it with any change that
would give an already stored body different columns.
"""

import json
import re
from collections.abc import Mapping

from leadcrm.database.entities import FIELDS

NORMALIZER_VERSION = 4

# PostgreSQL's text type rejects NUL, and UTF-8, which every driver uses, cannot encode surrogates.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text with NULs and lone surrogates replaced by U+FFFD, so that every store can hold it."""
    text = text.replace("\x00", "\ufffd")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Seldom, and slow where there are many.
        return _LONE_SURROGATE.sub("\ufffd", text)
    return text


def normalize(payload: Mapping[str, object]) -> tuple[str | None, ...]:
    """Return the columns of a lead, in the order of `FIELD_COLUMNS`.

    Strings stay as they are, blanks included. Null and absent fields become None, everything else becomes its JSON.
    `read_payload` returns numbers, objects and arrays as text already, because only it sees how the sender wrote them.
    """
    return tuple(
        [
            value
            if value is None or (type(value) is str and value.isascii() and "\x00" not in value)
            else _column(value)
            for value in map(payload.get, FIELDS)
        ]
    )


def _column(value: object) -> str:
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return storable(value)
