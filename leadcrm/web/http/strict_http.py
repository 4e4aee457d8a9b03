"""The framework's HTTP/1.1, less what two readers could read differently.

A proxy in front that ends a request elsewhere than this server does lets a sender hide a second request in the body
of the first. So a head or a chunk that is not what RFC 9112 says is refused, where the framework would guess.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, NoReturn

from sanic.compat import Header
from sanic.exceptions import BadRequest, BadURL
from sanic.http import Http

LONGEST_CHUNK_HEAD = 1024
"""Bytes of a chunk's size and extensions."""

LONGEST_TRAILERS = 8192

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 9112, sections 2.2, 5 and 5.1: no bare CR or LF, no folded line, no blank before the colon.
_HEAD = re.compile(rb"[^\r\n]*(?:\r\n" + _TOKEN + rb":[^\r\n]*)*")
# Section 6.1. The framework strips more than blanks.
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*(?:\r\n|$)", re.IGNORECASE)
# Section 7.1, with what stands before it: the end of the head's or of a chunk's line.
_CHUNK_HEAD = re.compile(rb"\r\n[0-9A-Fa-f]{1,15}[ \t]*(?:;[^\r\n]*)?\r\n")
_LAST_CHUNK_HEAD = re.compile(rb"\r\n0+[ \t]*(?:;[^\r\n]*)?\r\n")
# Section 7.1.2. Fields that would say where a request ends or whose it is belong into a head alone.
_TRAILERS = re.compile(rb"(?:" + _TOKEN + rb":[^\r\n]*\r\n)+")
_NO_TRAILER = re.compile(
    rb"^(?:content-length|transfer-encoding|host|connection|expect|authorization|idempotency-key):",
    re.IGNORECASE | re.MULTILINE,
)
# Section 3.2: a path with its query, or a whole URL with a path.
_TARGET = re.compile(r"/|\*$|[A-Za-z][A-Za-z0-9+.-]*://[^/?#]+/")


class StrictHttp(Http):
    """One connection's requests."""

    __slots__ = ()

    async def http1_request_header(self) -> None:
        """Read a head. Raises `BadRequest`."""
        if self.recv_buffer.startswith(b"\r\n"):
            # Section 2.2: some senders end a body with a line break that is none of it.
            del self.recv_buffer[:2]
        try:
            await super().http1_request_header()
        except BadURL:
            self._refuse_target()
        if self.url is None or not _TARGET.match(self.url):
            self._refuse_target()
        if not _is_unambiguous(self.request.head, self.request.headers):
            self._refuse_the_rest("an ambiguous head")

    def _refuse_the_rest(self, why: str) -> NoReturn:
        """Raise `BadRequest`: nobody knows where this request ends, so nothing after it is read."""
        self.keep_alive = False
        self.request_body = None
        raise BadRequest(why)

    def _refuse_target(self) -> NoReturn:
        """Raise `BadRequest`, with a request of no target: the framework fails on one without a path, and tells it."""
        self.url = None
        # As it is before a head is read.
        self.request = None  # type: ignore[assignment]
        self.request_body = None
        raise BadRequest("no target")

    def read(self) -> Coroutine[Any, Any, bytes | None]:
        """Read some of the body. Raises `BadRequest`."""
        # Declared as bytes by the framework, which keeps True or this word in it.
        kind: object = self.request_body
        if kind == "chunked" and not self.request_bytes_left:
            return self._read_chunk()
        # Handed on, not awaited: a coroutine round the framework's would cost each request half a microsecond.
        return super().read()

    async def _read_chunk(self) -> bytes | None:
        await self._insist_on_a_chunk()
        data: bytes | None = await super().read()
        return data

    async def _insist_on_a_chunk(self) -> None:
        buffer = self.recv_buffer
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while (end := buffer.find(b"\r\n", 2)) < 0 and len(buffer) <= LONGEST_CHUNK_HEAD:
            await self._receive_more()
        if not 0 <= end <= LONGEST_CHUNK_HEAD or not _CHUNK_HEAD.fullmatch(buffer, 0, end + 2):
            self._refuse_the_rest("an ambiguous chunk")
        if _LAST_CHUNK_HEAD.fullmatch(buffer, 0, end + 2):
            await self._drop_trailers(end + 2)

    async def _drop_trailers(self, start: int) -> None:
        """Read the fields that follow the last chunk, which nobody here asks for: the framework would refuse them."""
        buffer = self.recv_buffer
        while len(buffer) < start + 2:
            await self._receive_more()
        if buffer.startswith(b"\r\n", start):
            return
        while (end := buffer.find(b"\r\n\r\n", start)) < 0 and len(buffer) - start <= LONGEST_TRAILERS:
            await self._receive_more()
        trailers = buffer[start : end + 2]
        is_bounded = 0 <= end - start <= LONGEST_TRAILERS
        if not is_bounded or not _TRAILERS.fullmatch(trailers) or _NO_TRAILER.search(trailers):
            self._refuse_the_rest("ambiguous trailers")
        del buffer[start : end + 2]


def _is_unambiguous(head: bytes, headers: Header) -> bool:
    if not _HEAD.fullmatch(head):
        return False
    length: str | None = headers.get("content-length")
    if length is not None:
        return length.isascii() and length.strip(" \t").isdigit()
    return "transfer-encoding" not in headers or _CHUNKED.search(head) is not None
