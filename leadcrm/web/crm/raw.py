"""`/api/raw`: requests as they were kept, and replaying those that are no leads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from sanic.response import HTTPResponse

from leadcrm.crm.archive import archive, archive_like, bring_back
from leadcrm.crm.audit import Action
from leadcrm.crm.changes import MAX_IDS
from leadcrm.crm.correction import correct
from leadcrm.crm.documents import raw_document, raw_page_document, raw_summary_document, replay_document
from leadcrm.crm.feed import Feed
from leadcrm.crm.raw import Archived, SpoolReader, get_raw, list_raw
from leadcrm.crm.replay import replay_raw
from leadcrm.crm.states import INBOX_STATES, RAW_STATES
from leadcrm.crm.stored_order import list_stored_raw
from leadcrm.crm.tokens import Right
from leadcrm.database.entities import Entities
from leadcrm.database.states import REPLAYABLE_STATES
from leadcrm.ingest.replay import Replay
from leadcrm.ingest.submission import SourceReader
from leadcrm.web.crm.changes import ACTOR, ARCHIVING
from leadcrm.web.crm.correction import CORRECT, REPLAYED
from leadcrm.web.crm.declarations import Call, Endpoint, Parameter, Response, Route, one_of, parse_uuid, text_up_to
from leadcrm.web.crm.filters import FILTER_TEXT, MAX_TEXT, SINCE, UNTIL, ZONE, moments_of
from leadcrm.web.crm.leads import DEFAULT_ROWS, ID_PARAMETER, LIMIT, UNKNOWN
from leadcrm.web.crm.places import GONE_RESPONSE, ORDER, cursor_of, cursor_of_either_order, write_stored_cursor
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response, refuse
from leadcrm.web.crm.schemas import ID, TEXT_OR_NULL, array, json_object, reference
from leadcrm.web.crm.trail import Trail
from leadcrm.web.http.responses import NOT_FOUND

LIST = Route(
    "GET",
    "/api/raw",
    "list_raw",
    "Requests as they were kept, the newest first or as they were stored",
    {
        200: Response(
            "A page; `next` is the cursor of the page after it.",
            {"application/json": json_object(rows=array(reference("RawSummary")), next=TEXT_OR_NULL)},
        ),
        410: GONE_RESPONSE,
    },
    "`spooled` are those that wait in this node's spool for the database; the order `stored` has them later. In it a "
    "request that was replayed stands twice.",
    (
        Parameter(
            "state",
            f"What became of them; without it, all that are no leads: {', '.join(INBOX_STATES)}.",
            {"type": "string", "enum": list(RAW_STATES)},
            one_of(*RAW_STATES),
            repeatable=True,
        ),
        Parameter(
            "source",
            "Of this source alone; `api` is `/api/lead`. A page then looks at 20,000 requests, and may hold fewer than "
            "`limit`.",
            FILTER_TEXT,
            text_up_to(MAX_TEXT),
        ),
        SINCE,
        UNTIL,
        ZONE,
        LIMIT,
        Parameter(
            "archived",
            "Whether there are those that people have put out of the inbox; the order `stored` has all, of all times.",
            {"type": "string", "enum": ["hide", "only", "include"], "default": "hide"},
            one_of("hide", "only", "include"),
        ),
        Parameter("cursor", "The `next` of the page before.", {"type": "string"}, cursor_of_either_order(parse_uuid)),
        ORDER,
    ),
    right=Right.READ,
    audited=Action.LIST_RAW,
)

GET = Route(
    "GET",
    "/api/raw/{id}",
    "get_raw",
    "One request with its headers and body",
    {200: Response("The request.", {"application/json": reference("Raw")}), 404: UNKNOWN},
    parameters=(ID_PARAMETER,),
    right=Right.READ,
)

REPLAY = Route(
    "POST",
    "/api/raw/{id}/replay",
    "replay",
    "Make a lead of a request that is none",
    {200: Response("What became of it.", {"application/json": REPLAYED}), 404: UNKNOWN},
    f"For {', '.join(REPLAYABLE_STATES)} requests, under the id they were given; an unverified one is verified again. "
    "The key of a conflict stays the first lead's. Replaying a lead changes nothing.",
    (ID_PARAMETER, ACTOR),
    right=Right.REPLAY,
)


ARCHIVE = Route(
    "POST",
    "/api/raw/archive",
    "archive",
    "Put requests out of the inbox, or bring them back",
    {
        200: Response("Those for which that was new.", {"application/json": json_object(ids=array(ID))}),
        404: UNKNOWN,
    },
    f"The requests stay as they are. With `like`, up to {MAX_IDS} of the same state, error and source, the newest "
    "first: ask again until none is left.",
    (ACTOR,),
    ARCHIVING,
    right=Right.BULK,
)


class RawRoutes:
    """The handlers of the routes over raw rows."""

    def __init__(
        self,
        readers: Readers,
        spool: SpoolReader,
        feed: Feed,
        max_decoded_bytes: int,
        sources: SourceReader,
        trail: Trail,
    ) -> None:
        """Set what reads and changes the database, the spool, the feed, how long a decoded body may be, the sources."""
        self._trail = trail
        self._feed = feed
        self._sources = sources
        self._readers = readers
        self._spool = spool
        self._max_decoded_bytes = max_decoded_bytes
        self.endpoints = (
            Endpoint(LIST, self.list),
            Endpoint(ARCHIVE, self.archive),
            Endpoint(GET, self.get),
            Endpoint(REPLAY, self.replay),
            Endpoint(CORRECT, self.correct),
        )

    async def list(self, call: Call) -> HTTPResponse:
        """Return a page, of database and spool together."""
        states = call["state"] or INBOX_STATES
        limit, after, source = call["limit"] or DEFAULT_ROWS, cursor_of(call), call["source"]
        if call["order"] == "stored":
            stored = await self._readers.run(
                lambda entities: list_stored_raw(entities, self._feed, states, limit=limit, after=after, source=source)
            )
            rows = [raw_summary_document(row) for row in stored.rows]
            return json_response(200, {"rows": rows, "next": write_stored_cursor(stored.next)})
        archived: Archived = call["archived"] or "hide"
        since, until = moments_of(call, "from", "to")
        read = partial(
            list_raw,
            spool=self._spool,
            states=states,
            limit=limit,
            after=after,
            source=source,
            archived=archived,
            since=since,
            until=until,
        )
        page = await self._readers.read(read, call.request)
        return json_response(200, raw_page_document(page))

    async def archive(self, call: Call) -> HTTPResponse:
        """Put requests out of the inbox, or bring them back."""
        asked = call.body

        def change(entities: Entities) -> list[UUID] | None:
            if asked.like is not None:
                return archive_like(entities, asked.like, actor=call.actor)
            move = archive if asked.is_archived else bring_back
            return move(entities, asked.ids, actor=call.actor)

        ids = await self._readers.change(change)
        return refuse(NOT_FOUND, UNKNOWN.description) if ids is None else json_response(200, {"ids": ids})

    async def get(self, call: Call) -> HTTPResponse:
        """Return one raw row."""
        read = partial(get_raw, spool=self._spool, id=call["id"])
        kept = await self._readers.read(read, call.request)
        if kept is None and self._readers.has_standby:
            kept = await self._readers.run(read)
        if kept is None:
            return refuse(NOT_FOUND, UNKNOWN.description)
        self._trail.note(call.actor, Action.READ_RAW, call["id"])
        return json_response(200, raw_document(kept))

    async def replay(self, call: Call) -> HTTPResponse:
        """Replay one raw row."""
        return await self._make_lead(call, replay_raw)

    async def correct(self, call: Call) -> HTTPResponse:
        """Make a lead of one raw row by a correction."""
        return await self._make_lead(call, partial(correct, correction=call.body))

    async def _make_lead(self, call: Call, make: Callable[..., Replay | None]) -> HTTPResponse:
        result = await self._readers.change(
            lambda entities: make(
                entities,
                self._spool,
                call["id"],
                actor=call.actor,
                max_decoded_bytes=self._max_decoded_bytes,
                sources=self._sources,
            )
        )
        return json_response(200, replay_document(result)) if result else refuse(NOT_FOUND, UNKNOWN.description)
