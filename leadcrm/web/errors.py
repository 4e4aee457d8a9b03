"""The answers to exceptions: unknown paths, malformed HTTP, unforeseen errors."""

from __future__ import annotations

import logging
from contextlib import suppress
from time import perf_counter

from sanic.exceptions import (
    BadRequest,
    ExpectationFailed,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RequestCancelled,
    RequestTimeout,
    ServiceUnavailable,
)
from sanic.handlers import ErrorHandler
from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.web.http import responses
from leadcrm.web.http.request_id import new_request_id, request_id_of
from leadcrm.web.http.responses import Cors, Refusal
from leadcrm.web.request_log import RequestLog

logger = logging.getLogger("leadcrm.web")

_REFUSALS: tuple[tuple[type[BaseException], Refusal], ...] = (
    (NotFound, responses.NOT_FOUND),
    (MethodNotAllowed, responses.METHOD_NOT_ALLOWED),
    (PayloadTooLarge, responses.PAYLOAD_TOO_LARGE),
    (RequestTimeout, responses.REQUEST_TIMEOUT),
    (RequestCancelled, responses.SENDER_GONE),
    (ExpectationFailed, responses.EXPECTATION_FAILED),
    (BadRequest, responses.BAD_REQUEST),
    (ServiceUnavailable, responses.UNAVAILABLE),
)

_PATHS_WITH_CREDENTIALS = frozenset(("/api/lead", "/health"))
"""The paths that have nothing to hide from a page that sends its cookies along; the CRM's API is none of them."""


class JsonErrors(ErrorHandler):
    """Answers every exception with the contract's JSON, and logs unforeseen ones with their stack."""

    def __init__(self, cors: Cors, log: RequestLog) -> None:
        """Take the cross-origin headers, which errors carry too, and the log of requests."""
        super().__init__()
        self._cors = cors
        self._log = log

    def response(self, request: Request, exception: Exception) -> HTTPResponse:
        """Return the answer to an exception; never raises."""
        started = perf_counter()
        refusal = _refusal_for(exception)
        request_id = request_id_of(request) or new_request_id()
        if refusal is responses.INTERNAL_ERROR:
            logger.error("a request failed", exc_info=exception, extra={"action": "request", "request_id": request_id})
        headers = self._cors.headers(request, with_credentials=request.path in _PATHS_WITH_CREDENTIALS)
        headers["x-request-id"] = request_id
        if isinstance(exception, MethodNotAllowed):
            headers["allow"] = exception.headers.get("Allow") or _allowed(request)
        if refusal.status == 503:
            headers["retry-after"] = str(responses.RETRY_AFTER_S)
        self._log.record(request, started, refusal.status, request_id)
        return responses.json_response(refusal.status, refusal.body, headers)


def _allowed(request: Request) -> str:
    """Return the methods of a path that has parameters, which the framework's exception leaves out."""
    allowed = []
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        with suppress(NotFound, MethodNotAllowed):
            request.app.router.get(request.path, method, None)
            allowed.append(method)
    return ", ".join(allowed)


def _refusal_for(exception: Exception) -> Refusal:
    # The framework raises the same exception for a body and for a head, with different texts.
    if isinstance(exception, PayloadTooLarge) and "header" in str(exception):
        return responses.HEADERS_TOO_LARGE
    for kind, refusal in _REFUSALS:
        if isinstance(exception, kind):
            return refusal
    return responses.INTERNAL_ERROR
