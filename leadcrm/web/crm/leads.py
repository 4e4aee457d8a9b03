"""`/api/leads`: pages of leads, one lead with its history, changes of one or many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sanic.response import HTTPResponse

from leadcrm.crm.audit import Action
from leadcrm.crm.changes import ChangeOutcome, add_note, change_lead, change_leads
from leadcrm.crm.documents import event_document, history_document, lead_document, lead_page_document
from leadcrm.crm.feed import Feed
from leadcrm.crm.leads import LONGEST_LISTED, MAX_ROWS, Cursor, Lead
from leadcrm.crm.lookup import LeadHistory, get_history
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.search import LOOKED_THROUGH
from leadcrm.crm.sorting import NEWEST_FIRST, SORTS, SortCursor, decode_cursor, list_sorted, sort_of
from leadcrm.crm.stored_order import list_stored_leads
from leadcrm.crm.tokens import Right
from leadcrm.database.entities import Entities
from leadcrm.delivery.live import LiveSinks
from leadcrm.delivery.whereabouts import lead_deliveries
from leadcrm.web.crm.changes import ACTOR, BULK_CHANGE, CHANGE, IF_MATCH, NOTE
from leadcrm.web.crm.declarations import (
    UUID_SCHEMA,
    Call,
    Endpoint,
    InvalidRequest,
    Parameter,
    Response,
    Route,
    one_of,
    parse_uuid,
    whole_number,
)
from leadcrm.web.crm.filters import FILTER_PARAMETERS, parse_filter
from leadcrm.web.crm.places import GONE_RESPONSE, ORDER, cursor_of, cursor_of_either_order, write_stored_cursor
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response, refuse
from leadcrm.web.crm.schemas import COUNT, ID, NULL, TEXT_OR_NULL, TIME, array, json_object, reference
from leadcrm.web.crm.trail import Trail
from leadcrm.web.http.responses import NOT_FOUND, Refusal

STALE = Refusal(412, "stale")

DEFAULT_ROWS = 50

_ERROR = {"application/json": reference("Error")}
_VERSION = {"ETag": "The lead's version, for If-Match: the digits of its updatedAt, to the microsecond, in quotes."}

_REFUSED = Response("A constraint or trigger of the database does not allow the change; nothing is changed.", _ERROR)

UNKNOWN = Response("Nobody was given this id, as far as the database and this node know.", _ERROR)
ID_PARAMETER = Parameter("id", "Any id that a sender was answered.", UUID_SCHEMA, parse_uuid, "path")
LIMIT = Parameter(
    "limit",
    "How many.",
    {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": DEFAULT_ROWS},
    whole_number(1, MAX_ROWS),
)


def _parse_cursor(text: str) -> Cursor | SortCursor:
    try:
        return decode_cursor(text)
    except ValueError:
        raise ValueError("the `next` of another page is accepted") from None


_PAGE = {
    **json_object(leads=array(reference("Lead")), next=TEXT_OR_NULL),
    "properties": {
        "leads": array(reference("Lead")),
        "next": TEXT_OR_NULL,
        "searched": {
            **json_object(leads=COUNT, **{"from": {"anyOf": [TIME, NULL]}}),
            "description": "Of a search: among how many of the newest leads parts were looked for; null for all. Of "
            f"`contains`, where the page ends after {LOOKED_THROUGH} leads that were looked at: how far in the order "
            "that is. `next` goes on from there, as it does for a search.",
        },
    },
}

LIST = Route(
    "GET",
    "/api/leads",
    "list_leads",
    "Leads, the newest first or as they were stored",
    {
        200: Response(
            "A page; `next` is the cursor of the page after it.",
            {"application/json": _PAGE},
        ),
        410: GONE_RESPONSE,
    },
    f"Of a long value the first {LONGEST_LISTED} characters: the single lead has all of it.",
    parameters=(
        LIMIT,
        Parameter(
            "cursor", "The `next` of the page before.", {"type": "string"}, cursor_of_either_order(_parse_cursor)
        ),
        ORDER,
        Parameter(
            "sort",
            "With a hyphen the latest or last first. By status: in the order of STATUSES, others after them. A lead "
            "without a next call comes after those with one. A search with `q` comes the newest first only.",
            {"type": "string", "enum": list(SORTS), "default": NEWEST_FIRST},
            one_of(*SORTS),
        ),
        *FILTER_PARAMETERS,
    ),
    right=Right.READ,
    audited=Action.LIST,
)

CHANGE_MANY = Route(
    "POST",
    "/api/leads/bulk",
    "change_leads",
    "Change many leads the same way",
    {
        200: Response(
            "How many were changed, were so already, and which ids are no leads; with `expected`, `stale` says how "
            "many had other values.",
            {
                "application/json": {
                    **json_object(changed=COUNT, unchanged=COUNT, missing=array(ID)),
                    "properties": {"changed": COUNT, "unchanged": COUNT, "missing": array(ID), "stale": COUNT},
                }
            },
        ),
        422: _REFUSED,
    },
    "All or none are changed; each change is kept in its lead's history.",
    (ACTOR,),
    BULK_CHANGE,
    right=Right.BULK,
)

GET = Route(
    "GET",
    "/api/leads/{id}",
    "get_lead",
    "One lead with its raw request and history",
    {
        200: Response(
            "The lead, or null where the request is none (yet); `way` is the duplicates passed by. `deliveries` tell "
            "what became of its events at the sinks: `delivered` and `dropped` as long as the feed is kept, `waiting` "
            "and `dead`. A sink that has nothing of the lead has still to read of it (`pending`), does not want it by "
            "its filter of now (`unwanted`), or began later than the lead or than such records (`unrecorded`).",
            {"application/json": reference("LeadWithHistory")},
            _VERSION,
        ),
        404: UNKNOWN,
    },
    "The id of a repeat or a conflict leads on to the first lead.",
    (ID_PARAMETER,),
    right=Right.READ,
)

CHANGE_ONE = Route(
    "PATCH",
    "/api/leads/{id}",
    "change_lead",
    "Change status, assignment or next call, or correct the person's name, email, phone, country or language",
    {
        200: Response("The lead as it is now.", {"application/json": reference("Lead")}, _VERSION),
        404: UNKNOWN,
        412: Response("Somebody else has changed it meanwhile.", _ERROR, _VERSION),
        422: _REFUSED,
    },
    "With If-Match, only if the lead is still of that version. The raw request keeps what was sent.",
    (ID_PARAMETER, ACTOR, IF_MATCH),
    CHANGE,
    right=Right.WORK,
)


ADD_NOTE = Route(
    "POST",
    "/api/leads/{id}/notes",
    "add_note",
    "Add a note to a lead",
    {
        201: Response("The note, as it stands in the lead's history.", {"application/json": reference("Event")}),
        404: UNKNOWN,
        422: _REFUSED,
    },
    "A note is an event of the field `note`; the lead's version stays as it is.",
    (ID_PARAMETER, ACTOR),
    NOTE,
    right=Right.WORK,
)


class LeadRoutes:
    """The handlers of the routes over leads."""

    def __init__(
        self,
        readers: Readers,
        spool: SpoolReader,
        feed: Feed,
        sinks: LiveSinks | None,
        trail: Trail,
        statuses: Sequence[str],
    ) -> None:
        """Set what reads and changes the database, the spool for ids that wait there, and what routes need besides."""
        self._sinks = sinks
        self._trail = trail
        self._statuses = statuses
        self._readers = readers
        self._spool = spool
        self._feed = feed
        self.endpoints = (
            Endpoint(LIST, self.list),
            Endpoint(CHANGE_MANY, self.change_many),
            Endpoint(GET, self.get),
            Endpoint(CHANGE_ONE, self.change),
            Endpoint(ADD_NOTE, self.add_note),
        )

    async def list(self, call: Call) -> HTTPResponse:
        """Return a page."""
        lead_filter = parse_filter(call)
        limit, after = call["limit"] or DEFAULT_ROWS, cursor_of(call)
        if call["order"] == "stored":
            if call["sort"] is not None:
                raise InvalidRequest("sort: as they were stored, leads have an order already")
            stored = await self._readers.run(
                lambda entities: list_stored_leads(entities, self._feed, lead_filter, limit=limit, after=after)
            )
            leads = [lead_document(lead) for lead in stored.rows]
            return json_response(200, {"leads": leads, "next": write_stored_cursor(stored.next)})
        sort = _sort_of(call, after)
        page = await self._readers.read(
            lambda entities: list_sorted(entities, lead_filter, sort, self._statuses, limit=limit, after=after),
            call.request,
        )
        return json_response(200, lead_page_document(page))

    async def get(self, call: Call) -> HTTPResponse:
        """Return one lead with its history."""

        def read(entities: Entities) -> tuple[LeadHistory, list[dict[str, Any]]] | None:
            history = get_history(entities, self._spool, call["id"])
            if history is None:
                return None
            sinks = {} if self._sinks is None else self._sinks.now()
            return history, lead_deliveries(entities, sinks, history.destination.id, history.destination.lead)

        found = await self._readers.read(read, call.request)
        if found is None and self._readers.has_standby:
            # Any id that was answered leads to its lead, whatever a standby has replayed.
            found = await self._readers.run(read)
        if found is None:
            return refuse(NOT_FOUND, UNKNOWN.description)
        history, deliveries = found
        self._trail.note(call.actor, Action.READ, history.destination.id)
        lead = history.destination.lead
        return json_response(200, history_document(history, deliveries), _etag(lead) if lead else None)

    async def change(self, call: Call) -> HTTPResponse:
        """Change one lead."""
        actor, versions = call.actor, call["If-Match"]
        change = await self._readers.change(
            lambda entities: change_lead(entities, self._spool, call["id"], call.body, actor=actor, versions=versions)
        )
        if change.lead is None:
            return refuse(NOT_FOUND, "There is no lead under this id.")
        document, etag = lead_document(change.lead), _etag(change.lead)
        if change.outcome is ChangeOutcome.STALE:
            return refuse(STALE, "Somebody else has changed it meanwhile.", etag, lead=document)
        return json_response(200, document, etag)

    async def add_note(self, call: Call) -> HTTPResponse:
        """Add a note."""
        note = await self._readers.change(
            lambda entities: add_note(entities, self._spool, call["id"], call.body, actor=call.actor)
        )
        if note is None:
            return refuse(NOT_FOUND, "There is no lead under this id.")
        return json_response(201, event_document(note))

    async def change_many(self, call: Call) -> HTTPResponse:
        """Change many leads in the same way."""
        ids, changes, expected = call.body
        outcomes = await self._readers.change(
            lambda entities: change_leads(entities, ids, changes, actor=call.actor, expected=expected)
        )
        counts = list(outcomes.values())
        document = {
            "changed": counts.count(ChangeOutcome.CHANGED),
            "unchanged": counts.count(ChangeOutcome.UNCHANGED),
            "missing": [id for id, outcome in outcomes.items() if outcome is ChangeOutcome.MISSING],
        }
        if expected is not None:
            document["stale"] = counts.count(ChangeOutcome.STALE)
        return json_response(200, document)


def _sort_of(call: Call, after: Cursor | SortCursor | None) -> str:
    sort: str = call["sort"] or NEWEST_FIRST
    if call["q"] and sort != NEWEST_FIRST:
        raise InvalidRequest("sort: what a search finds comes the newest first")
    if after is not None and sort_of(after) != sort:
        raise InvalidRequest("cursor: the `next` of a page in the same order is accepted")
    return sort


def _etag(lead: Lead) -> dict[str, str]:
    return {"etag": f'"{lead.version}"'}
