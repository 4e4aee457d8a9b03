"""`/api/raw`: requests as they were kept, and making leads of those that are none."""

from __future__ import annotations

from uuid import UUID

from sanic.response import HTTPResponse

from leadcrm.crm.leads import MAX_ROWS
from leadcrm.crm.raw import INBOX_STATES, RAW_STATES, SPOOLED, Kept, RawPage, SpoolReader, get_raw, list_raw
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.ingest.replay import Replay, replay
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
    raw_document,
    reference,
    summary_document,
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
        """Answer a page of raw rows: of the database and the spool together, in the order of their ids."""
        states = call["state"] or INBOX_STATES
        limit, after = call["limit"] or DEFAULT_ROWS, call["cursor"]
        in_database = tuple(state for state in states if state != SPOOLED)

        def read(entities: Entities) -> RawPage:
            pages = []
            if in_database:
                with session(entities):
                    pages.append(list_raw(entities, in_database, limit=limit, after=after))
            if SPOOLED in states:
                pages.append(self._spool.list(limit=limit, after=after))
            rows = sorted((row for page in pages for row in page.rows), key=lambda row: row.id, reverse=True)
            has_more = len(rows) > limit or any(page.next for page in pages)
            return RawPage(rows[:limit], rows[:limit][-1].id if has_more else None)

        page = await self._readers.run(read)
        return answer(200, {"rows": [summary_document(row) for row in page.rows], "next": page.next})

    async def get(self, call: Call) -> HTTPResponse:
        """Answer one raw row."""
        kept = await self._readers.run(lambda entities: self._get(entities, call["id"]))
        return answer(200, raw_document(kept)) if kept else refuse(NOT_FOUND, UNKNOWN.description)

    async def replay(self, call: Call) -> HTTPResponse:
        """Replay one raw row."""
        id: UUID = call["id"]

        def write(entities: Entities) -> Replay | None:
            done = replay(entities, id, max_decoded_bytes=self._max_decoded_bytes)
            if done is None and self._spool.get(id):
                return Replay(str(id), SPOOLED, False, None, "it waits in this node's spool for the database")
            return done

        done = await self._readers.run(write)
        if done is None:
            return refuse(NOT_FOUND, UNKNOWN.description)
        return answer(
            200,
            {
                "id": done.id,
                "state": done.state,
                "changed": done.changed,
                "leadId": done.lead_id,
                "error": done.error,
            },
        )

    def _get(self, entities: Entities, id: UUID) -> Kept | None:
        with session(entities):
            kept = get_raw(entities, id)
        return kept or self._spool.get(id)
