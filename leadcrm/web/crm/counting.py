"""`/api/leads/count` and `/api/leads/values`: how many leads there are, and which values they have."""

from __future__ import annotations

from sanic.response import HTTPResponse

from leadcrm.crm.counting import MAX_COUNTED, MAX_VALUES, VALUED_LEADS, count_leads, known_values
from leadcrm.crm.documents import count_document, values_document
from leadcrm.crm.others import MAX_OTHERS, count_others
from leadcrm.crm.search import LOOKED_THROUGH
from leadcrm.crm.tokens import Right
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
)
from leadcrm.web.crm.filters import COLUMN_OF_FILTER, FILTER_PARAMETERS, parse_filter
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response
from leadcrm.web.crm.reuse import ReusedCounts
from leadcrm.web.crm.schemas import BOOLEAN, COUNT, ID, NULL, TEXT, TEXT_OR_NULL, TIME, array, json_object

MAX_ASKED = 200
"""Ids in one address, which has room for twice as many."""

COUNT_LEADS = Route(
    "GET",
    "/api/leads/count",
    "count_leads",
    "How many leads a filter lets through",
    {
        200: Response(
            "The number; where it is not exact it is about right, to two digits.",
            {"application/json": json_object(leads=COUNT, exact=BOOLEAN)},
        )
    },
    f"It is exact up to {MAX_COUNTED}, where nothing but a period narrows, and where the columns do that statistics "
    f"count by, domain or lang. Parts of other texts are looked for among the newest {LOOKED_THROUGH} leads, of "
    "the period, status, source or person that the filter names; where there are more of those, the number is an "
    "estimate of all of them (`exact` is false). A count that took long is repeated for twenty times what it took.",
    tuple(parameter for parameter in FILTER_PARAMETERS if parameter.name != "q"),
    right=Right.READ,
)

VALUES = Route(
    "GET",
    "/api/leads/values",
    "list_values",
    "The values that a column has lately",
    {
        200: Response(
            f"Up to {MAX_VALUES} values with their numbers of leads, the most frequent first, among so many of the "
            "newest leads, since when (null: all).",
            {
                "application/json": json_object(
                    column=TEXT,
                    values=array(json_object(value=TEXT_OR_NULL, leads=COUNT)),
                    leads=COUNT,
                    **{"from": {"anyOf": [TIME, NULL]}},
                )
            },
        )
    },
    f"The newest {VALUED_LEADS} leads are looked at.",
    (
        Parameter(
            "column",
            "A column of the filter.",
            {"type": "string", "enum": list(COLUMN_OF_FILTER)},
            one_of(*COLUMN_OF_FILTER),
            is_required=True,
        ),
    ),
    right=Right.READ,
)


OTHERS = Route(
    "GET",
    "/api/leads/others",
    "count_others",
    "How many other leads the persons of some leads have",
    {
        200: Response(
            f"Of the leads that have any, the number of others with the same phone or email, up to {MAX_OTHERS}.",
            {"application/json": json_object(others=array(json_object(id=ID, leads=COUNT)))},
        )
    },
    f"Up to {MAX_ASKED} leads are asked for at once.",
    (Parameter("id", "A lead. Repeated: several.", UUID_SCHEMA, parse_uuid, repeatable=True),),
    right=Right.READ,
)


class CountingRoutes:
    """The handlers of these routes."""

    def __init__(self, readers: Readers, counts: ReusedCounts) -> None:
        """Set the threads that read, and what counts."""
        self._readers = readers
        self._counts = counts
        self.endpoints = (
            Endpoint(COUNT_LEADS, self.count),
            Endpoint(VALUES, self.values),
            Endpoint(OTHERS, self.others),
        )

    async def count(self, call: Call) -> HTTPResponse:
        """Count leads."""
        lead_filter = parse_filter(call)
        count = await self._counts.get(lead_filter, lambda entities: count_leads(entities, lead_filter), call.request)
        return json_response(200, count_document(count))

    async def others(self, call: Call) -> HTTPResponse:
        """Count the other leads of persons."""
        ids = call["id"]
        if len(ids) > MAX_ASKED:
            raise InvalidRequest(f"id: up to {MAX_ASKED} are accepted")
        others = await self._readers.read(lambda entities: count_others(entities, ids), call.request)
        return json_response(200, {"others": [{"id": id, "leads": leads} for id, leads in others.items()]})

    async def values(self, call: Call) -> HTTPResponse:
        """Return the values of a column."""
        name = call["column"]
        column = COLUMN_OF_FILTER[name]
        values = await self._counts.get(
            ("values", column), lambda entities: known_values(entities, column), call.request
        )
        return json_response(200, values_document(name, values))
