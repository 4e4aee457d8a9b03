"""Reads a body a second time, leniently, where the strict reading finds no payload.

Each way names one mistake that senders make. A way that changes what the strict reading reads has no place here: it is
never asked. All are as bounded in memory and time as the strict reading: a way whose sign is missing costs a search,
and few ways read the same body.
"""

import re
from typing import NamedTuple

from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.content_coding import possible_bodies
from leadcrm.ingest.payload.effort import require_short
from leadcrm.ingest.payload.form import DELIMITER, after_mark, has_escaped_separators, read_escaped_urlencoded
from leadcrm.ingest.payload.lenient_form import read_multipart_leniently, read_untyped_form
from leadcrm.ingest.payload.lenient_json import read_json_leniently, unwrap
from leadcrm.ingest.payload.reader import URLENCODED, begins_as_json, media_type_of, read_decoded

# No text holds them, but nearly every compressed body does.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")

_UNTRUE_CODING = "the content coding is not what the header says"
_ESCAPED_SEPARATORS = "&amp; separates the form's fields"


class LenientReading(NamedTuple):
    """A payload, and the sender's mistakes that it was read in spite of."""

    payload: dict[str, object]
    mistake: str


def read_leniently(
    body: bytes, *, content_type: str, content_encoding: str, max_decoded_bytes: int, at_leisure: bool = True
) -> LenientReading | None:
    """Return the payload of a body that `read_payload` refuses with these arguments, or None if there is none.

    Raises:
        TooLaborious: Without leisure, the body cannot be read. Only a short one is read in every way there is.
    """
    for possible, is_true in possible_bodies(body, content_encoding, max_decoded_bytes):
        if not at_leisure:
            require_short(possible)
        mistakes = [] if is_true else [_UNTRUE_CODING]
        payload = None if is_true else _read_strictly(possible, content_type, at_leisure=at_leisure)
        if payload is None:
            payload = _read(possible, content_type, mistakes, at_leisure=at_leisure)
        if payload is not None:
            return LenientReading(payload, ", ".join(dict.fromkeys(mistakes)))
    return None


def _read_strictly(body: bytes, content_type: str, *, at_leisure: bool) -> dict[str, object] | None:
    if _BINARY.search(body) and "multipart/" not in content_type.lower():
        return None
    try:
        payload = read_decoded(body, content_type, at_leisure=at_leisure)
    except InvalidPayload:
        return None
    # Any bytes with an equals sign are a form. Only a lead's field shows that this one is meant.
    return payload if payload or begins_as_json(body) else None


def _read(body: bytes, content_type: str, mistakes: list[str], *, at_leisure: bool) -> dict[str, object] | None:
    """Return the payload and add the mistakes that were found to the list."""
    try:
        payload = _read_form_as_typed(body, content_type, mistakes, at_leisure=at_leisure)
        return payload or _read_text(body, content_type, mistakes, at_leisure=at_leisure)
    except InvalidPayload:
        return None


def _read_form_as_typed(
    body: bytes, content_type: str, mistakes: list[str], *, at_leisure: bool
) -> dict[str, object] | None:
    if begins_as_json(body):
        return None
    form = after_mark(body)
    if media_type_of(content_type) == URLENCODED and has_escaped_separators(form) and not DELIMITER.match(form):
        mistakes.append(_ESCAPED_SEPARATORS)
        return read_escaped_urlencoded(form, content_type, at_leisure=at_leisure)
    return read_multipart_leniently(form, content_type, mistakes, at_leisure=at_leisure)


def _read_text(body: bytes, content_type: str, mistakes: list[str], *, at_leisure: bool) -> dict[str, object] | None:
    wrappings: list[str] = []
    text = unwrap(body, wrappings)
    mistakes += wrappings
    if _BINARY.search(text):
        return None
    if not begins_as_json(text):
        return read_untyped_form(text, content_type, mistakes, at_leisure=at_leisure)
    # Without a wrapping it is the text that was refused just now.
    payload = _read_strictly(text, "", at_leisure=at_leisure) if wrappings else None
    return read_json_leniently(text, mistakes, at_leisure=at_leisure) if payload is None else payload
