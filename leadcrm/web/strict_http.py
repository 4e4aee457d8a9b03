"""The framework's HTTP/1.1, less what two readers could read differently.

A proxy in front that ends a request elsewhere than this server does lets a sender hide a second request in the body
of the first. So a head or a chunk that is not what RFC 9112 says is refused, where the framework would guess.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any

from sanic.compat import Header
from sanic.exceptions import BadRequest
from sanic.http import Http

LONGEST_CHUNK_HEAD = 1024
"""Bytes of a chunk's size and extensions."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 9112, sections 2.2, 5 and 5.1: no bare CR or LF, no folded line, no blank before the colon.
_HEAD = re.compile(rb"[^\r\n]*(?:\r\n" + _TOKEN + rb":[^\r\n]*)*")
# Section 6.1. The framework strips more than blanks.
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*(?:\r\n|$)", re.IGNORECASE)
# Section 7.1, with what stands before it: the end of the head's or of a chunk's line.
_CHUNK_HEAD = re.compile(rb"\r\n[0-9A-Fa-f]{1,15}[ \t]*(?:;[^\r\n]*)?\r\n")


class StrictHttp(Http):
    """One connection's requests."""

    __slots__ = ()

    async def http1_request_header(self) -> None:
        """Read a head. Raises `BadRequest`."""
        await super().http1_request_header()
        if not _is_unambiguous(self.request.head, self.request.headers):
            # Nobody knows where this request ends, so nothing after it is read.
            self.keep_alive = False
            self.request_body = None
            raise BadRequest("an ambiguous head")

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
            self.keep_alive = False
            self.request_body = None
            raise BadRequest("an ambiguous chunk")


def _is_unambiguous(head: bytes, headers: Header) -> bool:
    if not _HEAD.fullmatch(head):
        return False
    length: str | None = headers.get("content-length")
    if length is not None:
        return length.isascii() and length.strip(" \t").isdigit()
    return "transfer-encoding" not in headers or _CHUNKED.search(head) is not None
