"""The framework's HTTP/1.1 parser, without its tolerance for ambiguous requests.

If a proxy in front and this server disagree about where a request ends, a sender can smuggle a second request in the
body of the first. So a head or a chunk that violates RFC 9112 is refused, where the framework would guess.
"""

from __future__ import annotations

import re
from asyncio import sleep
from collections.abc import Coroutine
from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import Any, NoReturn

from sanic.exceptions import BadRequest, ExpectationFailed
from sanic.http import Http
from sanic.request import Request

MAX_CHUNK_HEAD_BYTES = 1024
"""A chunk's size and its extensions."""

MAX_TRAILERS_BYTES = 8192

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 9112, sections 2.2, 3, 5 and 5.1: a method that is a token, no bare CR or LF, no folded line, no blank before the
# colon.
_METHOD = re.compile(_TOKEN + rb" ")
_HEAD = re.compile(_TOKEN + rb" [^\r\n]*(?:\r\n" + _TOKEN + rb":[^\r\n]*)*")
_HEAD_BEGINNING = re.compile(_TOKEN + rb"(?:\Z| [^\r\n]*\r?\Z| [^ \r\n]+ HTTP/1\.[01]\r\n)")
# Section 6.1. The framework would strip other characters than blanks and tabs too.
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*(?:\r\n|$)", re.IGNORECASE)
# The framework knows these values only in lower case and without blanks after them. They have no case: RFC 9112,
# section 7, and RFC 9110, section 10.1.1.
_OTHER_SPELLING = re.compile(
    rb"(?<=\r\n)(transfer-encoding:[ \t]*chunked|expect:[ \t]*100-continue)[ \t]*(?=\r\n)", re.IGNORECASE
)
# curl and scripts in PHP send a query as it was typed, and proxies pass it on. The framework takes ASCII alone.
_QUERY_BEYOND_ASCII = re.compile(_TOKEN + rb" /[!->@-~]*\?([!-\xff]*) HTTP/1\.[01]\r\n")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
# RFC 9110, section 8.6. The framework strips whatever Unicode calls white space before it reads the number.
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*[0-9]+[ \t]*(?:\r\n|$)", re.IGNORECASE)
# Section 3.2 and RFC 3986, section 3.2.2: a name, an address, or nothing, and a port.
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*(?::[0-9]*)?|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")
# Section 7.1, preceded by the line break that ends the head or the chunk before. An extension holds no control
# characters, and closes its quotes.
_TEXT = rb"[^\"\\\x00-\x08\x0a-\x1f\x7f]"
_ESCAPED = rb"\\[^\x00-\x08\x0a-\x1f\x7f]"
_EXTENSION = rb"[ \t]*(?:;(?:" + _TEXT + rb"|\\|\"(?:" + _TEXT + rb"|" + _ESCAPED + rb")*\")*)?"
_CHUNK_HEAD = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})" + _EXTENSION + rb"\r\n")
# Section 7.1.2. Fields about the length, the sender or the key of a request are allowed in its head alone.
_TRAILERS = re.compile(rb"(?:" + _TOKEN + rb":[^\r\n]*\r\n)+")
_FORBIDDEN_TRAILER = re.compile(
    rb"^(?:content-length|transfer-encoding|host|connection|expect|authorization|idempotency-key):",
    re.IGNORECASE | re.MULTILINE,
)
# Section 3.2: a path with its query, or a whole URL with a path.
_TARGET = re.compile(r"(?:/|\*$|[A-Za-z][A-Za-z0-9+.-]*://[^/?#]+/)[^#]*\Z")


class _Clock:
    """The time as answers carry it (RFC 9110, section 6.6.1), written once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._date = ""

    def date(self) -> str:
        second = int(time())
        if second != self._second:
            self._date = formatdate(second, usegmt=True)
            self._second = second
        return self._date


_clock = _Clock()


class StrictHttp(Http):
    """Reads the requests of one connection."""

    __slots__ = ()
    # A `LingeringProtocol`, which imports this module.
    protocol: Any

    async def http1_request_header(self) -> None:
        """Read a head.

        Raises:
            BadRequest: two readers could understand the head differently.
        """
        # The protocol measures the time of each head and of each body by itself.
        self.protocol.arriving_since = 0.0
        if self.protocol.has_waited:
            self.protocol.has_waited = False
        else:
            # It came together with the request before. A thousand of them fit into 64 KiB, and others have their turn.
            await sleep(0)
            self.protocol.count_none_ahead()
        if self.recv_buffer.startswith(b"\r\n"):
            # Section 2.2: some senders send a line break after a body that does not belong to it.
            del self.recv_buffer[:2]
        try:
            try:
                await super().http1_request_header()
            except (BadRequest, ExpectationFailed):
                if not self._respell():
                    raise
                await super().http1_request_header()
        except BadRequest:
            self._refuse_target()
        if self.url is None or not _TARGET.match(self.url):
            self._refuse_target()
        if not _is_unambiguous(self.request):
            if not _METHOD.match(self.request.head):
                # It is the end of a body that was longer than its Content-Length, and no log may hold that.
                self._refuse_target()
            self._refuse_connection("an ambiguous head")
        if self.expecting_continue and self.request.version == "1.0":
            # RFC 9110, section 10.1.1: such a sender would take the 100 for the answer.
            self.expecting_continue = False
        self.protocol.arriving_since = 0.0
        ahead = len(self.recv_buffer) - (self.request_bytes_left or 0)
        if ahead > 0:
            self.protocol.count_ahead(ahead)

    def http1_response_header(self, data: bytes, end_stream: bool) -> Coroutine[Any, Any, None]:
        """Send the head of an answer with its date, without the 100 that the framework would send before it.

        An answer that comes before the body was read is the last one, unless all of the body has come with the head.
        """
        assert self.response is not None
        self.response.headers["date"] = _clock.date()
        if self.expecting_continue:
            self.expecting_continue = False
            # The line break before the first chunk stays in the buffer.
            if self.recv_buffer in (b"", b"\r\n"):
                # The sender waits for its 100. It may send its body or not, so no request can follow.
                self.keep_alive = False
                self.request_body = None
        self.leave_body()
        return super().http1_response_header(data, end_stream)

    def leave_body(self) -> None:
        """Drop what has come of a body that nobody wants, and read no more of it."""
        if not self.request_body:
            return
        # Declared as bytes, but the framework stores True or the word "chunked" in it.
        kind: object = self.request_body
        self.request_body = None
        if kind is True and (self.request_bytes_left or 0) <= len(self.recv_buffer):
            del self.recv_buffer[: self.request_bytes_left]
            return
        self.keep_alive = False
        self.recv_buffer.clear()
        self.protocol.has_unwanted_body = True

    def _respell(self) -> bool:
        """Write a refused head as the framework knows it; return whether that changed anything.

        The bytes of its query that are not ASCII become escapes. Where the request ends does not depend on them.
        """
        end = self.recv_buffer.find(b"\r\n\r\n") + 2
        head = bytes(self.recv_buffer[:end])
        respelled = _OTHER_SPELLING.sub(lambda field: field[1].lower(), head)
        if query := _QUERY_BEYOND_ASCII.match(respelled):
            escaped = _BEYOND_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), query[1])
            respelled = respelled[: query.start(1)] + escaped + respelled[query.end(1) :]
        self.recv_buffer[:end] = respelled
        return respelled != head

    def _refuse_connection(self, why: str) -> NoReturn:
        """Refuse the request and close the connection: it is unknown where this request ends and the next begins."""
        self.keep_alive = False
        self.request_body = None
        raise BadRequest(why)

    def _refuse_target(self) -> NoReturn:
        """Refuse the request and forget its target: the framework fails on one without a path, and logs it."""
        self.url = None
        # Its state before a head is read.
        self.request = None  # type: ignore[assignment]
        self.request_body = None
        raise BadRequest("no target")

    def read(self) -> Coroutine[Any, Any, bytes | None]:
        """Read a part of the body.

        Raises:
            BadRequest: two readers could understand a chunk differently.
        """
        # The framework declares it as bytes, but stores True or the word "chunked" in it.
        kind: object = self.request_body
        if kind == "chunked" and not self.request_bytes_left:
            return self._read_chunk()
        # Returned, not awaited: another coroutine around the framework's would cost each request half a microsecond.
        return super().read()

    async def _read_chunk(self) -> bytes | None:
        await self._require_chunk_head()
        data: bytes | None = await super().read()
        return data

    async def _require_chunk_head(self) -> None:
        buffer = self.recv_buffer
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while (end := buffer.find(b"\r\n", 2)) < 0 and len(buffer) <= MAX_CHUNK_HEAD_BYTES:
            await self._receive_more()
        head = _CHUNK_HEAD.fullmatch(buffer, 0, end + 2) if 0 <= end <= MAX_CHUNK_HEAD_BYTES else None
        if head is None:
            self._refuse_connection("an ambiguous chunk")
        is_last = not int(head[1], 16)
        # While a buffer is matched, it cannot be changed.
        del head
        if is_last:
            await self._drop_trailers(end + 2)

    async def _drop_trailers(self, start: int) -> None:
        """Read and drop the fields after the last chunk, which the framework would refuse."""
        buffer = self.recv_buffer
        while len(buffer) < start + 2:
            await self._receive_more()
        if buffer.startswith(b"\r\n", start):
            return
        while (end := buffer.find(b"\r\n\r\n", start)) < 0 and len(buffer) - start <= MAX_TRAILERS_BYTES:
            await self._receive_more()
        trailers = buffer[start : end + 2]
        is_bounded = 0 <= end - start <= MAX_TRAILERS_BYTES
        if not is_bounded or not _TRAILERS.fullmatch(trailers) or _FORBIDDEN_TRAILER.search(trailers):
            self._refuse_connection("ambiguous trailers")
        del buffer[start : end + 2]


def may_begin_head(received: bytes | bytearray) -> bool:
    """Say whether more bytes could make a head of these: a TLS handshake or bare line feeds never become one."""
    return bool(_HEAD_BEGINNING.match(received)) and received.count(b"\n") == received.count(b"\r\n")


def _is_unambiguous(request: Request) -> bool:
    head, headers = request.head, request.headers
    if not _HEAD.fullmatch(head):
        return False
    hosts = headers.getall("host", ())
    if len(hosts) != 1 and (hosts or request.version != "1.0"):
        return False
    if hosts and not _is_host(hosts[0]):
        return False
    length: str | None = headers.get("content-length")
    if length is not None:
        # The first is how nearly all write it, and found in a fraction of the time.
        plain = b"\r\nContent-Length: %b\r\n" % length.encode(errors="surrogateescape")
        return length.isdigit() and length.isascii() and (plain in head or _LENGTH.search(head) is not None)
    # Section 6.1: a sender of HTTP/1.0 knows no chunks, so whatever came before it may not have known them either.
    return "transfer-encoding" not in headers or (request.version != "1.0" and _CHUNKED.search(head) is not None)


@lru_cache(256)
def _is_host(text: str) -> bool:
    return _HOST.fullmatch(text) is not None
