"""`/in/{source}` and `/in/{source}/{token}`: from a source's request to the answer its sender expects.

As for `/api/lead`, an id is minted and the bytes are read first; what a source makes of them only decides the row's
state. One row is kept in any case, except for requests that are not proved once a source has had too many in a day.
Neither the log nor the row holds a token of the path or the query string.
"""

from __future__ import annotations

from datetime import date, datetime, timezone
from hashlib import sha256
from math import ceil
from time import perf_counter
from urllib.parse import unquote

import orjson
from sanic.exceptions import NotFound
from sanic.request import Request
from sanic.response import HTTPResponse
from uuid_utils import uuid7

from leadcrm.configuration.config import Config
from leadcrm.database.states import Outcome, State
from leadcrm.ingest.ingestion import Ingestion
from leadcrm.ingest.normalize import storable
from leadcrm.ingest.sourced import Arrival
from leadcrm.ingest.submission import Receipt, Submission
from leadcrm.sources.proof import TOKEN_HEADERS, credentials_in, query_of, redacted_target, with_query_apart
from leadcrm.sources.replies import Reply
from leadcrm.sources.source import Source, is_no_key
from leadcrm.web.guesses import Guesses
from leadcrm.web.http import responses
from leadcrm.web.http.client_address import ClientAddress, network_of
from leadcrm.web.http.credentials import REDACTED, is_credential
from leadcrm.web.http.header_text import header_text, joined_headers, readable
from leadcrm.web.http.request_id import request_id_of
from leadcrm.web.http.responses import Refusal
from leadcrm.web.ingest import MAX_BYTES_AT_ONCE, LeadIngest, sent_key, target_of
from leadcrm.web.node_metrics import WorkerMetrics
from leadcrm.web.rate_limit import RateLimiter
from leadcrm.web.request_log import RequestLog

METHODS = ("POST", "GET", "HEAD", "PUT")

UNPROVED_ROWS = 5_000
UNPROVED_BYTES = 64 * 1024 * 1024
"""What is kept of a source's unproved requests in a day, by each worker. A secret is usually mended within a day."""

MAX_CHALLENGE_BYTES = 4096
"""Of a handshake's body."""

_REPLY_OF = {
    Outcome.CREATED: "created",
    Outcome.SPOOLED: "created",
    Outcome.DUPLICATE: "duplicate",
    Outcome.CONFLICT: "duplicate",
    Outcome.INVALID: "invalid",
}


class SourceIngest(LeadIngest):
    """The handler of all sources in one worker."""

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
        super().__init__(config, ingestion, metrics, log, limiter, addresses, guesses)
        self._sources = ingestion.sources
        self._unproved = _Quota()

    async def receive(self, request: Request, source: str, token: str = "") -> HTTPResponse:
        """Keep the request and answer as its source says.

        Raises:
            NotFound: There never was such a source.
        """
        started = perf_counter()
        lead_id = str(uuid7())
        request_id = request_id_of(request) or lead_id
        found = self._sources.get(source) or self._sources.get(source.partition("&")[0])
        if found is None:
            raise NotFound
        address = self._addresses.of(request)
        if self._limiter is not None and (delay_s := self._limiter.delay_s(network_of(address))):
            return self._refuse(request, started, request_id, responses.RATE_LIMITED, ceil(delay_s))
        body = await self._read(request, address)
        if isinstance(body, Refusal):
            return self._refuse(request, started, request_id, body)
        row = await self._interpreted(self._arrival(request, found, lead_id, request_id, address, body, token))
        if row is None:
            return self._refuse(request, started, request_id, responses.UNAVAILABLE)
        assert row.body is not None
        self._metrics.add("received_bytes", len(row.body))
        if row.state is State.UNVERIFIED and not self._unproved.takes(source, len(row.body)):
            return self._refuse(request, started, request_id, responses.UNAUTHORIZED)
        result = await self._writer.submit(row)
        if not isinstance(result, Receipt):
            return self._refuse(request, started, request_id, responses.UNAVAILABLE)
        return self._reply(request, started, found, row, result)

    async def preflight(self, request: Request, source: str, token: str = "") -> HTTPResponse:
        """Answer a cross-origin preflight."""
        return await self.options(request)

    async def _interpreted(self, arrival: Arrival) -> Submission | None:
        """Return the request's row as its source reads it, now, in its turn or later; None if it may not wait."""
        if (judged := arrival.judged_unread()) is not None:
            return judged
        body = arrival.row.body or b""
        if len(body) <= MAX_BYTES_AT_ONCE and "content-encoding" not in arrival.headers:
            row = arrival.read(at_leisure=False)
            if not row.is_postponed:
                return row
        unread = arrival.kept_unread()
        read = await self._read_in_turn(unread, body, arrival.read)
        return unread if read is not None and read.is_postponed else read

    def _arrival(
        self, request: Request, source: Source, lead_id: str, request_id: str, address: str, body: bytes, token: str
    ) -> Arrival:
        """Mint the request's row."""
        headers = request.headers
        content_type = headers.get("content-type")
        target = target_of(request.raw_url).decode("ascii", "surrogateescape")
        if not token:
            target = with_query_apart(target)
        fields = query_of(target)
        plain = joined_headers(headers, is_plain=request.head.isascii() and b"\0" not in request.head)
        secret_names = source.secret_names
        credentials = credentials_in(unquote(token), fields, plain, secret_names)
        hidden = [name for name in plain if is_credential(name) or name in TOKEN_HEADERS or name in secret_names]
        kept = {**plain, **dict.fromkeys(hidden, REDACTED)} if hidden else plain
        key = sent_key(request) if "idempotency-key" in headers else None
        if key is not None and is_no_key(header_text(key)):
            key = None
        row = Submission(
            id=lead_id,
            received_at=datetime.now(timezone.utc),
            request_id=request_id,
            idempotency_key=None if key is None else header_text(key),
            method=request.method,
            target=storable(redacted_target(target, secret_names)),
            remote_addr=address,
            content_type=None if content_type is None else readable(content_type),
            headers=kept,
            body=body,
            body_sha256=sha256(body).digest(),
            state=State.STORED,
            key_sha256=None if key is None else source.key_sha256(key),
            error=None,
            duplicate_of=None,
            node=self._node,
            source=source.name,
            mapping_version=self._sources.version,
        )
        return Arrival(row, source, fields, plain, credentials, self._max_body_bytes, target)

    def _reply(
        self, request: Request, started: float, source: Source, row: Submission, receipt: Receipt
    ) -> HTTPResponse:
        """Answer a request that was kept."""
        self._count_leadless(row, receipt)
        outcome = receipt.outcome
        leads = [(part.lead_id, part.outcome in (Outcome.DUPLICATE, Outcome.CONFLICT)) for part in receipt.parts]
        if leads and all(known for _, known in leads):
            outcome = Outcome.DUPLICATE
        if outcome is Outcome.REJECTED:
            reply = Reply(401, responses.UNAUTHORIZED.body, {"content-type": "application/json"})
        elif challenge := self._challenge(request, source, row):
            reply = Reply(200, challenge[1], {"content-type": challenge[0]})
        else:
            reply = source.replies.reply(_REPLY_OF[outcome], receipt.lead_id, leads)
        headers = self._cors.headers(request) | reply.headers
        headers["x-request-id"] = row.request_id
        headers["lead-receipt"] = f"raw={row.id}; sha256={row.body_sha256.hex()}; stored={receipt.stored}"
        if reply.status == 401:
            headers["www-authenticate"] = "Bearer"
        if not reply.headers["content-type"].startswith("application/json"):
            headers["x-content-type-options"] = "nosniff"
        has_lead = outcome not in (Outcome.INVALID, Outcome.REJECTED)
        self._log.record(
            request,
            started,
            reply.status,
            row.request_id,
            outcome,
            # A key that stood in the body is a part of the payload, which no log line holds.
            row.idempotency_key if "idempotency-key" in request.headers else None,
            receipt.lead_id if has_lead else None,
        )
        return responses.response(reply.status, reply.body, headers)

    def _challenge(self, request: Request, source: Source, row: Submission) -> tuple[str, bytes] | None:
        """Return content type and body of the answer to a handshake that is proved; None if it is none."""
        if row.state is not State.EVENT or not source.proof.handshake:
            return None
        if row.method == "GET":
            fields = query_of(target_of(request.raw_url).decode("ascii", "surrogateescape"))
            return source.proof.challenge_answer(dict(fields))
        body = row.body or b""
        try:
            return source.proof.answer_to(orjson.loads(body)) if len(body) <= MAX_CHALLENGE_BYTES else None
        except orjson.JSONDecodeError:
            return None


class _Quota:
    """Counts what is kept of unproved requests, by source and day."""

    def __init__(self) -> None:
        self._day = date.min
        self._rows: dict[str, int] = {}
        self._bytes: dict[str, int] = {}

    def takes(self, source: str, body_bytes: int) -> bool:
        """Count a request of a source, and say whether it may still be kept."""
        today = datetime.now(timezone.utc).date()
        if today != self._day:
            self._day, self._rows, self._bytes = today, {}, {}
        rows, total = self._rows.get(source, 0) + 1, self._bytes.get(source, 0) + body_bytes
        if rows > UNPROVED_ROWS or total > UNPROVED_BYTES:
            return False
        self._rows[source], self._bytes[source] = rows, total
        return True
