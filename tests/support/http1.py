"""Parses HTTP/1.1 responses; those of leadcrm have a Content-Length or no body."""

from __future__ import annotations

from dataclasses import dataclass

BODILESS_STATUSES = frozenset({204, 304})


@dataclass(frozen=True)
class ParsedAnswer:
    """One complete response and its size in bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    size_bytes: int


def parse_answer(received: bytes) -> ParsedAnswer | None:
    """Return the first response in `received`, or None while it is incomplete.

    Raises:
        ValueError: the bytes are no HTTP response, or the response does not state its length.
    """
    head, separator, rest = received.partition(b"\r\n\r\n")
    if not separator:
        if len(received) >= 5 and not received.startswith(b"HTTP/"):
            raise ValueError(f"no HTTP answer: {received[:60]!r}")
        return None
    status_line, *lines = head.decode("latin-1").split("\r\n")
    status = int(status_line.split(" ", 2)[1])
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    head_size_bytes = len(head) + len(separator)
    if 100 <= status < 200:
        following = parse_answer(rest)
        if following is None:
            return None
        return ParsedAnswer(following.status, following.headers, following.body, head_size_bytes + following.size_bytes)
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    if not lengths and status not in BODILESS_STATUSES:
        raise ValueError(f"an answer {status} without Content-Length")
    length = int(lengths[0]) if lengths else 0
    if len(rest) < length:
        return None
    return ParsedAnswer(status, headers, rest[:length], head_size_bytes + length)
