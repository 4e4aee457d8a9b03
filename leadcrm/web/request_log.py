"""One line and one count a request, for every answer the server gives."""

from __future__ import annotations

from time import perf_counter

from sanic.request import Request
from uuid_utils import uuid7

from leadcrm.database.states import Outcome
from leadcrm.ingest.normalize import storable
from leadcrm.logs.setup import LogWriter
from leadcrm.web.node_metrics import WorkerMetrics

_LONGEST_ECHO = 200
"""Characters of a sender's request id or key that are worth repeating."""


class RequestLog:
    """Writes the line of a request, and counts it where it was to be a lead."""

    def __init__(self, log: LogWriter, metrics: WorkerMetrics) -> None:
        """Take where the lines go and where the counts stand."""
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
        """Note an answer; `started` is the `perf_counter` of the request's arrival, `outcome` a lead's."""
        duration_s = perf_counter() - started
        fields: dict[str, object] = {
            "method": request.method,
            # Without the query string: that may hold a lead.
            "url": request.path,
            "status": status,
            "duration_ms": round(duration_s * 1000, 3),
            "request_id": request_id,
        }
        if outcome is not None:
            self._metrics.count_answer(outcome.value, duration_s)
            fields["idempotency_key"] = key if key is None else key[:_LONGEST_ECHO]
            fields["lead_id"] = lead_id
            fields["outcome"] = outcome.value
        self._log.request(fields)


def request_id_of(request: Request) -> str | None:
    """Return the sender's request id as it can stand in a header and a column, or None."""
    text: str | None = request.headers.get("x-request-id")
    if not text:
        return None
    if not (text.isascii() and text.isprintable()):
        # A line break that the parser let through would split our answer in two.
        text = "".join(letter if letter.isprintable() else "\ufffd" for letter in readable(text))
    return text[:_LONGEST_ECHO]


def new_request_id() -> str:
    """Return an id for a request that came without one."""
    return str(uuid7())


def header_text(value: bytes) -> str:
    """Return a header's bytes as text: UTF-8, else the historic Latin-1 (RFC 9110, section 5.5)."""
    try:
        return storable(value.decode())
    except UnicodeDecodeError:
        return storable(value.decode("latin-1"))


def readable(value: str) -> str:
    """Return a header of the framework's, in which bytes that are not UTF-8 stand as surrogates, as text."""
    if value.isascii() and "\x00" not in value:
        return value
    return header_text(value.encode(errors="surrogateescape"))
