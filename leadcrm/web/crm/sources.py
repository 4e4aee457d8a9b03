"""`/api/sources` and `/api/presets`: who sends leads and what came in lately; what a source makes of a kept request."""

from __future__ import annotations

from typing import Any

from sanic.response import HTTPResponse

from leadcrm.configuration.tables import lines_of, tables_in
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.source_activity import Activity, activity_document, source_activities
from leadcrm.crm.source_pages import preset_document, source_page
from leadcrm.crm.sources import source_document
from leadcrm.crm.tokens import Right
from leadcrm.crm.trials import MAX_LEADS, trial_document
from leadcrm.sources.catalogue import MAX_PROPOSAL_CHARS, NAME, presets
from leadcrm.sources.live import LiveSources
from leadcrm.sources.source import Source
from leadcrm.web.crm.declarations import Body, Call, Endpoint, Parameter, Response, Route
from leadcrm.web.crm.leads import ID_PARAMETER
from leadcrm.web.crm.readers import Readers
from leadcrm.web.crm.responses import json_response, refuse
from leadcrm.web.crm.reuse import ReusedCounts
from leadcrm.web.crm.schemas import (
    BOOLEAN,
    COUNT,
    ID,
    NULL,
    TEXT,
    TEXT_OR_NULL,
    TIME_OR_NULL,
    array,
    json_object,
    reference,
)
from leadcrm.web.http.responses import NOT_FOUND

_NAME = {"type": "string", "pattern": f"^{NAME.pattern}$"}
_COUNTS = {"type": "object", "additionalProperties": COUNT}

SOURCE = json_object(
    source=TEXT,
    preset=TEXT,
    title=TEXT,
    url=TEXT,
    enabled=BOOLEAN,
    retired=BOOLEAN,
    verify=TEXT,
    secrets=COUNT,
    hasKey=BOOLEAN,
    answers=_COUNTS,
    lastRequest=TIME_OR_NULL,
    lastLead=TIME_OR_NULL,
    leads=COUNT,
    requests=_COUNTS,
    requestsOfWeek=_COUNTS,
    requestsOfDay=_COUNTS,
    warning=TEXT_OR_NULL,
)

PRESET = json_object(
    preset=TEXT, title=TEXT, about=TEXT, url=TEXT, verify=TEXT, secret=TEXT, steps=array(TEXT), test=TEXT
)

TRIAL = json_object(
    state=TEXT,
    error=TEXT_OR_NULL,
    leads=array(json_object(key=TEXT_OR_NULL, isTest=BOOLEAN, fields={"type": "object", "additionalProperties": TEXT})),
    hasMore=BOOLEAN,
)

_TRIAL_OR_NULL = {"anyOf": [reference("Trial"), NULL]}
_ERROR = {"application/json": reference("Error")}


def _parse_name(text: Any) -> str:
    if isinstance(text, str) and NAME.fullmatch(text):
        return text
    raise ValueError("a source's name is accepted")


LIST = Route(
    "GET",
    "/api/sources",
    "list_sources",
    "The sources and what came in at them",
    {
        200: Response(
            "The sources of SOURCES_FILE, and those that were taken out and still get requests. `fault` says why the "
            "file's present text is not in force.",
            {"application/json": json_object(sources=array(reference("Source")), fault=TEXT_OR_NULL)},
        )
    },
    "`requests` counts those of 30 days by state, `requestsOfWeek` of seven days, `requestsOfDay` of 24 hours. Counts "
    "that took long are repeated for a while: twenty times what they took.",
    right=Right.OPERATE,
)

GET = Route(
    "GET",
    "/api/sources/{source}",
    "get_source",
    "One source, with the page of its preset",
    {
        200: Response(
            "The source; `page` says what to do at the sender's, `text` are its lines of SOURCES_FILE without secrets.",
            {"application/json": json_object(source=reference("Source"), page=reference("Preset"), text=TEXT)},
        ),
        404: Response("There is no such source.", _ERROR),
    },
    parameters=(Parameter("source", "Its name.", _NAME, _parse_name, "path"),),
    right=Right.OPERATE,
)

LIST_PRESETS = Route(
    "GET",
    "/api/presets",
    "list_presets",
    "What a source can begin with",
    {200: Response("The presets.", {"application/json": json_object(presets=array(reference("Preset")))})},
    right=Right.OPERATE,
)


def _parse_trial(document: Any) -> tuple[str | None, str | None]:
    if not isinstance(document, dict) or (unknown := document.keys() - {"source", "text"}):
        names = f": {', '.join(sorted(map(str, unknown)))[:100]}" if isinstance(document, dict) else ""
        raise ValueError(f"an object with source and text, both of which may be left out, is accepted{names}")
    text = document.get("text")
    if "text" in document and (not isinstance(text, str) or len(text) > MAX_PROPOSAL_CHARS):
        raise ValueError(f"text: a text of up to {MAX_PROPOSAL_CHARS} characters is accepted")
    return _parse_name(document["source"]) if "source" in document else None, text


TRY = Route(
    "POST",
    "/api/raw/{id}/try",
    "try_raw",
    "What a source would make of a kept request",
    {
        200: Response(
            f"The request as it is `kept`, what its source makes of it `now`, and what is `proposed`: of each up to "
            f"{MAX_LEADS} leads. `faults` are those of the text, with their lines.",
            {
                "application/json": json_object(
                    id=ID,
                    source=TEXT,
                    faults=array(TEXT),
                    kept=reference("Trial"),
                    now=_TRIAL_OR_NULL,
                    proposed=_TRIAL_OR_NULL,
                )
            },
        ),
        404: Response("No body is kept under this id.", _ERROR),
    },
    "Nothing is stored, and nothing verified. `text` is a text of SOURCES_FILE, of which no `secret_file` is read.",
    (ID_PARAMETER,),
    Body(
        {
            "type": "object",
            "properties": {"source": _NAME, "text": {"type": "string", "maxLength": MAX_PROPOSAL_CHARS}},
            "additionalProperties": False,
        },
        _parse_trial,
    ),
    right=Right.OPERATE,
)


class SourceRoutes:
    """The handlers of these routes."""

    def __init__(
        self,
        readers: Readers,
        counts: ReusedCounts,
        spool: SpoolReader,
        live: LiveSources,
        max_decoded_bytes: int,
    ) -> None:
        """Set what reads and counts in the database, the spool, the sources, and how long a decoded body may be."""
        self._readers = readers
        self._spool = spool
        self._live = live
        self._max_decoded_bytes = max_decoded_bytes
        self._counts = counts
        self.endpoints = (
            Endpoint(LIST, self.list),
            Endpoint(GET, self.get),
            Endpoint(LIST_PRESETS, self.list_presets),
            Endpoint(TRY, self.try_raw),
        )

    async def list(self, call: Call) -> HTTPResponse:
        """Return all sources."""
        activities = await self._count(call)
        present = self._live.sources
        retired = sorted((activities.keys() & self._live.retired.keys()) - present.keys())
        sources = [*present.values(), *(self._live.retired[name] for name in retired)]
        documents = [self._document(source, activities) for source in sources]
        return json_response(200, {"sources": documents, "fault": self._live.fault or None})

    async def get(self, call: Call) -> HTTPResponse:
        """Return one source."""
        source = self._live.get(call["source"])
        if source is None:
            return refuse(NOT_FOUND, "There is no such source.")
        text = self._live.catalogue.text
        own = tables_in(text, "source").get(source.name, {})
        document = self._document(source, await self._count(call))
        lines = lines_of(text, "source", source.name) or f'[source.{source.name}]\npreset = "{source.preset}"'
        return json_response(200, {"source": document, "page": source_page(source, own), "text": lines})

    async def list_presets(self, _call: Call) -> HTTPResponse:
        """Return the pages of all presets."""
        return json_response(200, {"presets": [preset_document(name) for name in presets()]})

    async def try_raw(self, call: Call) -> HTTPResponse:
        """Try a kept request."""
        name, text = call.body
        document = await self._readers.run(
            lambda entities: trial_document(
                entities,
                self._spool,
                self._live.sources,
                call["id"],
                name=name,
                text=text,
                max_decoded_bytes=self._max_decoded_bytes,
            )
        )
        return json_response(200, document) if document else refuse(NOT_FOUND, "No body is kept under this id.")

    def _document(self, source: Source, activities: dict[str, Activity]) -> dict[str, Any]:
        activity = activities.get(source.name, Activity())
        return {
            **source_document(source),
            "title": presets()[source.preset].get("title", source.preset),
            "retired": source.name not in self._live.sources,
            **activity_document(activity, is_enabled=source.enabled),
        }

    async def _count(self, call: Call) -> dict[str, Activity]:
        activities: dict[str, Activity] = await self._counts.get("sources", source_activities, call.request)
        return activities
