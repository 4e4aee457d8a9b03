"""Reads forms whose Content-Type says too little or something else.

A form is taken for one only if it has a field of a lead: nearly any bytes could be a form without one.
"""

import re

from leadcrm.ingest.payload.effort import require_few_references
from leadcrm.ingest.payload.form import (
    DELIMITER,
    has_escaped_separators,
    read_escaped_urlencoded,
    read_lines,
    read_urlencoded,
)
from leadcrm.ingest.payload.multipart import boundary_of, read_parts
from leadcrm.ingest.payload.reader import URLENCODED, media_type_of
from leadcrm.sources.charset_labels import UTF_8

# The first name of a form. JSON, markup, a path and a URL begin with other characters before their first equals sign.
_FIRST_PAIR = re.compile(rb'[^<>{}"\\/?\r\n=]{0,200}=')

# A pair on a line of its own, as in a form of the type text/plain. No encoder leaves a line break in a urlencoded form.
_LATER_LINE = re.compile(rb"[\r\n][\w.\[\]-]{1,100}=")

_UNTYPED = "the form's Content-Type is missing or names something else"
_ESCAPED_SEPARATORS = "&amp; separates the form's fields"
_BOUNDARY_IN_BODY = "the multipart form's Content-Type does not name its boundary"
_PREAMBLE = "text precedes the multipart form"
_LINE_FEEDS = "the multipart form's lines end in bare line feeds"


def read_untyped_form(
    text: bytes, content_type: str, mistakes: list[str], *, at_leisure: bool
) -> dict[str, object] | None:
    """Return the lead's fields of a urlencoded form, or of one of the type `text/plain`; None if there are none.

    Args:
        text: Without blanks around it.
        content_type: The header's value; only its charset counts.
        mistakes: Gets the mistakes that were found.

    Raises:
        InvalidPayload: The form has too many fields.
    """
    # Some senders write the question mark of the query string that their form would be.
    text = text.removeprefix(b"?")
    if not _FIRST_PAIR.match(text):
        return None
    if media_type_of(content_type) != URLENCODED:
        mistakes.append(_UNTYPED)
    if has_escaped_separators(text):
        mistakes.append(_ESCAPED_SEPARATORS)
        return read_escaped_urlencoded(text, content_type, at_leisure=at_leisure)
    fields = read_urlencoded(text, content_type, at_leisure=at_leisure)
    if _LATER_LINE.search(text):
        if not at_leisure:
            require_few_references(text)
        lines = read_lines(text, content_type)
        fields = lines if len(lines) >= len(fields) else fields
    return fields or None


def read_multipart_leniently(
    body: bytes,
    content_type: str,
    mistakes: list[str],
    *,
    whole: bool = False,
    default: str = UTF_8,
    at_leisure: bool,
) -> dict[str, object] | None:
    """Return the lead's fields of a multipart form that the strict reading refused; None if it is none or has none.

    Args:
        body: Without a byte order mark and blanks in front.
        content_type: The header's value. A body of another type is a form if it begins as one.
        mistakes: Gets the mistakes that were found.
        whole: All fields by their names, not those of a lead alone.
        default: The codec of text that is not UTF-8 and for which no charset is named.
        at_leisure: Whether the reading may take long. Otherwise others wait for it.

    Raises:
        InvalidPayload: It is such a form, but malformed or cut off.
    """
    is_typed = "multipart/" in content_type.lower()
    boundary = boundary_of(content_type) if is_typed else b""
    start = _first_delimiter(body, boundary) if boundary else -1
    found: list[str] = []
    if start < 0:
        delimiter = DELIMITER.search(body) if is_typed else DELIMITER.match(body)
        if delimiter is None:
            return None
        start, boundary = delimiter.start(), delimiter[1].rstrip(b" \t")
        found.append(_BOUNDARY_IN_BODY)
    if start > 0:
        found.append(_PREAMBLE)
    form = body[start:]
    if form.startswith(b"\n", len(b"--" + boundary)):
        found.append(_LINE_FEEDS)
    if not found:
        return None
    mistakes += found
    if _LINE_FEEDS in found:
        form = form.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        fields = read_parts(form, content_type, boundary, whole=whole, default=default, at_leisure=at_leisure)
        return {name: str(text).replace("\r\n", "\n") for name, text in fields.items()} or None
    return read_parts(form, content_type, boundary, whole=whole, default=default, at_leisure=at_leisure) or None


def _first_delimiter(body: bytes, boundary: bytes) -> int:
    """Return where the first line begins that is the boundary's delimiter, -1 if there is none."""
    delimiter = b"--" + boundary
    start = 0 if body.startswith(delimiter) else body.find(b"\n" + delimiter) + 1
    end = start + len(delimiter)
    is_delimiter = body.startswith(delimiter, start) and body[end : end + 1] in (b"\r", b"\n", b" ", b"\t")
    return start if is_delimiter else -1
