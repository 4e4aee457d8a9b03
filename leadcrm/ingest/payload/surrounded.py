"""JSON that something else surrounds: a notice of PHP's in front, a comment or the rest of an answer behind.

A script that builds JSON and prints it sends what else was printed too. It is looked for in a body that is neither JSON
nor anything else with a contact.
"""

from __future__ import annotations

import json
import re
from typing import Any

from leadcrm.ingest.payload.effort import require_quick_almost_json

_BEGINNING = re.compile(r'(?:\A|(?<=[>\n]))[ \t\r]*(?=(?:\[\s*)?\{\s*")')
"""JSON stands at the begin of a line or behind a tag: elsewhere it belongs to what is in front of it."""

_BLANKS = b"\xef\xbb\xbf \t\r\n"
_OBJECT = re.compile(r'\{\s*"')
_MAX_TRIES = 4
_DECODER = json.JSONDecoder(strict=False)


def may_surround_json(body: bytes) -> bool:
    """Say whether something that is no JSON may stand in front of JSON in a body that is no form in parts."""
    return b"{" in body and body[:1] not in (b"{", b"[") and not body.lstrip(_BLANKS).startswith(b"--")


def json_apart(body: bytes, *, at_leisure: bool) -> bytes | None:
    """Return the one object, or list of objects, in a body without what surrounds it; None if there is not one.

    Raises:
        TooLaborious: Without leisure, it cannot be looked for.
    """
    if b"{" not in body:
        return None
    if not at_leisure:
        require_quick_almost_json(body)
    text = body.decode(errors="replace")
    for tries, beginning in enumerate(_BEGINNING.finditer(text)):
        if tries == _MAX_TRIES:
            return None
        end = _end_of(text, beginning.end())
        if end:
            return None if _OBJECT.search(text, end) else text[beginning.end() : end].encode(errors="replace")
    return None


def _end_of(text: str, start: int) -> int:
    """Return where the JSON ends that begins here, 0 if it is none."""
    found: tuple[Any, int]
    try:
        found = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return 0
    return found[1]
