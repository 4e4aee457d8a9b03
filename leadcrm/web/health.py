"""`GET /health`, `/ready` and `/metrics`: whether a lead sent now would be kept, and why; `/` says nothing."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from math import ceil
from time import monotonic, perf_counter
from urllib.parse import parse_qs

import orjson
from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.delivery.board import DeliveryBoard
from leadcrm.ingest.ingestion import Ingestion, Verdict
from leadcrm.web import metrics
from leadcrm.web.database_view import view_of, view_of_standby, write_down
from leadcrm.web.guesses import Guesses, Token, bearer_token
from leadcrm.web.http import responses
from leadcrm.web.http.client_address import ClientAddress
from leadcrm.web.http.request_id import new_request_id, request_id_of
from leadcrm.web.http.responses import Cors, Refusal
from leadcrm.web.node_metrics import NodeMetrics, WorkerMetrics
from leadcrm.web.request_log import RequestLog
from leadcrm.web.silence import SilenceBoard

VERDICT_CACHE_S = 0.25
"""How long a verdict is reused, so that a dozen probes do not read the disk a dozen times."""

SHOWN_LAG_S = 10.0
"""The shortest hold-up of the feed that is a fault: a transaction of ours ends or is given up before."""


def held_back(node_metrics: NodeMetrics) -> str:
    """Return the fault of a feed that does not go on; empty if it does, or if nobody waits for it."""
    lag_s = node_metrics.greatest("feed_lag")
    if lag_s < SHOWN_LAG_S:
        return ""
    return f"an open transaction that has written leads has held the feed back for {lag_s:.0f} s: see pg_stat_activity"


class MetricsGate:
    """Checks METRICS_TOKEN, where it is set: else everybody may read the metrics."""

    def __init__(self, token: str | None, addresses: ClientAddress, guesses: Guesses) -> None:
        """Set the token."""
        self._token = Token(token)
        self._addresses = addresses
        self._guesses = guesses

    def admits(self, request: Request) -> bool:
        """Say whether the request may read the metrics."""
        return not self._token.is_set or self._token.is_in(request.headers)

    async def refusal(self, request: Request) -> tuple[Refusal, dict[str, str]]:
        """Return the answer to a request that may not, with its headers; to a wrong token it comes slowly."""
        if bearer_token(request.headers) is not None:
            wait_s = await self._guesses.hold_back(self._addresses.of(request))
            if wait_s:
                return responses.RATE_LIMITED, {"retry-after": str(ceil(wait_s))}
        return responses.UNAUTHORIZED, {"www-authenticate": "Bearer"}


class Health:
    """The handlers, with a thread of their own: reading disk and spool must not block the event loop."""

    def __init__(
        self,
        ingestion: Ingestion,
        metrics: WorkerMetrics,
        node_metrics: NodeMetrics,
        cors: Cors,
        log: RequestLog,
        gate: MetricsGate,
        board: DeliveryBoard | None = None,
        silence: SilenceBoard | None = None,
    ) -> None:
        """Take what the verdict is about, what every answer needs, and who may see more than the verdict."""
        self._own_metrics = metrics
        self._gate = gate
        self._ingestion = ingestion
        self._node_metrics = node_metrics
        self._cors = cors
        self._log = log
        self._board = board
        self._silence = silence
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leadcrm-health")
        self._verdict: Verdict | None = None
        self._judged_at = 0.0
        self._judging = asyncio.Lock()

    async def presence(self, request: Request) -> HTTPResponse:
        """Answer 200 to whoever asks for `/`, as HAProxy's checks do unless they are told to ask for `/health`.

        A browser, which wants HTML, is led to the studio.
        """
        started = perf_counter()
        request_id = request_id_of(request) or new_request_id()
        is_browser = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        self._log.record(request, started, 303 if is_browser else 200, request_id)
        headers = {"x-request-id": request_id, "cache-control": "no-store", "vary": "Accept"}
        if is_browser:
            return HTTPResponse(None, 303, {**headers, "location": "studio"})
        return HTTPResponse("leadcrm\n", headers=headers, content_type="text/plain; charset=utf-8")

    async def health(self, request: Request) -> HTTPResponse:
        """Answer 200 while a lead sent now would be kept, else 503."""
        started = perf_counter()
        verdict = await self._judge()
        return self._respond(request, started, verdict, {"ok": verdict.keeps_leads, "timestamp": _now()})

    async def ready(self, request: Request) -> HTTPResponse:
        """Answer with the same verdict and its parts; asked for `?database`, 503 while no commit reaches it."""
        started = perf_counter()
        verdict = await self._judge()
        write_down(self._ingestion, self._own_metrics)
        view = view_of(self._node_metrics)
        is_up = view.is_up and verdict.has_room
        if "database" in parse_qs(request.query_string, keep_blank_values=True) and not is_up:
            verdict = replace(verdict, keeps_leads=False)
        if not self._gate.admits(request):
            return self._respond(request, started, verdict, {"ok": verdict.keeps_leads, "timestamp": _now()})
        spool = verdict.spool
        last_commit = self._node_metrics.greatest("last_commit")
        standby = view_of_standby(self._node_metrics)
        reads = "" if standby is None or not standby.fault else f"reads go to the primary: {standby.fault}"
        late = (held_back(self._node_metrics), self._behind(), self._silent())
        faults = (view.fault, verdict.fault, self._failed(), *late, reads)
        parts: dict[str, object] = {
            "ok": verdict.keeps_leads,
            "timestamp": _now(),
            "database": "up" if is_up else "down",
            "host": (view.host or None) if is_up else None,
            "replication": view.replication if is_up else None,
            **({} if standby is None else {"reads": "primary" if standby.fault else "standby"}),
            "schema_version": verdict.schema_version,
            "last_commit": _iso(datetime.fromtimestamp(last_commit, timezone.utc)) if last_commit else None,
            "spool": spool
            and {
                "rows": spool.depth,
                "refused": spool.refused,
                "bytes": spool.bytes,
                "oldest": spool.oldest and _iso(spool.oldest),
                "set_aside": spool.set_aside,
            },
            "disk_free_bytes": verdict.disk_free_bytes,
            "fault": "; ".join(filter(None, faults)) or None,
        }
        return self._respond(request, started, verdict, parts)

    async def metrics(self, request: Request) -> HTTPResponse:
        """Answer with the metrics in Prometheus' format."""
        started = perf_counter()
        request_id = request_id_of(request) or new_request_id()
        if not self._gate.admits(request):
            refusal, headers = await self._gate.refusal(request)
            headers["x-request-id"] = request_id
            self._log.record(request, started, refusal.status, request_id)
            return responses.json_response(refusal.status, refusal.body, headers)
        text = metrics.render(self._node_metrics, await self._judge(), self._board, self._silence)
        self._log.record(request, started, 200, request_id)
        return HTTPResponse(text, headers={"x-request-id": request_id}, content_type=metrics.CONTENT_TYPE)

    async def options(self, request: Request) -> HTTPResponse:
        """Answer a cross-origin preflight."""
        started = perf_counter()
        request_id = request_id_of(request) or new_request_id()
        self._log.record(request, started, 204, request_id)
        return self._cors.preflight(request, request_id)

    def _behind(self) -> str:
        """Return the part of the fault that tells of sinks."""
        return "" if self._board is None else self._board.fault()

    def _silent(self) -> str:
        """Return the part of the fault that tells of sources."""
        return "" if self._silence is None else self._silence.fault()

    def _failed(self) -> str:
        """Return the part of the fault that tells of requests which became no lead since the start, if any did."""
        failed = int(self._node_metrics.total("failed_rows"))
        return f"{failed} requests were kept as failed: `leadcrm raw list --state failed`" if failed else ""

    def close(self) -> None:
        """End the thread once it has finished its current verdict."""
        self._thread.submit(self._ingestion.end_verdicts)
        self._thread.shutdown(wait=True)

    async def _judge(self) -> Verdict:
        async with self._judging:
            if self._verdict is None or monotonic() - self._judged_at > VERDICT_CACHE_S:
                loop = asyncio.get_running_loop()
                self._verdict = await loop.run_in_executor(self._thread, self._ingestion.verdict)
                self._judged_at = monotonic()
            return self._verdict

    def _respond(self, request: Request, started: float, verdict: Verdict, parts: dict[str, object]) -> HTTPResponse:
        headers = self._cors.headers(request)
        headers["x-request-id"] = request_id = request_id_of(request) or new_request_id()
        headers["cache-control"] = "no-store"
        status = 200 if verdict.keeps_leads else 503
        if status == 503:
            headers["retry-after"] = str(responses.RETRY_AFTER_S)
        self._log.record(request, started, status, request_id)
        return responses.json_response(status, orjson.dumps(parts), headers)


def _now() -> str:
    return _iso(datetime.now(timezone.utc))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
