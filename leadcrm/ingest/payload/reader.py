"""Reads a request's body as a payload, in the format that the body has.

This module only chooses the reader: `json` and `form` read the formats, `content_coding` undoes the codings. Every body
gives a payload or `InvalidPayload`, within bounds of memory and time. The caller keeps the received bytes first, and
they are never changed.
"""

from codecs import BOM_UTF8

from leadcrm.ingest.payload.content_coding import decode_body
from leadcrm.ingest.payload.effort import require_short
from leadcrm.ingest.payload.form import read_urlencoded
from leadcrm.ingest.payload.json import read_json
from leadcrm.ingest.payload.multipart import read_multipart

URLENCODED = "application/x-www-form-urlencoded"

_JSON_BLANKS = b" \t\n\r"


def read_payload(
    body: bytes, *, content_type: str, content_encoding: str, max_decoded_bytes: int, at_leisure: bool = True
) -> dict[str, object]:
    """Return the payload in a request's body.

    Args:
        body: The bytes as received.
        content_type: The header's value, empty if it is missing. A JSON object is read under any type.
        content_encoding: The header's value, empty if it is missing.
        max_decoded_bytes: The limit of the body's length once its content codings are undone.
        at_leisure: Whether the reading may take long. Otherwise others wait for it.

    Returns:
        The payload's members. The fields of a lead are str, bool or None; a number, an object or an array is its JSON
        text, as the sender wrote it. Other members may be missing.

    Raises:
        InvalidPayload: The body holds no readable JSON object and no readable form.
        TooLaborious: Without leisure, the body cannot be read.
    """
    if content_encoding:
        body = decode_body(body, content_encoding, max_decoded_bytes)
        if not at_leisure:
            require_short(body)
    return read_decoded(body, content_type, at_leisure=at_leisure)


def read_decoded(body: bytes, content_type: str, *, at_leisure: bool = True) -> dict[str, object]:
    """Return the payload in a body whose content codings are undone.

    Raises:
        InvalidPayload: The body holds no readable JSON object and no readable form.
        TooLaborious: Without leisure, the body cannot be read.
    """
    media_type = media_type_of(content_type)
    # `curl -d '{…}'` and many HTTP libraries send JSON under a form's type. No form begins with an unencoded bracket.
    if media_type == URLENCODED and not begins_as_json(body):
        return read_urlencoded(body, content_type, at_leisure=at_leisure)
    if media_type == "multipart/form-data" and not begins_as_json(body):
        return read_multipart(body, content_type, at_leisure=at_leisure)
    return read_json(body, at_leisure=at_leisure)


def media_type_of(content_type: str) -> str:
    """Return a Content-Type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def begins_as_json(body: bytes) -> bool:
    """Say whether the body begins as a JSON object or array does."""
    return body.removeprefix(BOM_UTF8).lstrip(_JSON_BLANKS)[:1] in (b"{", b"[")
