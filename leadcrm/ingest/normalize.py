"""From a payload to the columns of a lead: the 14 fields, their columns and what a column can hold.

Pure: no clock, no database, no configuration. `NORMALIZER_VERSION` is stored with every lead and goes up with
any change that would give an already stored body other columns.
"""

import json
import re
from collections.abc import Mapping

from leadcrm.database.entities import FIELDS

NORMALIZER_VERSION = 1

# PostgreSQL's text takes no NUL; UTF-8, which every driver encodes to, has no surrogates.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text with NULs and lone surrogates replaced by U+FFFD: what every store can hold."""
    if text.isascii() and "\x00" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def normalize(payload: Mapping[str, object]) -> tuple[str | None, ...]:
    """Return the columns of a lead, in the order of `FIELD_COLUMNS`.

    Strings are kept as they are, blanks included; null and absent are None; everything else becomes its JSON.
    Numbers, objects and arrays that `read_payload` returns are text already, since only it still has the
    sender's own writing.
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
