"""One log line for every answer, and one count for every answer to a lead."""

from __future__ import annotations

import asyncio
from time import perf_counter

from sanic.request import Request

from leadcrm.database.states import Outcome
from leadcrm.logs.log_writer import LogWriter
from leadcrm.sources.proof import redacted_path
from leadcrm.web.http.client_address import ClientAddress
from leadcrm.web.http.header_text import MAX_ECHO
from leadcrm.web.node_metrics import WorkerMetrics


class RequestLog:
    """Logs every answer, and counts those of `POST /api/lead`."""

    def __init__(self, log: LogWriter, metrics: WorkerMetrics, addresses: ClientAddress) -> None:
        """Take the log for the lines, the metrics for the counts, and what finds the client's address."""
        self._addresses = addresses
        self._log = log
        self._metrics = metrics

    def record(
        self,
        request: Request,
        started: float,
        status: int,
        request_id: str,
        outcome: Outcome | None = None,
        key: str | None = None,
        lead_id: str | None = None,
    ) -> None:
        """Count an answer that is about to be sent if it has an outcome, and log it once it was sent.

        Args:
            started: the `perf_counter` at the request's arrival.
            outcome: of a `POST /api/lead`; None for any other request.
            key: the request's Idempotency-Key.
        """
        duration_s = perf_counter() - started
        if outcome is not None:
            self._metrics.count_answer(outcome.value, duration_s)
        # The framework sends the answer as soon as its handler returns: a lone sender need not wait for the line.
        asyncio.get_running_loop().call_soon(
            self._record, request, duration_s, status, request_id, outcome, key, lead_id
        )

    def _record(
        self,
        request: Request,
        duration_s: float,
        status: int,
        request_id: str,
        outcome: Outcome | None,
        key: str | None,
        lead_id: str | None,
    ) -> None:
        url = request.path
        fields: dict[str, object] = {
            "method": request.method,
            # Without the query string, which may hold a lead.
            "url": url if url == "/api/lead" else redacted_path(url),
            "status": status,
            "duration_ms": round(duration_s * 1000, 3),
            "request_id": request_id,
            "remote_addr": self._addresses.of(request),
        }
        if outcome is not None:
            fields["idempotency_key"] = key if key is None else key[:MAX_ECHO]
            fields["lead_id"] = lead_id
            fields["outcome"] = outcome.value
        self._log.request(fields)
