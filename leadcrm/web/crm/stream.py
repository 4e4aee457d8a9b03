"""`/api/leads/stream`: new leads and changes as they come, by server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html).

One poll of the database a second serves all listeners of a worker; without listeners there is none. A lead that is
committed after the poll that passed its time, or that comes out of the spool, is not announced: the listener finds it
with its next page.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from time import monotonic
from typing import Any

from sanic.response import HTTPResponse

from leadcrm.crm.documents import encode, lead_document
from leadcrm.crm.recent import leads_changed_after, leads_since, newest_change
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.errors import LeadcrmError
from leadcrm.web.crm.declarations import Call, Endpoint, Response, Route
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import HEADERS

POLL_INTERVAL_S = 1.0

OVERLAP = timedelta(seconds=3)
"""How far back each poll reads again: a lead becomes visible with its commit, up to its deadline after its time."""

MAX_LEADS = 50
"""Leads or changes of one event: a screen of them. `more` says that there were others."""

HEARTBEAT_S = 15.0
"""Proxies close a connection on which nothing moves, and only a write shows that a listener is gone."""

CLIENT_TIMEOUT_S = 10.0

MAX_LISTENERS = 100

MAX_BEHIND = 16
"""Events that wait for a listener. One has some hundred kilobytes at most, and all listeners share it."""

ROUTE = Route(
    "GET",
    "/api/leads/stream",
    "stream_leads",
    "New leads and changes as they come",
    {200: Response("Server-sent events, until one side ends it.", {"text/event-stream": {"type": "string"}})},
    "Event `leads`: `{leads: […], more}`, newest first. Event `changes`: `{ids: […], more}`, the leads "
    "that were changed. Where there is `more`, read a page. All leads are announced: `GET /api/leads` with a filter "
    "and their ids says which of them match.",
)

logger = logging.getLogger("leadcrm.web.crm")


class StreamRoutes:
    """The handler of the route, and the poll that feeds it."""

    def __init__(self, readers: Readers) -> None:
        """Set the threads that read the database."""
        self._readers = readers
        self._listeners: set[asyncio.Queue[bytes]] = set()
        self._polling: asyncio.Task[None] | None = None
        self.endpoints = (Endpoint(ROUTE, self.listen),)

    async def listen(self, call: Call) -> HTTPResponse | None:
        """Send events until the client goes or the server stops."""
        request = call.request
        headers = {**HEADERS, "x-request-id": call.request_id}
        response = await request.respond(content_type="text/event-stream", headers=headers)
        assert response is not None
        if len(self._listeners) >= MAX_LISTENERS:
            await response.eof()
            return None
        events: asyncio.Queue[bytes] = asyncio.Queue(maxsize=MAX_BEHIND)
        self._listeners.add(events)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.get_running_loop().create_task(self._poll())
        try:
            await response.send(b": listening\n\n")
            written_at = monotonic()
            # A worker that stops clears KEEP_ALIVE, and would otherwise wait for this connection to end.
            while request.app.config.KEEP_ALIVE:
                event = b""
                with suppress(asyncio.TimeoutError):
                    event = await asyncio.wait_for(events.get(), POLL_INTERVAL_S)
                if event or monotonic() - written_at > HEARTBEAT_S:
                    await asyncio.wait_for(response.send(event or b": still here\n\n"), CLIENT_TIMEOUT_S)
                    written_at = monotonic()
            await response.eof()
        finally:
            self._listeners.discard(events)
        return None

    async def _poll(self) -> None:
        """Announce events while there are listeners."""
        recent: _Recent | None = None
        while self._listeners:
            try:
                if recent is None:
                    recent = await self._readers.run(_Recent)
                for event in await self._readers.run(recent.read):
                    self._announce(event)
            except LeadcrmError as error:
                text = "new leads cannot be announced: %s"
                logger.warning(text, error, extra={"action": "announce", "hint": error.hint, "repeat_key": text})
            except Exception:
                logger.exception("new leads cannot be announced", extra={"action": "announce"})
                recent = None
            await asyncio.sleep(POLL_INTERVAL_S)

    def _announce(self, event: bytes) -> None:
        for events in self._listeners:
            # A listener that is so far behind misses events, and reads a page sooner or later anyway.
            with suppress(asyncio.QueueFull):
                events.put_nowait(event)


class _Recent:
    """Remembers the leads and the change that were announced last; serves one poll at a time."""

    def __init__(self, entities: Entities) -> None:
        """Start after everything that is there: only later leads and changes are announced."""
        self._since = datetime.now(timezone.utc).replace(tzinfo=None)
        with session(entities):
            self._seen = {lead.id for lead in leads_since(entities, self._since - OVERLAP, limit=MAX_LEADS)}
            self._change = newest_change(entities)

    def read(self, entities: Entities) -> list[bytes]:
        """Return the events since the last call."""
        with session(entities):
            recent = leads_since(entities, self._since - OVERLAP, limit=MAX_LEADS)
            changes = leads_changed_after(entities, self._change, limit=MAX_LEADS)
        leads = [lead for lead in recent if lead.id not in self._seen]
        self._seen = {lead.id for lead in recent}
        self._since = max([self._since, *(lead.created_at for lead in recent[:1])])
        events = []
        if leads:
            events.append(_event("leads", leads=[lead_document(lead) for lead in leads], more=len(leads) == MAX_LEADS))
        if changes:
            self._change = changes[-1][0]
            ids = list(dict.fromkeys(lead_id for _, lead_id in changes))
            events.append(_event("changes", ids=ids, more=len(changes) == MAX_LEADS))
        return events


def _event(name: str, **data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), encode(data))
