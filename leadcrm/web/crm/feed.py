"""`/api/feed`: everything that became true of leads, in order, for programs that read on from where they were."""

from __future__ import annotations

from functools import partial
from time import monotonic

from sanic.response import HTTPResponse

from leadcrm.crm.audit import Action
from leadcrm.crm.documents import encode, feed_document
from leadcrm.crm.feed import FeedPage
from leadcrm.crm.leads import MAX_ROWS
from leadcrm.crm.tokens import Right
from leadcrm.web.crm.declarations import Call, Endpoint, Parameter, Response, Route, one_of, whole_number
from leadcrm.web.crm.places import GONE_RESPONSE, SEQ_SCHEMA, parse_seq
from leadcrm.web.crm.responses import json_response
from leadcrm.web.crm.schemas import COUNT, array, json_object, reference
from leadcrm.web.crm.watch import FeedWatch, ends

DEFAULT_EVENTS = 100

MAX_WAIT_S = 30
"""Less than the proxies' usual minute without a byte, and than our own."""

ROUTE = Route(
    "GET",
    "/api/feed",
    "read_feed",
    "What became true of leads, in order",
    {
        200: Response(
            "The events after `after`, oldest first; `next` is the `after` of the next call.",
            {"application/json": json_object(events=array(reference("FeedEvent")), next=COUNT)},
        ),
        410: GONE_RESPONSE,
    },
    "Whoever goes on from `next` misses nothing, whatever node or worker answers: nothing ever appears below a number "
    "that was read. Numbers may skip. `at` is when it was stored; a lead that waited for the database arrived earlier, "
    "at its `createdAt`. The lead is as it is now, with the first 1,024 characters of each value, and null once it is "
    "gone.",
    (
        Parameter(
            "after", "The number that was read last; without it, the oldest event comes first.", SEQ_SCHEMA, parse_seq
        ),
        Parameter(
            "limit",
            "How many at most.",
            {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": DEFAULT_EVENTS},
            whole_number(1, MAX_ROWS),
        ),
        Parameter(
            "wait",
            "Seconds to wait for an event if there is none.",
            {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_S, "default": 0},
            whole_number(0, MAX_WAIT_S),
        ),
        Parameter(
            "payload",
            "`thin`: without lead and change.",
            {"type": "string", "enum": ["full", "thin"], "default": "full"},
            one_of("full", "thin"),
        ),
    ),
    right=Right.READ,
    audited=Action.FEED,
)


class FeedRoutes:
    """The handler of the route."""

    def __init__(self, watch: FeedWatch) -> None:
        """Set what reads the feed and waits for it."""
        self._watch = watch
        self.endpoints = (Endpoint(ROUTE, self.read),)

    async def read(self, call: Call) -> HTTPResponse:
        """Return a page of the feed, if need be as soon as there is one."""
        thin = call["payload"] == "thin"
        read = partial(
            self._watch.read,
            make=_encode_thin if thin else _encode_full,
            limit=call["limit"] or DEFAULT_EVENTS,
            thin=thin,
        )
        page, document = await read(call["after"])
        if page.events or not call["wait"]:
            return json_response(200, document)
        ends_at = monotonic() + call["wait"]
        self._watch.join()
        try:
            while not page.events and (left := ends_at - monotonic()) > 0 and not ends(call.request):
                await self._watch.wait(page.until, left, call.request)
                page, later = await read(page.passed, shared=True)
                if page.events:
                    document = later
        finally:
            self._watch.leave()
        return json_response(200, document)


def _encode_full(page: FeedPage) -> bytes:
    return encode(feed_document(page, thin=False))


def _encode_thin(page: FeedPage) -> bytes:
    return encode(feed_document(page, thin=True))
