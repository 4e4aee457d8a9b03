"""`/api/raw`: requests as they were kept, and making leads of those that are none."""

from __future__ import annotations

from sanic.response import HTTPResponse

from leadcrm.crm.documents import raw_document, raw_page_document, replay_document
from leadcrm.crm.leads import MAX_ROWS
from leadcrm.crm.raw import SpoolReader, get_raw, list_raw
from leadcrm.crm.replay import replay_raw
from leadcrm.crm.states import INBOX_STATES, RAW_STATES
from leadcrm.web.crm.answers import answer, refuse
from leadcrm.web.crm.declarations import (
    UUID_SCHEMA,
    Answer,
    Call,
    Parameter,
    Route,
    one_of,
    uuid_of,
    whole_number,
)
from leadcrm.web.crm.leads import DEFAULT_ROWS, ID_PARAMETER, UNKNOWN
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.schemas import (
    ID,
    ID_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    array,
    document,
    reference,
)
from leadcrm.web.http.responses import NOT_FOUND


class RawRoutes:
    """The routes over raw rows."""

    def __init__(self, readers: Readers, spool: SpoolReader, max_decoded_bytes: int) -> None:
        """Take who reads, and how long a body may be once it is decoded."""
        self._readers = readers
        self._spool = spool
        self._max_decoded_bytes = max_decoded_bytes
        states = {"type": "string", "enum": list(RAW_STATES)}
        page = document(rows=array(reference("RawSummary")), next=ID_OR_NULL)
        replayed = document(id=ID, state=TEXT, changed={"type": "boolean"}, leadId=ID_OR_NULL, error=TEXT_OR_NULL)
        self.routes = (
            Route(
                "GET",
                "/api/raw",
                "list_raw",
                "Requests as they were kept, newest first",
                self.list,
                {200: Answer("A page; `next` is the cursor of the page after it.", {"application/json": page})},
                "`spooled` are those that wait in this node's spool for the database.",
                (
                    Parameter(
                        "state",
                        f"What became of them; without it, all that are no leads: {', '.join(INBOX_STATES)}.",
                        states,
                        one_of(*RAW_STATES),
                        repeatable=True,
                    ),
                    Parameter(
                        "limit",
                        "How many.",
                        {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": DEFAULT_ROWS},
                        whole_number(1, MAX_ROWS),
                    ),
                    Parameter("cursor", "The `next` of the page before.", UUID_SCHEMA, uuid_of),
                ),
            ),
            Route(
                "GET",
                "/api/raw/{id}",
                "get_raw",
                "One request with its headers and body",
                self.get,
                {200: Answer("The request.", {"application/json": reference("Raw")}), 404: UNKNOWN},
                parameters=(ID_PARAMETER,),
            ),
            Route(
                "POST",
                "/api/raw/{id}/replay",
                "replay",
                "Make a lead of a request that is none",
                self.replay,
                {200: Answer("What became of it.", {"application/json": replayed}), 404: UNKNOWN},
                "For `failed` and `invalid` requests, under the id they were given. Replaying again changes nothing.",
                (ID_PARAMETER,),
            ),
        )

    async def list(self, call: Call) -> HTTPResponse:
        """Answer a page of raw rows, of database and spool together."""
        states = call["state"] or INBOX_STATES
        limit, after = call["limit"] or DEFAULT_ROWS, call["cursor"]
        page = await self._readers.run(
            lambda entities: list_raw(entities, self._spool, states, limit=limit, after=after)
        )
        return answer(200, raw_page_document(page))

    async def get(self, call: Call) -> HTTPResponse:
        """Answer one raw row."""
        kept = await self._readers.run(lambda entities: get_raw(entities, self._spool, call["id"]))
        return answer(200, raw_document(kept)) if kept else refuse(NOT_FOUND, UNKNOWN.description)

    async def replay(self, call: Call) -> HTTPResponse:
        """Replay one raw row."""
        result = await self._readers.run(
            lambda entities: replay_raw(entities, self._spool, call["id"], max_decoded_bytes=self._max_decoded_bytes)
        )
        return answer(200, replay_document(result)) if result else refuse(NOT_FOUND, UNKNOWN.description)
