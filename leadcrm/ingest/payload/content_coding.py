"""Decodes a request's `Content-Encoding` (RFC 9110, section 8.4.1) within a bound.

No body makes it hold more than the bound and zlib's window in memory. It ignores bytes after the end of a compressed
stream, as gzip(1) does, and rejects a stream that ends early.
"""

import zlib
from collections.abc import Iterator
from contextlib import suppress

from leadcrm.errors import InvalidPayload

# Some proxies compress an already compressed body. A longer list is an attack on CPU time.
_MAX_CODINGS = 2
# RFC 1952 allows several members. Each one costs a copy of the rest, so their number is bounded.
_MAX_GZIP_MEMBERS = 16
_GZIP_MAGIC = b"\x1f\x8b"

_GZIP_WINDOW_BITS = 31
_ZLIB_WINDOW_BITS = 15
_RAW_WINDOW_BITS = -15


def decode_body(body: bytes, content_encoding: str, max_decoded_bytes: int) -> bytes:
    """Return the body with its codings undone, the last applied first.

    Raises:
        InvalidPayload: A coding is unknown, there are more than two, a stream is corrupt or truncated, or the body is
            longer than `max_decoded_bytes` at any stage.
    """
    codings = _codings(content_encoding)
    if len(codings) > _MAX_CODINGS:
        raise InvalidPayload(f"the body has {len(codings)} content codings, at most {_MAX_CODINGS} are undone")
    for coding in reversed(codings):
        body = _undo(coding, body, max_decoded_bytes)
    return body


def possible_bodies(body: bytes, content_encoding: str, max_decoded_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Yield what the body may be if its codings are not those of the header, and whether they are all the same.

    The codings that cannot be undone are taken as never applied. The body with all others undone comes first, the body
    as received last.
    """
    bodies = [body]
    codings = _codings(content_encoding)
    for coding in reversed(codings if len(codings) <= _MAX_CODINGS else []):
        with suppress(InvalidPayload):
            bodies.append(_undo(coding, bodies[-1], max_decoded_bytes))
    for undone in reversed(range(len(bodies))):
        yield bodies[undone], undone == len(codings)


def is_gzip(body: bytes) -> bool:
    """Say whether a body begins as gzip does, whatever its header says."""
    return body.startswith(_GZIP_MAGIC)


def _codings(content_encoding: str) -> list[str]:
    codings = [coding for name in content_encoding.split(",") if (coding := name.strip().lower())]
    return [coding for coding in codings if coding != "identity"]


def _undo(coding: str, body: bytes, max_decoded_bytes: int) -> bytes:
    if coding in ("gzip", "x-gzip"):
        return _gunzip(body, max_decoded_bytes)
    if coding == "deflate":
        return _inflate(body, max_decoded_bytes)
    raise InvalidPayload("the body's content coding is unknown, send gzip, deflate or none")


def _gunzip(body: bytes, max_decoded_bytes: int) -> bytes:
    decoded = b""
    for _ in range(_MAX_GZIP_MEMBERS):
        member, body = _decompress(body, _GZIP_WINDOW_BITS, max_decoded_bytes - len(decoded))
        decoded += member
        if not body.startswith(_GZIP_MAGIC):
            return decoded
    raise InvalidPayload(f"the gzip body has more than {_MAX_GZIP_MEMBERS} members")


def _inflate(body: bytes, max_decoded_bytes: int) -> bytes:
    # RFC 9110 specifies zlib's format, but just as many senders omit its header.
    window_bits = _ZLIB_WINDOW_BITS if _has_zlib_header(body) else _RAW_WINDOW_BITS
    return _decompress(body, window_bits, max_decoded_bytes)[0]


def _has_zlib_header(body: bytes) -> bool:
    """Say whether a zlib header follows (RFC 1950, section 2.2): method 8, and two bytes that are a multiple of 31."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _decompress(body: bytes, window_bits: int, max_decoded_bytes: int) -> tuple[bytes, bytes]:
    decompressor = zlib.decompressobj(window_bits)
    try:
        decoded = decompressor.decompress(body, max_decoded_bytes + 1)
    except zlib.error as error:
        raise InvalidPayload("the compressed body is corrupt") from error
    if len(decoded) > max_decoded_bytes:
        raise InvalidPayload(f"the body decodes to more than {max_decoded_bytes} bytes")
    if not decompressor.eof:
        raise InvalidPayload("the compressed body ends early")
    return decoded, decompressor.unused_data
