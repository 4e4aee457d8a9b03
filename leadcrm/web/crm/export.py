"""`/api/leads/export`: a file of all that a filter asks for, streamed from one moment of the database.

Each export has a thread and a connection of its own, and few run at once. While leads arrive an export rests between
two pages for a multiple of what the page took; while none do, it goes as fast as it can.
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
from leadcrm.crm.export import FORMATS, export_leads
from leadcrm.database.entities import Entities
from leadcrm.errors import LeadcrmError, StoreUnavailable
from leadcrm.web.crm.answers import HEADERS
from leadcrm.web.crm.declarations import Answer, Call, Parameter, Route, one_of
from leadcrm.web.crm.filters import FILTER_PARAMETERS, filter_of
from leadcrm.web.crm.readers import Readers, TooBusy

MOST_EXPORTS = 2

PAUSE_SHARE = 8.0
"""Seconds of rest for every second of work while leads arrive. What a page takes grows with the load, so this bounds
what an export takes from ingestion: a ninth of one processor, of the interpreter's lock and of the database."""

BUSY_LEADS_PER_S = 20
"""From here on leads arrive."""

SAMPLE_S = 1.0
"""How often it is looked whether they do; the workers write it down twice a second."""

MOST_LOG_BYTES = 2 * 1024**3
"""SQLite cannot clean up its log behind an open moment: past this an export ends, before it fills the disk."""

CLIENT_TIMEOUT_S = 30.0
"""A client that takes nothing for so long holds the database's moment no longer."""

logger = logging.getLogger("leadcrm.web.crm")

_KINDS = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
assert _KINDS.keys() == FORMATS.keys()


class ExportRoutes:
    """The route of the export."""

    def __init__(self, url: DatabaseURL, rows_taken: Callable[[], float]) -> None:
        """Name the database, and who counts the rows that ingestion has taken so far."""
        self._url = url
        self._rows_taken = rows_taken
        self._running = 0
        self.routes = (
            Route(
                "GET",
                "/api/leads/export",
                "export_leads",
                "Leads as a file, newest first",
                self.export,
                {
                    200: Answer(
                        "The file, as of one moment.",
                        {"text/csv": {"type": "string"}, "application/x-ndjson": {"type": "string"}},
                        {"Content-Disposition": "The file's name."},
                    )
                },
                "CSV is UTF-8 with its mark, and what would be a formula, at the beginning of a cell or after a "
                "semicolon or tab in it, is led in by an apostrophe. NDJSON has "
                "every text as it is stored.",
                (
                    Parameter(
                        "format",
                        "CSV unless said otherwise.",
                        {"type": "string", "enum": list(FORMATS), "default": "csv"},
                        one_of(*FORMATS),
                    ),
                    *FILTER_PARAMETERS,
                ),
            ),
        )

    async def export(self, call: Call) -> HTTPResponse | None:
        """Stream the file."""
        if self._running >= MOST_EXPORTS:
            raise TooBusy(f"{MOST_EXPORTS} exports are running already; one more can begin when one of them ends")
        self._running += 1
        kind = call["format"] or "csv"
        wanted = filter_of(call)
        reader = Readers(self._url, threads=1, name="leadcrm-export")
        pieces: Generator[bytes, None, None] | None = None

        def begin(entities: Entities) -> Generator[bytes, None, None]:
            return export_leads(entities, wanted, kind)

        def take(_: Entities) -> bytes:
            assert pieces is not None
            return next(pieces, b"")

        try:
            pieces = await reader.run(begin)
            # What can fail fails before the answer has begun: the first piece with leads is read by then.
            head, first = await reader.run(take), await reader.run(take)
            response = await call.request.respond(
                content_type=_KINDS[kind],
                headers={
                    **HEADERS,
                    "content-disposition": f'attachment; filename="{_file_name(kind)}"',
                    "x-request-id": call.request_id,
                },
            )
            assert response is not None
            piece, took_s = head + first, 0.0
            pace = _Pace(self._rows_taken)
            try:
                while piece:
                    await asyncio.wait_for(response.send(piece), CLIENT_TIMEOUT_S)
                    await asyncio.sleep(pace.rest_s(took_s))
                    self._insist_on_a_short_log()
                    started = monotonic()
                    piece = await reader.run(take)
                    took_s = monotonic() - started
                await response.eof()
            except (LeadcrmError, asyncio.TimeoutError) as error:
                logger.warning("an export ended half way: %s", error, extra={"action": "export"})
                # Without the stream's end the client knows that its file is not whole.
                cast(asyncio.Transport, call.request.transport).abort()
        finally:
            self._running -= 1
            reader.close(None if pieces is None else pieces.close)
        return None

    def _insist_on_a_short_log(self) -> None:
        if self._url.path is None:
            return
        log = self._url.path.with_name(f"{self._url.path.name}-wal")
        if log.exists() and log.stat().st_size > MOST_LOG_BYTES:
            raise StoreUnavailable(f"{log} has grown too long: narrow the filter, or export while fewer leads arrive")


class _Pace:
    """Says how long to rest after a page."""

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
