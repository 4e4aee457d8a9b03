"""The text of a request's headers, which may be in any encoding, as it can be stored and sent back."""

from __future__ import annotations

from leadcrm.ingest.normalize import storable

MAX_ECHO = 200
"""Characters of a sender's header that are repeated in an answer or in the log."""


def header_text(value: bytes) -> str:
    """Return a header's bytes as text: UTF-8, else the historic Latin-1 (RFC 9110, section 5.5)."""
    try:
        return storable(value.decode())
    except UnicodeDecodeError:
        return storable(value.decode("latin-1"))


def readable(value: str) -> str:
    """Return a header from the framework as text: there, bytes that are not UTF-8 are surrogates."""
    if value.isascii() and "\x00" not in value:
        return value
    return header_text(value.encode(errors="surrogateescape"))
