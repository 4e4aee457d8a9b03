"""`/api/leads/stream`: the feed as it goes on, by server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html).

Every listener reads the feed from his own place, so a slow one delays nobody and misses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Any

from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.crm.audit import Action
from leadcrm.crm.documents import encode, feed_event_document
from leadcrm.crm.feed import FeedGone, FeedPage
from leadcrm.crm.tokens import Right
from leadcrm.errors import LeadcrmError
from leadcrm.web.crm.declarations import Call, Endpoint, Parameter, Response, Route
from leadcrm.web.crm.places import GONE_RESPONSE, SEQ_SCHEMA, parse_seq
from leadcrm.web.crm.responses import HEADERS
from leadcrm.web.crm.watch import FeedWatch, ends

MAX_EVENTS = 50
"""Events of one write: some hundred kilobytes at most, which a listener who does not read holds in memory."""

PAUSE_S = 1.0
"""The pause after a reading that failed."""

HEARTBEAT_S = 15.0
"""Proxies close a connection on which nothing moves, and only a write shows that a listener is gone."""

CLIENT_TIMEOUT_S = 10.0

ROUTE = Route(
    "GET",
    "/api/leads/stream",
    "stream_leads",
    "The feed as it goes on",
    {
        200: Response(
            "Server-sent events, until one side ends it: `id` is the event's number, `event` its type, `data` the "
            "event as in `GET /api/feed`.",
            {"text/event-stream": {"type": "string"}},
        ),
        410: GONE_RESPONSE,
    },
    "None is left out. `Last-Event-ID`, which browsers send when they connect again, says where to go on. All leads "
    "are announced: `GET /api/leads` with a filter and their ids says which of them match. An event `gone` ends a "
    "stream that has fallen behind what the feed keeps.",
    (
        Parameter(
            "Last-Event-ID",
            "The number that was read last; without it, only later events come.",
            SEQ_SCHEMA,
            parse_seq,
            "header",
        ),
    ),
    right=Right.READ,
    audited=Action.FEED,
)

logger = logging.getLogger("leadcrm.web.crm")


class StreamRoutes:
    """The handler of the route."""

    def __init__(self, watch: FeedWatch) -> None:
        """Set what reads the feed and waits for it."""
        self._watch = watch
        self.endpoints = (Endpoint(ROUTE, self.listen),)

    async def listen(self, call: Call) -> HTTPResponse | None:
        """Send events until the client goes or the server stops."""
        after = call["Last-Event-ID"]
        self._watch.join()
        try:
            if after is None:
                after = await self._watch.end()
            else:
                await self._watch.read(after, _encode, limit=1)
            # nginx would hold events back until they fill a buffer.
            headers = {**HEADERS, "x-accel-buffering": "no", "x-request-id": call.request_id}
            response = await call.request.respond(content_type="text/event-stream", headers=headers)
            assert response is not None
            # The id alone tells the client its place before the first event.
            await response.send(b": listening\nid: %d\n\n" % after)
            await self._send_events(call.request, response, after)
            await response.eof()
        finally:
            self._watch.leave()
        return None

    async def _send_events(self, request: Request, response: Any, after: int) -> None:
        written_at = monotonic()
        while not ends(request):
            piece, until, is_full = b"", after, False
            try:
                page, piece = await self._watch.read(after, _encode, limit=MAX_EVENTS, shared=True)
                after, until, is_full = page.passed, page.until, len(page.events) == MAX_EVENTS
            except FeedGone as error:
                await response.send(b"event: gone\ndata: %s\n\n" % encode({"oldest": error.oldest}))
                return
            except LeadcrmError as error:
                text = "the stream of the feed pauses: %s"
                logger.warning(text, error, extra={"action": "announce", "hint": error.hint, "repeat_key": text})
                await asyncio.sleep(PAUSE_S)
            if piece or monotonic() - written_at > HEARTBEAT_S:
                await asyncio.wait_for(response.send(piece or b": still here\n\n"), CLIENT_TIMEOUT_S)
                written_at = monotonic()
            if not is_full:
                await self._watch.wait(until, HEARTBEAT_S, request)


def _encode(page: FeedPage) -> bytes:
    return b"".join(
        b"id: %d\nevent: lead.%s\ndata: %s\n\n" % (event.seq, event.type.encode(), encode(feed_event_document(event)))
        for event in page.events
    )
