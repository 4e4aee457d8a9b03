"""`/api/leads/export`: a file of all leads that a filter asks for, streamed from one moment of the database.

Each export has a thread and a connection of its own, and few run at once. While leads arrive an export rests after
each page for a multiple of the time that the page took; while none arrive it goes as fast as it can.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from datetime import datetime, timezone
from time import monotonic
from typing import cast

from sanic.response import HTTPResponse

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.crm.audit import Action
from leadcrm.crm.export import export_leads
from leadcrm.crm.files import FORMATS, SEPARATORS, new_file
from leadcrm.crm.tokens import Right
from leadcrm.database.entities import Entities
from leadcrm.database.slots import ConnectionSlots
from leadcrm.errors import LeadcrmError, StoreUnavailable
from leadcrm.web.crm.declarations import Call, Endpoint, Parameter, Response, Route, one_of
from leadcrm.web.crm.filters import FILTER_PARAMETERS, parse_filter, zone_of
from leadcrm.web.crm.readers import Readers, Reads, TooBusy
from leadcrm.web.crm.responses import HEADERS

MAX_EXPORTS = 2

PAUSE_SHARE = 8.0
"""Seconds of rest for every second of work while leads arrive. A page takes longer under load, so this limits the
share that an export takes from ingestion: a ninth of one processor, of the interpreter's lock and of the database."""

BUSY_LEADS_PER_S = 20
"""The rate from which on leads count as arriving."""

SAMPLE_S = 1.0
"""How often the rate is measured; the workers write down their counts twice a second."""

MAX_LOG_BYTES = 2 * 1024**3
"""SQLite cannot shrink its log while a snapshot is open. Past this an export ends, before the log fills the disk."""

CLIENT_TIMEOUT_S = 30.0
"""How long a client that reads nothing may keep the snapshot open."""

logger = logging.getLogger("leadcrm.web.crm")

_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

_MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson", "xlsx": _XLSX}

ROUTE = Route(
    "GET",
    "/api/leads/export",
    "export_leads",
    "Leads as a file, newest first",
    {
        200: Response(
            "The file, as of one moment.",
            {"text/csv": {"type": "string"}, "application/x-ndjson": {"type": "string"}, _XLSX: {"type": "string"}},
            {"Content-Disposition": "The file's name."},
        )
    },
    "CSV is UTF-8 with its mark, and what would be a formula, at the beginning of a cell or after a semicolon, tab or "
    "line break in it, is led in by an apostrophe. XLSX is a workbook of text cells. Both have the times of the "
    "zone. NDJSON has every text as it is stored, and times in UTC.",
    (
        Parameter(
            "format",
            "CSV unless said otherwise.",
            {"type": "string", "enum": list(FORMATS), "default": "csv"},
            one_of(*FORMATS),
        ),
        Parameter(
            "separator",
            "Of a CSV; comma unless said otherwise.",
            {"type": "string", "enum": list(SEPARATORS), "default": "comma"},
            one_of(*SEPARATORS),
        ),
        *FILTER_PARAMETERS,
    ),
    right=Right.EXPORT,
    audited=Action.EXPORT,
)


class ExportRoutes:
    """The handler of the route."""

    def __init__(
        self,
        url: DatabaseURL,
        rows_taken: Callable[[], float],
        slots: ConnectionSlots | None = None,
        reads: Reads | None = None,
    ) -> None:
        """Set the database with its slots, the counter of rows that ingestion has taken so far, and the standby."""
        self._reads = reads
        self._url = url
        self._slots = slots
        self._rows_taken = rows_taken
        self._running = 0
        self.endpoints = (Endpoint(ROUTE, self.export),)

    async def export(self, call: Call) -> HTTPResponse | None:
        """Stream the file."""
        if self._running >= MAX_EXPORTS:
            raise TooBusy(f"{MAX_EXPORTS} exports are running already; one more can begin when one of them ends")
        self._running += 1
        kind, separator = call["format"] or "csv", call["separator"] or "comma"
        lead_filter, zone = parse_filter(call), zone_of(call)
        reader = Readers(
            self._url,
            slots=self._slots,
            reads=self._reads,
            threads=1,
            name="leadcrm-export",
            keeps_connection=True,
        )
        pieces: Generator[bytes, None, None] | None = None

        def begin(entities: Entities) -> Generator[bytes, None, None]:
            return export_leads(entities, lead_filter, new_file(kind, separator, zone))

        def take(_: Entities) -> bytes:
            assert pieces is not None
            return next(pieces, b"")

        try:
            pieces = await reader.read(begin, call.request)
            # The first page is read before the response begins, so that a database that is away gets a 503.
            head, first = await reader.run(take), await reader.run(take)
            headers = {
                **HEADERS,
                "content-disposition": f'attachment; filename="{_file_name(kind)}"',
                "x-request-id": call.request_id,
            }
            response = await call.request.respond(content_type=_MEDIA_TYPES[kind], headers=headers)
            assert response is not None
            piece, took_s = head + first, 0.0
            pace = _Pace(self._rows_taken)
            try:
                while piece:
                    await asyncio.wait_for(response.send(piece), CLIENT_TIMEOUT_S)
                    await asyncio.sleep(pace.rest_s(took_s))
                    self._require_short_log()
                    started = monotonic()
                    piece = await reader.run(take)
                    took_s = monotonic() - started
                await response.eof()
            except (LeadcrmError, asyncio.TimeoutError) as error:
                logger.warning("an export ended half way: %s", error, extra={"action": "export"})
                # A stream that ends without its end mark tells the client that its file is not whole.
                cast(asyncio.Transport, call.request.transport).abort()
        finally:
            self._running -= 1
            reader.close(None if pieces is None else pieces.close)
        return None

    def _require_short_log(self) -> None:
        if self._url.path is None:
            return  # only SQLite keeps its log in a file of ours
        log = self._url.path.with_name(f"{self._url.path.name}-wal")
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            raise StoreUnavailable(f"{log} has grown too long: narrow the filter, or export while fewer leads arrive")


class _Pace:
    """Decides how long to rest after a page, by the rate at which leads arrive."""

    def __init__(self, rows_taken: Callable[[], float]) -> None:
        self._rows_taken = rows_taken
        self._sampled_at = monotonic()
        self._rows = rows_taken()
        self._is_busy = True

    def rest_s(self, took_s: float) -> float:
        now = monotonic()
        if (since_s := now - self._sampled_at) >= SAMPLE_S:
            rows = self._rows_taken()
            self._is_busy = (rows - self._rows) / since_s >= BUSY_LEADS_PER_S
            self._sampled_at, self._rows = now, rows
        return took_s * PAUSE_SHARE if self._is_busy else 0.0


def _file_name(kind: str) -> str:
    return f"leads-{datetime.now(timezone.utc):%Y-%m-%d-%H%M}.{kind}"
