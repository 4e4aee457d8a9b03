"""The text of a request's headers, which may be in any encoding, as it can be stored and sent back."""

from __future__ import annotations

from sanic.compat import Header

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


def joined_headers(headers: Header, *, is_plain: bool) -> dict[str, str]:
    """Return the headers, repeated ones joined (RFC 9110, section 5.2).

    `is_plain` says that they are ASCII without NUL, as nearly all are.
    """
    # A plain string: the framework's own kind is no key of JSON.
    plain = {str(name): value for name, value in headers.items()}
    if is_plain and len(plain) == len(headers):
        return plain
    return {readable(name): ", ".join(map(readable, headers.getall(name))) for name in plain}
