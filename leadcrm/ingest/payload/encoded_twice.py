"""Forms and JSON that their sender encoded as a whole once more, as if they were one name of a form."""

from __future__ import annotations

import re

from leadcrm.ingest.payload.effort import require_quick_urlencoded
from leadcrm.ingest.payload.form import percent_decoded
from leadcrm.ingest.payload.reader import begins_as_json

_ENCODED = re.compile(rb"(?:[A-Za-z0-9_.~!*'()+%-]+|%[57][Bb][^\s&={}\[\]\"]+)=?")
"""A form without anything between its fields, or JSON without its brackets and quotes."""

_MAX_NAME = 100
"""Of the first field, behind which a mark follows that is escaped here."""


def decoded_once(body: bytes, *, at_leisure: bool) -> bytes:
    """Return a form or JSON without the encoding around the whole of it; any other body as it is.

    Raises:
        TooLaborious: Without leisure, the body cannot be read.
    """
    if b"%" not in body[:_MAX_NAME] or b"&" in body:
        return body
    text = body.strip()
    if not _ENCODED.fullmatch(text):
        return body
    if not at_leisure:
        require_quick_urlencoded(text)
    decoded = percent_decoded(text.removesuffix(b"=").replace(b"+", b" "))
    return decoded if b"=" in decoded or begins_as_json(decoded) else body
