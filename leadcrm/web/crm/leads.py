"""`/api/leads`: pages of leads, one lead with all that is known of it, changes of one or many."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from sanic.response import HTTPResponse

from leadcrm.crm.changes import MAX_IDS, MAX_VALUE_CHARS, ChangeOutcome, change_lead, change_leads
from leadcrm.crm.documents import history_document, lead_document, lead_page_document
from leadcrm.crm.leads import MAX_ROWS, Cursor, Lead
from leadcrm.crm.lookup import get_history
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.search import list_leads
from leadcrm.web.crm.answers import answer, refuse
from leadcrm.web.crm.declarations import UUID_SCHEMA, Answer, Body, Call, Parameter, Route, uuid_of, whole_number
from leadcrm.web.crm.filters import FILTER_PARAMETERS, filter_of
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.schemas import COUNT, ID, array, document, reference
from leadcrm.web.http.responses import NOT_FOUND, Refusal

STALE = Refusal(412, "stale")

DEFAULT_ROWS = 50

ERROR = {"application/json": reference("Error")}
UNKNOWN = Answer("Nobody was given this id, as far as the database and this node know.", ERROR)
ID_PARAMETER = Parameter("id", "Any id that a sender was answered.", UUID_SCHEMA, uuid_of, "path")

_VERSION = {"ETag": "The lead's version, for If-Match: the digits of its updatedAt, to the microsecond, in quotes."}

# What encodeURIComponent makes of a name, of which a letter may become twelve.
_ACTOR = r"[A-Za-z0-9_.!~*'()%-]{1,1200}"
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_VALUE = {"maxLength": MAX_VALUE_CHARS, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}
_CHANGES = {
    "status": {"type": "string", "minLength": 1, **_VALUE},
    "assignedTo": {"type": ["string", "null"], **_VALUE, "description": "Null or empty for nobody."},
}


def _cursor(text: str) -> Cursor:
    try:
        return Cursor.decode(text)
    except ValueError:
        raise ValueError("the `next` of another page is accepted") from None


def _actor(text: str) -> str:
    if not re.fullmatch(_ACTOR, text):
        raise ValueError("a name is accepted, percent-encoded, of up to 1,200 characters with the encoding")
    return _CONTROLS.sub("\ufffd", unquote(text, errors="replace"))


ACTOR = Parameter(
    "X-Actor",
    "Who makes the change, for the history; percent-encoded UTF-8.",
    {"type": "string", "pattern": f"^{_ACTOR}$"},
    _actor,
    "header",
)


def _changes(members: dict[str, Any]) -> dict[str, str | None]:
    unknown = next((name for name in members if name not in _CHANGES), None)
    if unknown is not None:
        raise ValueError(f"{unknown[:100]} cannot be changed; status and assignedTo can")
    if not members:
        raise ValueError("says no change; status and assignedTo are accepted")
    changes: dict[str, str | None] = {}
    for name, value in members.items():
        if name == "assignedTo" and value in (None, ""):
            changes["assigned_to"] = None
        elif not isinstance(value, str) or not 1 <= len(value) <= MAX_VALUE_CHARS or _CONTROLS.search(value):
            raise ValueError(f"{name} is a text of 1 to {MAX_VALUE_CHARS} characters without control characters")
        else:
            changes["assigned_to" if name == "assignedTo" else name] = value
    return changes


def _change_of_one(content: Any) -> dict[str, str | None]:
    if not isinstance(content, dict):
        raise ValueError("a JSON object is accepted")  # noqa: TRY004 - told to the sender as every other fault
    return _changes(content)


def _change_of_many(content: Any) -> tuple[list[UUID], dict[str, str | None]]:
    if not isinstance(content, dict) or not isinstance(content.get("ids"), list):
        raise ValueError("an object with ids, status and assignedTo is accepted")  # noqa: TRY004 - the same
    ids = [uuid_of(id) for id in content["ids"]]
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"1 to {MAX_IDS} ids are accepted")
    return ids, _changes({name: value for name, value in content.items() if name != "ids"})


def _versions(text: str) -> list[str] | None:
    """Read If-Match (RFC 9110, section 13.1.1); None is any version. A weak tag never matches."""
    if text.strip() == "*":
        return None
    return [tag.strip()[1:-1] for tag in text.split(",") if re.fullmatch(r'"[^"]*"', tag.strip())]


def _tag(lead: Lead) -> dict[str, str]:
    return {"etag": f'"{lead.version}"'}


class LeadRoutes:
    """The routes over leads."""

    def __init__(self, readers: Readers, spool: SpoolReader) -> None:
        """Take who reads."""
        self._readers = readers
        self._spool = spool
        lead = {"application/json": reference("Lead")}
        self.routes = (
            Route(
                "GET",
                "/api/leads",
                "list_leads",
                "Leads, newest first",
                self.list,
                {
                    200: Answer(
                        "A page; `next` is the cursor of the page after it.",
                        {
                            "application/json": document(
                                leads=array(reference("Lead")), next={"type": ["string", "null"]}
                            )
                        },
                    )
                },
                parameters=(
                    Parameter(
                        "limit",
                        "How many.",
                        {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": DEFAULT_ROWS},
                        whole_number(1, MAX_ROWS),
                    ),
                    Parameter("cursor", "The `next` of the page before.", {"type": "string"}, _cursor),
                    *FILTER_PARAMETERS,
                ),
            ),
            Route(
                "POST",
                "/api/leads/bulk",
                "change_leads",
                "Change many leads the same way",
                self.change_many,
                {
                    200: Answer(
                        "How many were changed, were so already, and which ids are no leads.",
                        {"application/json": document(changed=COUNT, unchanged=COUNT, missing=array(ID))},
                    )
                },
                "All or none are changed; each change is kept in its lead's history.",
                (ACTOR,),
                Body(
                    {
                        "type": "object",
                        "properties": {
                            "ids": {"type": "array", "items": UUID_SCHEMA, "minItems": 1, "maxItems": MAX_IDS},
                            **_CHANGES,
                        },
                        "required": ["ids"],
                        "minProperties": 2,
                        "additionalProperties": False,
                    },
                    _change_of_many,
                ),
            ),
            Route(
                "GET",
                "/api/leads/{id}",
                "get_lead",
                "One lead with its raw request and history",
                self.get,
                {
                    200: Answer(
                        "The lead, or null where the request is none (yet); `way` is the duplicates passed by.",
                        {"application/json": reference("LeadWithHistory")},
                        _VERSION,
                    ),
                    404: UNKNOWN,
                },
                "The id of a repeat or a conflict leads on to the first lead.",
                (ID_PARAMETER,),
            ),
            Route(
                "PATCH",
                "/api/leads/{id}",
                "change_lead",
                "Change status or assignment",
                self.change,
                {
                    200: Answer("The lead as it is now.", lead, _VERSION),
                    404: UNKNOWN,
                    412: Answer("Somebody else has changed it meanwhile.", ERROR, _VERSION),
                },
                "With If-Match, only if the lead is still of that version.",
                (
                    ID_PARAMETER,
                    ACTOR,
                    Parameter("If-Match", "The version that was seen, or *.", {"type": "string"}, str, "header"),
                ),
                Body(
                    {
                        "type": "object",
                        "properties": _CHANGES,
                        "minProperties": 1,
                        "additionalProperties": False,
                    },
                    _change_of_one,
                ),
            ),
        )

    async def list(self, call: Call) -> HTTPResponse:
        """Answer a page."""
        lead_filter = filter_of(call)
        limit, after = call["limit"] or DEFAULT_ROWS, call["cursor"]
        page = await self._readers.run(lambda entities: list_leads(entities, lead_filter, limit=limit, after=after))
        return answer(200, lead_page_document(page))

    async def get(self, call: Call) -> HTTPResponse:
        """Answer one lead."""
        history = await self._readers.run(lambda entities: get_history(entities, self._spool, call["id"]))
        if history is None:
            return refuse(NOT_FOUND, UNKNOWN.description)
        lead = history.destination.lead
        return answer(200, history_document(history), _tag(lead) if lead else None)

    async def change(self, call: Call) -> HTTPResponse:
        """Change one lead."""
        condition = call["If-Match"]
        versions = None if condition is None else _versions(condition)
        actor = call["X-Actor"] or "api"
        change = await self._readers.run(
            lambda entities: change_lead(entities, self._spool, call["id"], call.body, actor=actor, versions=versions)
        )
        if change.lead is None:
            return refuse(NOT_FOUND, "There is no lead under this id.")
        document = lead_document(change.lead)
        if change.outcome is ChangeOutcome.STALE:
            return refuse(STALE, "Somebody else has changed it meanwhile.", _tag(change.lead), lead=document)
        return answer(200, document, _tag(change.lead))

    async def change_many(self, call: Call) -> HTTPResponse:
        """Change many leads."""
        ids, changes = call.body
        actor = call["X-Actor"] or "api"
        by_id = await self._readers.run(lambda entities: change_leads(entities, ids, changes, actor=actor))
        outcomes = list(by_id.values())
        return answer(
            200,
            {
                "changed": outcomes.count(ChangeOutcome.CHANGED),
                "unchanged": outcomes.count(ChangeOutcome.UNCHANGED),
                "missing": [id for id, outcome in by_id.items() if outcome is ChangeOutcome.MISSING],
            },
        )
