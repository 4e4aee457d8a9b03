"""The parts of an answer: the catalogue of refusals, the cross-origin headers, the JSON response.

Invariant: a body holds exactly the contract's text, never a driver's message or a stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sanic.request import Request
from sanic.response import HTTPResponse

RETRY_AFTER_S = 5
"""When a sender should retry after a 503: the longest pause between two attempts to reach the database."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer to a request that is refused: its status and the word in its body."""

    status: int
    error: str

    @property
    def body(self) -> bytes:
        """Return the JSON body."""
        return b'{"ok":false,"error":"%s"}' % self.error.encode()


INVALID_PAYLOAD = Refusal(400, "invalid_payload")
BAD_REQUEST = Refusal(400, "bad_request")
UNAUTHORIZED = Refusal(401, "unauthorized")
NOT_FOUND = Refusal(404, "not_found")
METHOD_NOT_ALLOWED = Refusal(405, "method_not_allowed")
REQUEST_TIMEOUT = Refusal(408, "request_timeout")
PAYLOAD_TOO_LARGE = Refusal(413, "payload_too_large")
EXPECTATION_FAILED = Refusal(417, "expectation_failed")
RATE_LIMITED = Refusal(429, "rate_limited")
HEADERS_TOO_LARGE = Refusal(431, "headers_too_large")
SENDER_GONE = Refusal(499, "sender_gone")
"""Only for the log, with nginx's code: the sender hung up within its request."""
INTERNAL_ERROR = Refusal(500, "internal_error")
UNAVAILABLE = Refusal(503, "unavailable")


class Cors:
    """The cross-origin headers of `/api/lead` and `/health` (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        """Take the origins that may read answers; `*` allows all."""
        self._origins = frozenset(origins)
        self._allows_all = "*" in origins

    def headers(self, request: Request, *, with_credentials: bool = True) -> dict[str, str]:
        """Return the headers that let the request's origin read the answer.

        Args:
            request: The request that names its origin.
            with_credentials: The request may carry cookies, as each of `navigator.sendBeacon` does. A browser then
                takes only its own origin for an answer, not `*`.
        """
        origin = request.headers.get("origin")
        # An ambiguous head, which is refused, may hold a line break that would split the answer in two.
        if origin is None or not (origin.isascii() and origin.isprintable()):
            allowed = "*" if self._allows_all else None
        elif self._allows_all:
            allowed = origin if with_credentials else "*"
        else:
            allowed = origin if origin in self._origins else None
        if allowed is None:
            return {"vary": "Origin"}
        headers = {
            "access-control-allow-origin": allowed,
            "access-control-expose-headers": "Lead-Receipt, X-Request-Id",
            "vary": "Origin",
        }
        if with_credentials and allowed != "*":
            headers["access-control-allow-credentials"] = "true"
        return headers

    def preflight(self, request: Request, request_id: str) -> HTTPResponse:
        """Answer a preflight: any header may be sent, for a day."""
        headers = self.headers(request)
        headers["x-request-id"] = request_id
        if "access-control-allow-origin" in headers:
            headers["access-control-allow-methods"] = "POST, GET, HEAD, OPTIONS"
            asked = request.headers.get("access-control-request-headers", "")
            headers["access-control-allow-headers"] = (
                asked if asked.isascii() and asked.isprintable() and asked else "*"
            )
            headers["access-control-max-age"] = "86400"
        return HTTPResponse(status=204, headers=headers)


def json_response(status: int, body: bytes, headers: dict[str, str]) -> HTTPResponse:
    """Return a response with an encoded JSON body; the names in `headers` are in lower case."""
    headers["content-type"] = "application/json"
    return _CleanResponse(status, body, headers)


def response(status: int, body: bytes, headers: dict[str, str]) -> HTTPResponse:
    """Return a response with any body; `headers`, whose names are in lower case, hold its content type."""
    return _CleanResponse(status, body, headers)


class _CleanResponse(HTTPResponse):
    """A response whose headers are known to hold no line break: leadcrm's own, a cleaned request id, a known origin.

    The framework's class searches every header for line breaks, which took a tenth of a request's time, and keeps them
    in a case-insensitive dictionary.
    """

    __slots__ = ()

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.asgi = False
        self.body = body
        self.content_type = headers["content-type"]
        self.stream = None
        self.status = status
        # A plain dict serves: the framework only gets and sets single headers.
        self.headers = headers  # type: ignore[assignment]
        self._cookies = None

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the headers as they are sent."""
        return ((name.encode(), str(value).encode()) for name, value in self.headers.items())
