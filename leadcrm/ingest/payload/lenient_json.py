"""Reads JSON in spite of what its senders wrap it in, and of line breaks and tabs that they did not escape."""

import json
import re
from codecs import BOM_UTF8

from leadcrm.ingest.payload.json import read_json

# Some senders encode twice, hardly any three times. Each wrapping costs a copy of the body.
_MAX_WRAPPINGS = 3

_BLANKS = b" \t\r\n"
_RAW_BREAK = re.compile(rb"[\t\n\r]")
_ESCAPES = {b"\t": rb"\t", b"\n": rb"\n", b"\r": rb"\r"}
_TEXT_DECODER = json.JSONDecoder(strict=False)

_TRAILING_NUL = "a NUL follows the text"
_LIST = "the object is the only one of a list"
_STRING = "the text is in a JSON string"
_RAW_BREAKS = "a text in the JSON holds a raw line break or tab"


def unwrap(body: bytes, mistakes: list[str]) -> bytes:
    """Return the text in lists of one, JSON strings and trailing NULs, and add these mistakes to the list.

    A text in no such wrapping only loses its byte order mark and the blanks around it.
    """
    for _ in range(_MAX_WRAPPINGS):
        body = _bare(body, mistakes)
        inner = _only_element(body) if body[:1] == b"[" else _string_value(body)
        if inner is None:
            return body
        mistakes.append(_LIST if body[:1] == b"[" else _STRING)
        body = inner
    return _bare(body, mistakes)


def _bare(body: bytes, mistakes: list[str]) -> bytes:
    body = body.removeprefix(BOM_UTF8).strip(_BLANKS)
    if body.endswith(b"\x00"):
        mistakes.append(_TRAILING_NUL)
        body = body.rstrip(_BLANKS + b"\x00")
    return body


def _only_element(text: bytes) -> bytes | None:
    """Return what stands between a list's brackets. Two elements are no JSON value, which their reader finds."""
    inner = text[1:-1].strip(_BLANKS)
    return inner if text.endswith(b"]") and inner[:1] in (b"{", b'"') else None


def _string_value(text: bytes) -> bytes | None:
    if len(text) < 2 or not (text.startswith(b'"') and text.endswith(b'"')):
        return None
    try:
        value: str = _TEXT_DECODER.decode(text.decode())
        return value.encode()
    except ValueError:
        return None


def read_json_leniently(text: bytes, mistakes: list[str], *, at_leisure: bool) -> dict[str, object] | None:
    """Return the object in a text in which the strict reading finds none, or None.

    Args:
        text: Without control characters other than blanks.
        mistakes: Gets the mistakes that were found.

    Raises:
        InvalidPayload: The text has another fault too.
    """
    escaped = with_breaks_escaped(text)
    if escaped is None:
        return None
    mistakes.append(_RAW_BREAKS)
    return read_json(escaped, at_leisure=at_leisure)


def with_breaks_escaped(text: bytes) -> bytes | None:
    """Return JSON with the raw line breaks and tabs within its strings escaped, or None if it has none."""
    if not _RAW_BREAK.search(text) or b'"' not in text:
        return None
    # The text holds no other control characters, so two of them can replace the escapes that may hide a quote.
    pieces = text.replace(b"\\\\", b"\x00").replace(b'\\"', b"\x01").split(b'"')
    strings = b'"'.join(pieces[1::2])
    if not _RAW_BREAK.search(strings):
        return None
    for raw, escape in _ESCAPES.items():
        strings = strings.replace(raw, escape)
    pieces[1::2] = strings.split(b'"')
    return b'"'.join(pieces).replace(b"\x01", b'\\"').replace(b"\x00", b"\\\\")
