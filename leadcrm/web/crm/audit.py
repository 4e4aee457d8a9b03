"""`/api/audit`: who read, exported, changed, replayed or erased what."""

from __future__ import annotations

from sanic.response import HTTPResponse

from leadcrm.crm.audit import Action, AuditFilter, entry_document, list_entries
from leadcrm.crm.tokens import Right
from leadcrm.web.crm.declarations import (
    UUID_SCHEMA,
    Call,
    Endpoint,
    Parameter,
    Response,
    Route,
    one_of,
    parse_uuid,
    text_up_to,
)
from leadcrm.web.crm.filters import FILTER_TEXT, MAX_TEXT, SINCE, UNTIL, ZONE, moments_of
from leadcrm.web.crm.leads import DEFAULT_ROWS, LIMIT
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response
from leadcrm.web.crm.schemas import ID_OR_NULL, array, json_object, reference

_ACTIONS = tuple(action.value for action in Action)

LIST = Route(
    "GET",
    "/api/audit",
    "list_audit",
    "Who did what, the newest first",
    {
        200: Response(
            "A page; `next` is the cursor of the page after it.",
            {"application/json": json_object(entries=array(reference("AuditEntry")), next=ID_OR_NULL)},
        )
    },
    "`actor` is the name of a token or of a user of the server's machine; with ADMIN_TOKEN it is what X-Actor said, as "
    "`via` tells. `claimed` is whom they said to act for. No entry quotes a lead: of a search it says that there was "
    "one. The same reading again within an hour is one entry. Entries are kept for AUDIT_DAYS.",
    (
        Parameter("actor", "Of this actor.", FILTER_TEXT, text_up_to(MAX_TEXT)),
        Parameter("action", "Of this kind.", {"type": "string", "enum": list(_ACTIONS)}, one_of(*_ACTIONS)),
        Parameter("lead", "About this lead or request.", UUID_SCHEMA, parse_uuid),
        SINCE,
        UNTIL,
        ZONE,
        LIMIT,
        Parameter("cursor", "The `next` of the page before.", UUID_SCHEMA, parse_uuid),
    ),
    right=Right.AUDIT,
    audited=Action.AUDIT,
)


class AuditRoutes:
    """The handler of the route."""

    def __init__(self, readers: Readers) -> None:
        """Set the threads that read the database."""
        self._readers = readers
        self.endpoints = (Endpoint(LIST, self.list),)

    async def list(self, call: Call) -> HTTPResponse:
        """Return a page."""
        narrowing = AuditFilter(call["actor"], call["action"], call["lead"], *moments_of(call, "from", "to"))
        limit, before = call["limit"] or DEFAULT_ROWS, call["cursor"]
        entries, following = await self._readers.run(
            lambda entities: list_entries(entities, narrowing, limit=limit, before=before)
        )
        return json_response(200, {"entries": [entry_document(entry) for entry in entries], "next": following})
