"""What people work by: the values that they choose from, and the next lead to take."""

from __future__ import annotations

from sanic.response import HTTPResponse

from leadcrm.configuration.parsing import Status
from leadcrm.configuration.time_zone import TimeZone
from leadcrm.crm.documents import lead_document
from leadcrm.crm.tokens import Right
from leadcrm.crm.work import MAX_PEOPLE, list_people, take_next
from leadcrm.web.crm.changes import ACTOR
from leadcrm.web.crm.declarations import Call, Endpoint, InvalidRequest, Response, Route
from leadcrm.web.crm.filters import ZONE
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response
from leadcrm.web.crm.schemas import NULL, TEXT, TEXT_OR_NULL, array, json_object, reference

CHOICES = Route(
    "GET",
    "/api/choices",
    "list_choices",
    "The statuses and people to choose from",
    {
        200: Response(
            "The statuses of STATUSES in their order, the people that leads are assigned to, and TIME_ZONE, if set.",
            {
                "application/json": json_object(
                    statuses=array(json_object(name=TEXT, meaning=TEXT, colour=TEXT)),
                    people=array(TEXT),
                    timeZone=TEXT_OR_NULL,
                )
            },
        )
    },
    f"A status that is not among them is kept all the same. Of the people, the first {MAX_PEOPLE} by name. A `zone` "
    "that the server does not know is refused.",
    (ZONE,),
    right=Right.READ,
)

TAKE_NEXT = Route(
    "POST",
    "/api/leads/next",
    "take_next_lead",
    "Take the oldest lead that nobody has",
    {
        200: Response(
            "The lead, assigned to whom the token belongs to, or null where none waits.",
            {"application/json": json_object(lead={"anyOf": [reference("Lead"), NULL]})},
        )
    },
    "People who ask at once get different leads. With ADMIN_TOKEN, X-Actor says whose it will be. A lead whose "
    "status is won or lost is left where it is.",
    (ACTOR,),
    right=Right.WORK,
)


class WorkRoutes:
    """The handlers of these routes."""

    def __init__(self, readers: Readers, statuses: tuple[Status, ...], zone: TimeZone | None) -> None:
        """Set the threads that read and change the database, the statuses, and TIME_ZONE."""
        self._zone_name = zone and zone.name
        self._readers = readers
        self._statuses = [
            {"name": status.name, "meaning": status.meaning, "colour": status.colour} for status in statuses
        ]
        self._closed = [status.name for status in statuses if status.meaning != "open"]
        self.endpoints = (
            Endpoint(CHOICES, self.choices),
            Endpoint(TAKE_NEXT, self.take),
        )

    async def choices(self, call: Call) -> HTTPResponse:
        """Return what people choose from."""
        people = await self._readers.read(list_people, call.request)
        return json_response(200, {"statuses": self._statuses, "people": people, "timeZone": self._zone_name})

    async def take(self, call: Call) -> HTTPResponse:
        """Assign the next lead."""
        if call.caller.is_admin and not call["X-Actor"]:
            raise InvalidRequest("X-Actor: is needed with ADMIN_TOKEN: the lead will be theirs")
        lead = await self._readers.change(lambda entities: take_next(entities, call.actor, self._closed))
        return json_response(200, {"lead": lead and lead_document(lead)})
