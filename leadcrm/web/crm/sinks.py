"""`/api/sinks` and `/api/deliveries`: where leads go, what has not arrived there, and trying again or dropping that."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from sanic.response import HTTPResponse

from leadcrm.crm.audit import Action
from leadcrm.crm.times import parse_moment
from leadcrm.crm.tokens import Right
from leadcrm.database.entities import Entities
from leadcrm.delivery.ledger import DEAD, MAX_COUNTED, WAITING
from leadcrm.delivery.live import LiveSinks
from leadcrm.delivery.people import (
    Changed,
    Chosen,
    drop_deliveries,
    list_deliveries,
    read_sink_documents,
    retry_deliveries,
)
from leadcrm.delivery.versions import read_version
from leadcrm.errors import StoreUnavailable
from leadcrm.web.crm.changes import ACTOR
from leadcrm.web.crm.declarations import (
    UUID_SCHEMA,
    Body,
    Call,
    Endpoint,
    Parameter,
    Response,
    Route,
    one_of,
    parse_uuid,
    text_up_to,
)
from leadcrm.web.crm.leads import DEFAULT_ROWS, LIMIT
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response
from leadcrm.web.crm.schemas import (
    BOOLEAN,
    COUNT,
    COUNT_OR_NULL,
    ID,
    ID_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TIME,
    TIME_OR_NULL,
    array,
    json_object,
    reference,
)

MAX_IDS = 1_000

MAX_SINK_CHARS = 200

CHANGE_S = 3.0
"""For how long one request changes deliveries; the next one goes on."""


SINK = json_object(
    sink=TEXT,
    kind=TEXT,
    host=TEXT,
    enabled=BOOLEAN,
    events=array(TEXT),
    only={"type": "object", "additionalProperties": array(TEXT)},
    payload=TEXT,
    tests=BOOLEAN,
    secrets=COUNT,
    allowPrivate=BOOLEAN,
    state={"type": "string", "enum": ["delivering", "failing", "disabled", "off", "unknown"]},
    cursor=COUNT_OR_NULL,
    unread=COUNT_OR_NULL,
    delivered=COUNT_OR_NULL,
    waiting=COUNT_OR_NULL,
    dead=COUNT_OR_NULL,
    oldest=TIME_OR_NULL,
    failingSince=TIME_OR_NULL,
    lastAt=TIME_OR_NULL,
    lastAnswer=TEXT_OR_NULL,
    disabled=TEXT_OR_NULL,
    node=TEXT_OR_NULL,
)

DELIVERY = json_object(
    id=ID,
    sink=TEXT,
    state={"type": "string", "enum": [WAITING, DEAD]},
    seq=COUNT,
    type=TEXT,
    leadId=ID,
    at=TIME,
    attempts=COUNT,
    lastAt=TIME,
    nextAt=TIME_OR_NULL,
    status=COUNT_OR_NULL,
    answer=TEXT_OR_NULL,
)

LIST_SINKS = Route(
    "GET",
    "/api/sinks",
    "list_sinks",
    "The sinks and how far they are",
    {
        200: Response(
            "The sinks of SINKS_FILE, which is read anew; `fault` says why its present text is not in force, `version` "
            "which number the sinks have.",
            {
                "application/json": json_object(
                    sinks=array(reference("Sink")), fault=TEXT_OR_NULL, version=COUNT_OR_NULL
                )
            },
        )
    },
    f"`unread` counts the events after the sink's cursor, up to {MAX_COUNTED}; `oldest` is the time of the oldest one "
    "that is unread or waits.",
    right=Right.OPERATE,
)

_SINK_PARAMETER = Parameter(
    "sink", "Of this sink alone.", {"type": "string", "maxLength": MAX_SINK_CHARS}, text_up_to(MAX_SINK_CHARS)
)

LIST_DELIVERIES = Route(
    "GET",
    "/api/deliveries",
    "list_deliveries",
    "What has not arrived at a sink",
    {
        200: Response(
            "The deliveries, those that were tried last first, with the receivers' answers.",
            {"application/json": json_object(deliveries=array(reference("Delivery")))},
        )
    },
    parameters=(
        _SINK_PARAMETER,
        Parameter(
            "state",
            "Those that are tried again, or those that wait for a person.",
            {"type": "string", "enum": [WAITING, DEAD]},
            one_of(WAITING, DEAD),
        ),
        LIMIT,
    ),
    right=Right.OPERATE,
)


def _parse_chosen(document: Any) -> tuple[Chosen, UUID | None]:
    names = {"ids", "sink", "state", "since", "after"}
    if not isinstance(document, dict) or document.keys() - names:
        raise ValueError(f"an object is accepted, with some of {', '.join(sorted(names))}")
    ids, sink, state = document.get("ids", []), document.get("sink"), document.get("state")
    if not isinstance(ids, list) or len(ids) > MAX_IDS:
        raise ValueError(f"ids: up to {MAX_IDS} ids are accepted")
    if "sink" in document and not (isinstance(sink, str) and len(sink) <= MAX_SINK_CHARS and "\x00" not in sink):
        raise ValueError("sink: the name of a sink is accepted")
    if "state" in document and state not in (WAITING, DEAD):
        raise ValueError(f"state: accepted: {WAITING}, {DEAD}")
    since = document.get("since")
    if "since" in document:
        if not isinstance(since, str):
            raise ValueError("since: a time is accepted")
        since = parse_moment(since)
    chosen = Chosen([parse_uuid(id) for id in ids], sink, state, since)
    if chosen == Chosen([]):
        raise ValueError("ids, sink, state or since is needed")
    return chosen, parse_uuid(document["after"]) if "after" in document else None


_CHOSEN = Body(
    {
        "type": "object",
        "properties": {
            "ids": {"type": "array", "items": UUID_SCHEMA, "maxItems": MAX_IDS},
            "sink": {"type": "string", "maxLength": MAX_SINK_CHARS, "pattern": r"^[^\u0000]*$"},
            "state": {"type": "string", "enum": [WAITING, DEAD]},
            "since": {"type": "string", "format": "date-time"},
            "after": UUID_SCHEMA,
        },
        "additionalProperties": False,
        "anyOf": [
            {"required": ["ids"], "properties": {"ids": {"minItems": 1}}},
            *({"required": [name]} for name in ("sink", "state", "since")),
        ],
    },
    _parse_chosen,
)

_CHANGED = {
    200: Response(
        "How many; where `next` is not null there are more, and a request with it as `after` goes on.",
        {"application/json": json_object(changed=COUNT, next=ID_OR_NULL)},
    )
}

RETRY = Route(
    "POST",
    "/api/deliveries/retry",
    "retry_deliveries",
    "Try deliveries again at once",
    _CHANGED,
    "Those of `ids`, of a sink, in a state, of events since a time; each narrows. A dead one gets the whole schedule.",
    (ACTOR,),
    _CHOSEN,
    right=Right.OPERATE,
    audited=Action.RETRY,
)

DROP = Route(
    "POST",
    "/api/deliveries/drop",
    "drop_deliveries",
    "Give deliveries up",
    _CHANGED,
    "Those that `POST /api/deliveries/retry` would try again. Their events never arrive at the sink. Of a sink alone "
    "that SINKS_FILE does not have any more, what it had not read is given up as well.",
    (ACTOR,),
    _CHOSEN,
    right=Right.OPERATE,
    audited=Action.DROP,
)

logger = logging.getLogger("leadcrm.web.crm")


class SinkRoutes:
    """The handlers of these routes."""

    def __init__(self, readers: Readers, sinks: LiveSinks | None) -> None:
        """Set the threads that read and change the database, and the sinks, if there are any."""
        self._readers = readers
        self._sinks = sinks
        self.endpoints = (
            Endpoint(LIST_SINKS, self.list_sinks),
            Endpoint(LIST_DELIVERIES, self.list_deliveries),
            Endpoint(RETRY, self.retry),
            Endpoint(DROP, self.drop),
        )

    async def list_sinks(self, _call: Call) -> HTTPResponse:
        """Return all sinks."""
        sinks = self._sinks
        if sinks is None:
            return json_response(200, {"sinks": [], "fault": None, "version": None})

        def read(entities: Entities) -> dict[str, Any]:
            now, version = sinks.now(), None
            # The role may lack the right to its table.
            with suppress(StoreUnavailable):
                version = read_version(entities, now)
            return {"sinks": read_sink_documents(entities, now), "version": version and version.number}

        found = await self._readers.run(read)
        return json_response(200, {**found, "fault": sinks.fault or None})

    async def list_deliveries(self, call: Call) -> HTTPResponse:
        """Return what has not arrived."""
        chosen, limit = Chosen(sink=call["sink"], state=call["state"]), call["limit"] or DEFAULT_ROWS
        documents = await self._readers.run(lambda entities: list_deliveries(entities, chosen, limit=limit))
        return json_response(200, {"deliveries": documents})

    async def retry(self, call: Call) -> HTTPResponse:
        """Try again."""
        return await self._change(call, "retried", retry_deliveries)

    async def drop(self, call: Call) -> HTTPResponse:
        """Give up."""

        def drop(*given: Any, **more: Any) -> Changed:
            sinks = {} if self._sinks is None else self._sinks.now()
            return drop_deliveries(*given, **more, sinks=sinks)

        return await self._change(call, "dropped", drop)

    async def _change(self, call: Call, what: str, change: Callable[..., Changed]) -> HTTPResponse:
        chosen, after = call.body
        changed = await self._readers.change(lambda entities: change(entities, chosen, after=after, seconds=CHANGE_S))
        extra = {"action": "deliver", "actor": call.actor.name, "sink": chosen.sink}
        logger.info("deliveries were %s by a person: %d", what, changed.number, extra=extra)
        return json_response(200, {"changed": changed.number, "next": changed.next})
