"""`POST /api/lead`: from the request's bytes to a submission, and from its receipt to the answer.

The handler mints an id, reads the body, makes a submission and gives it to the writer, which decides where to keep it.
Only a receipt is answered with 201, 400 or 409.

Memory is bounded: bodies that arrive and submissions that wait share one budget of bytes. Where it is short, bodies
that arrive slowly give way to whole leads, and past it senders get 503.
"""

from __future__ import annotations

from datetime import datetime, timezone
from hashlib import sha256
from math import ceil
from time import perf_counter

from sanic.compat import Header
from sanic.exceptions import PayloadTooLarge, RequestTimeout, ServiceUnavailable
from sanic.http import Http
from sanic.request import Request
from sanic.response import HTTPResponse
from uuid_utils import uuid7

from leadcrm.configuration.config import Config
from leadcrm.database.states import Outcome
from leadcrm.ingest.ingestion import Ingestion
from leadcrm.ingest.leisure import Read
from leadcrm.ingest.normalize import storable
from leadcrm.ingest.submission import API_SOURCE, NOT_YET, READERS, Receipt, Submission
from leadcrm.web.conflicts import ConflictWatch
from leadcrm.web.guesses import Guesses, Token, bearer_token
from leadcrm.web.http import responses
from leadcrm.web.http.body import read_body
from leadcrm.web.http.client_address import ClientAddress, network_of
from leadcrm.web.http.credentials import REDACTED, is_credential, without_credentials
from leadcrm.web.http.header_text import header_text, joined_headers, readable
from leadcrm.web.http.request_id import new_request_id, request_id_of
from leadcrm.web.http.responses import Cors, Refusal
from leadcrm.web.node_metrics import WorkerMetrics
from leadcrm.web.rate_limit import RateLimiter
from leadcrm.web.request_log import RequestLog

MAX_BYTES_AT_ONCE = 4_096
"""A longer body is read in its turn. Most leads are shorter, and wait for nobody."""


_KEY_HEADER = b"\r\nidempotency-key:"

_NO_KEYS = frozenset((b"", b"undefined", b"null", b"[object object]"))
"""What JavaScript makes of a key that is missing, in lower case: one key for many people would be one lead."""

_ANSWERS = {
    Outcome.CREATED: (201, b"false"),
    Outcome.SPOOLED: (201, b"false"),
    Outcome.DUPLICATE: (409, b"true"),
    Outcome.CONFLICT: (409, b"true"),
}


class LeadIngest:
    """The handler of `/api/lead` in one worker."""

    def __init__(
        self,
        config: Config,
        ingestion: Ingestion,
        metrics: WorkerMetrics,
        log: RequestLog,
        limiter: RateLimiter | None,
        addresses: ClientAddress,
        guesses: Guesses,
    ) -> None:
        """Set the parts that a request passes through."""
        self._max_body_bytes = config.max_body_bytes
        self._node = config.node_name
        self._read_payload = READERS[API_SOURCE]
        self._token = Token(config.ingest_token)
        self._addresses = addresses
        self._guesses = guesses
        self._conflicts = ConflictWatch()
        self._cors = Cors(config.cors_origins)
        self._ingestion = ingestion
        self._writer = ingestion.writer
        self._budget = ingestion.budget
        self._metrics = metrics
        self._log = log
        self._limiter = limiter

    async def post(self, request: Request) -> HTTPResponse:
        """Keep the request and answer with its receipt, or with the reason why it cannot be kept."""
        started = perf_counter()
        lead_id = str(uuid7())
        request_id = request_id_of(request) or lead_id
        address = self._addresses.of(request)
        if refusal := await self._refusal(request.headers, address):
            return self._refuse(request, started, request_id, *refusal)
        body = await self._read(request, address)
        if isinstance(body, Refusal):
            return self._refuse(request, started, request_id, body)
        submission = self._mint(request, lead_id, request_id, address, body)
        if submission.is_postponed:
            read = await self._read_in_turn(submission, body)
            if read is None:
                return self._refuse(request, started, request_id, responses.UNAVAILABLE, key=submission.idempotency_key)
            submission = read
        self._metrics.add("received_bytes", len(body))
        result = await self._writer.submit(submission)
        if not isinstance(result, Receipt):
            return self._refuse(request, started, request_id, responses.UNAVAILABLE, key=submission.idempotency_key)
        return self._answer(request, started, submission, result)

    async def _read_in_turn(self, submission: Submission, body: bytes, read: Read | None = None) -> Submission | None:
        """Return the submission with its body read, or still postponed; None if there is no room for it to wait."""
        if not self._budget.take(len(body)):
            return None
        is_cancelled = True
        try:
            submission = await self._ingestion.leisure.read(submission, read)
            is_cancelled = False
        finally:
            self._budget.give_back(len(body))
            if is_cancelled and submission.is_postponed:
                # The sender hung up, but its lead has arrived whole.
                self._writer.submit(submission)
        return submission

    async def options(self, request: Request) -> HTTPResponse:
        """Answer a preflight."""
        started = perf_counter()
        request_id = request_id_of(request) or new_request_id()
        self._log.record(request, started, 204, request_id)
        return self._cors.preflight(request, request_id)

    async def _refusal(self, headers: Header, address: str) -> tuple[Refusal, int] | tuple[Refusal] | None:
        """Return the reason to refuse the request before its body is read, if there is one."""
        is_admitted = not self._token.is_set or self._token.is_in(headers)
        # Who has no token or a wrong one has a limit of his own: he takes nothing from others with his address.
        client = network_of(address)
        limited = client if is_admitted else f"{client} refused"
        if self._limiter is not None and (delay_s := self._limiter.delay_s(limited)):
            return (responses.RATE_LIMITED, ceil(delay_s))
        if is_admitted:
            return None
        if bearer_token(headers) is not None and (delay_s := await self._guesses.hold_back(address)):
            return (responses.RATE_LIMITED, ceil(delay_s))
        return (responses.UNAUTHORIZED,)

    async def _read(self, request: Request, address: str) -> bytes | Refusal:
        """Return the body, or the reason why it is not read."""
        if self._says_too_large(request.headers):
            return responses.PAYLOAD_TOO_LARGE
        stream = _stream(request)
        stream.request_max_size = self._max_body_bytes
        try:
            return await read_body(stream, self._budget, self._addresses.client_of(address))
        except PayloadTooLarge:
            return responses.PAYLOAD_TOO_LARGE
        except RequestTimeout:
            return responses.REQUEST_TIMEOUT
        except ServiceUnavailable:
            return responses.UNAVAILABLE

    def _says_too_large(self, headers: Header) -> bool:
        length = headers.get("content-length")
        return length is not None and length.isdecimal() and int(length) > self._max_body_bytes

    def _mint(self, request: Request, lead_id: str, request_id: str, address: str, body: bytes) -> Submission:
        headers = request.headers
        content_type = headers.get("content-type")
        kept_headers = stored_headers(headers, is_plain=request.head.isascii() and b"\0" not in request.head)
        # As a replay finds it: several headers are one list.
        content_encoding = kept_headers.get("content-encoding", "")
        state, error, fields = (
            NOT_YET
            if content_encoding or len(body) > MAX_BYTES_AT_ONCE
            else self._read_payload(
                body,
                content_type=content_type or "",
                content_encoding="",
                max_decoded_bytes=self._max_body_bytes,
                at_leisure=False,
            )
        )
        key = sent_key(request) if "idempotency-key" in headers else None
        return Submission(
            id=lead_id,
            received_at=datetime.now(timezone.utc),
            request_id=request_id,
            idempotency_key=None if key is None else header_text(key),
            method=request.method,
            target=without_credentials(storable(target_of(request.raw_url).decode("ascii", "replace"))),
            remote_addr=address,
            content_type=None if content_type is None else readable(content_type),
            headers=kept_headers,
            body=body,
            body_sha256=sha256(body).digest(),
            state=state,
            key_sha256=None if key is None else sha256(key).digest(),
            error=error,
            duplicate_of=None,
            node=self._node,
            source=API_SOURCE,
            fields=fields,
        )

    def _answer(self, request: Request, started: float, submission: Submission, receipt: Receipt) -> HTTPResponse:
        if receipt.outcome is Outcome.INVALID:
            status, body = responses.INVALID_PAYLOAD.status, responses.INVALID_PAYLOAD.body
        else:
            status, deduplicated = _ANSWERS[receipt.outcome]
            body = b'{"ok":true,"lead_id":"%s","deduplicated":%s}' % (receipt.lead_id.encode(), deduplicated)
        if receipt.outcome is Outcome.CONFLICT and self._conflicts.is_one_of_many(submission.remote_addr):
            self._metrics.add("clustered_conflicts")
        self._count_leadless(submission, receipt)
        headers = self._cors.headers(request)
        headers["x-request-id"] = submission.request_id
        headers["lead-receipt"] = f"raw={submission.id}; sha256={submission.body_sha256.hex()}; stored={receipt.stored}"
        lead_id = None if receipt.outcome is Outcome.INVALID else receipt.lead_id
        self._log.record(
            request,
            started,
            status,
            submission.request_id,
            receipt.outcome,
            submission.idempotency_key,
            lead_id,
        )
        return responses.json_response(status, body, headers)

    def _count_leadless(self, submission: Submission, receipt: Receipt) -> None:
        if submission.is_postponed:
            self._metrics.add("postponed_rows")
            self._ingestion.replay_soon()
        elif receipt.is_failed:
            self._metrics.add("failed_rows")

    def _refuse(
        self,
        request: Request,
        started: float,
        request_id: str,
        refusal: Refusal,
        retry_after_s: int = responses.RETRY_AFTER_S,
        *,
        key: str | None = None,
    ) -> HTTPResponse:
        headers = self._cors.headers(request)
        headers["x-request-id"] = request_id
        if refusal.status in (429, 503):
            headers["retry-after"] = str(retry_after_s)
        if refusal.status == 401:
            headers["www-authenticate"] = "Bearer"
        outcome = Outcome.ERROR if refusal.status >= 500 else Outcome.REJECTED
        self._log.record(request, started, refusal.status, request_id, outcome, key, None)
        return responses.json_response(refusal.status, refusal.body, headers)


def _stream(request: Request) -> Http:
    stream = request.stream
    assert isinstance(stream, Http)
    return stream


def target_of(url: bytes) -> bytes:
    """Return the path with its query string, also of a whole URL (RFC 9112, section 3.2.2)."""
    return url if url.startswith(b"/") else url[url.index(b"/", url.index(b"://") + 3) :]


def sent_key(request: Request) -> bytes | None:
    """Return the bytes of the first Idempotency-Key, or None where it is none.

    Read from the head as it came: the framework's text of a header has lost blanks that are no HTTP white space
    (RFC 9110, section 5.5).
    """
    start = request.head.lower().find(_KEY_HEADER)
    if start < 0:
        return None
    start += len(_KEY_HEADER)
    end = request.head.find(b"\r\n", start)
    key = request.head[start : end if end >= 0 else None].strip(b" \t")
    return None if key.lower() in _NO_KEYS else key


def stored_headers(headers: Header, *, is_plain: bool) -> dict[str, str]:
    """Return the headers as they are stored: as `joined_headers`, credentials redacted."""
    joined = joined_headers(headers, is_plain=is_plain)
    hidden = [name for name in joined if is_credential(name)]
    return {**joined, **dict.fromkeys(hidden, REDACTED)} if hidden else joined
