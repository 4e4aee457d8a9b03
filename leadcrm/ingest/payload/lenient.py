"""Reads a body a second time, leniently, where the strict reading finds no payload.

Each way names one mistake that senders make. A way that changes what the strict reading reads has no place here: it is
never asked. All are as bounded in memory and time as the strict reading.
"""

import re
from typing import NamedTuple

from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.content_coding import possible_bodies
from leadcrm.ingest.payload.reader import begins_as_json, read_decoded

# No text holds them, but nearly every compressed body does.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")


class LenientReading(NamedTuple):
    """A payload, and the sender's mistake that it was read in spite of."""

    payload: dict[str, object]
    mistake: str


def read_leniently(
    body: bytes, *, content_type: str, content_encoding: str, max_decoded_bytes: int
) -> LenientReading | None:
    """Return the payload of a body that `read_payload` refuses with these arguments, or None if there is none."""
    if content_encoding:
        for possible in possible_bodies(body, content_encoding, max_decoded_bytes):
            payload = _payload(possible, content_type)
            if payload is not None:
                return LenientReading(payload, "the content coding is not what the header says")
    return None


def _payload(body: bytes, content_type: str) -> dict[str, object] | None:
    if _BINARY.search(body) and "multipart/" not in content_type.lower():
        return None
    try:
        payload = read_decoded(body, content_type)
    except InvalidPayload:
        return None
    # Any bytes with an equals sign are a form. Only a lead's field shows that this one is meant.
    return payload if payload or begins_as_json(body) else None
