"""`/api/leads/stream`: new leads and changes as they come, by server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html).

One look at the database a second serves all listeners of a worker, and none is taken while nobody listens. A lead
whose commit was later than the look that passed its time, or that comes out of the spool, is not announced; the
listener finds it with its next page.
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
from leadcrm.web.crm.answers import HEADERS
from leadcrm.web.crm.declarations import Answer, Call, Route
from leadcrm.web.crm.readers import Readers

LOOK_INTERVAL_S = 1.0

OVERLAP = timedelta(seconds=3)
"""A lead is seen after its commit, which is later than its time by up to its deadline."""

MOST_LEADS = 50
"""Leads and changes of one event: a screen of them. `more` says that there were others."""

HEARTBEAT_S = 15.0
"""Proxies close a connection on which nothing moves, and a listener that is gone shows only by writing to it."""

CLIENT_TIMEOUT_S = 10.0

MOST_LISTENERS = 100

logger = logging.getLogger("leadcrm.web.crm")


class StreamRoutes:
    """The route of the stream, and the look that feeds it."""

    def __init__(self, readers: Readers) -> None:
        """Take who reads."""
        self._readers = readers
        self._listeners: set[asyncio.Queue[bytes]] = set()
        self._looking: asyncio.Task[None] | None = None
        self.routes = (
            Route(
                "GET",
                "/api/leads/stream",
                "stream_leads",
                "New leads and changes as they come",
                self.listen,
                {200: Answer("Server-sent events, until one side ends it.", {"text/event-stream": {"type": "string"}})},
                "Event `leads`: `{leads: […], more}`, newest first. Event `changes`: `{ids: […], more}`, the leads "
                "that were changed. Where there is `more`, read a page. All leads are announced: `GET /api/leads` with "
                "a filter and their ids says which of them match.",
            ),
        )

    async def listen(self, call: Call) -> HTTPResponse | None:
        """Send events until the client goes or the server stops."""
        request = call.request
        headers = {**HEADERS, "x-request-id": call.request_id}
        response = await request.respond(content_type="text/event-stream", headers=headers)
        assert response is not None
        if len(self._listeners) >= MOST_LISTENERS:
            await response.eof()
            return None
        events: asyncio.Queue[bytes] = asyncio.Queue(maxsize=100)
        self._listeners.add(events)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            await response.send(b": listening\n\n")
            written_at = monotonic()
            # A worker that winds down says so here: it would wait for this connection to end.
            while request.app.config.KEEP_ALIVE:
                event = b""
                with suppress(asyncio.TimeoutError):
                    event = await asyncio.wait_for(events.get(), LOOK_INTERVAL_S)
                if event or monotonic() - written_at > HEARTBEAT_S:
                    await asyncio.wait_for(response.send(event or b": still here\n\n"), CLIENT_TIMEOUT_S)
                    written_at = monotonic()
            await response.eof()
        finally:
            self._listeners.discard(events)
        return None

    async def _look(self) -> None:
        """Look while somebody listens."""
        news: _News | None = None
        while self._listeners:
            try:
                if news is None:
                    news = await self._readers.run(_News)
                for event in await self._readers.run(news.look):
                    self._announce(event)
            except LeadcrmError as error:
                text = "new leads cannot be announced: %s"
                logger.warning(text, error, extra={"action": "announce", "hint": error.hint, "repeat_key": text})
            except Exception:
                logger.exception("new leads cannot be announced", extra={"action": "announce"})
                news = None
            await asyncio.sleep(LOOK_INTERVAL_S)

    def _announce(self, event: bytes) -> None:
        for events in self._listeners:
            # A listener that is so far behind reads a page sooner or later anyway.
            with suppress(asyncio.QueueFull):
                events.put_nowait(event)


class _News:
    """What was announced last; belongs to one look at a time."""

    def __init__(self, entities: Entities) -> None:
        """Begin with what is there: only what comes after it is news."""
        self._since = datetime.now(timezone.utc).replace(tzinfo=None)
        with session(entities):
            self._seen = {lead.id for lead in leads_since(entities, self._since - OVERLAP, limit=MOST_LEADS)}
            self._change = newest_change(entities)

    def look(self, entities: Entities) -> list[bytes]:
        """Return the events since the last look."""
        with session(entities):
            found = leads_since(entities, self._since - OVERLAP, limit=MOST_LEADS)
            changes = leads_changed_after(entities, self._change, limit=MOST_LEADS)
        leads = [lead for lead in found if lead.id not in self._seen]
        self._seen = {lead.id for lead in found}
        self._since = max([self._since, *(lead.created_at for lead in found[:1])])
        events = []
        if leads:
            events.append(_event("leads", leads=[lead_document(lead) for lead in leads], more=len(leads) == MOST_LEADS))
        if changes:
            self._change = changes[-1][0]
            ids = list(dict.fromkeys(lead_id for _, lead_id in changes))
            events.append(_event("changes", ids=ids, more=len(changes) == MOST_LEADS))
        return events


def _event(name: str, **data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), encode(data))
