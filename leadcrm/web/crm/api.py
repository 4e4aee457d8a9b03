"""The CRM's HTTP API: its routes, who may use them, and what all their answers have in common.

Nothing here is on the way of a lead: reading and changing happen in the readers' threads.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from math import ceil
from time import perf_counter
from typing import Any

import orjson
from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.configuration.config import Config
from leadcrm.crm.raw import SpoolReader
from leadcrm.errors import StoreUnavailable
from leadcrm.web.crm.answers import answer, refuse
from leadcrm.web.crm.declarations import Answer, Call, InvalidRequest, Route
from leadcrm.web.crm.export import ExportRoutes
from leadcrm.web.crm.gate import HOW_TO_OPEN, Gate
from leadcrm.web.crm.leads import LeadRoutes
from leadcrm.web.crm.openapi import describe
from leadcrm.web.crm.raw import RawRoutes
from leadcrm.web.crm.readers import Readers, TooBusy
from leadcrm.web.crm.schemas import SCHEMAS, reference
from leadcrm.web.crm.statistics import StatisticsRoutes
from leadcrm.web.crm.stream import StreamRoutes
from leadcrm.web.http import responses
from leadcrm.web.http.client_address import ClientAddress
from leadcrm.web.http.request_id import new_request_id, request_id_of
from leadcrm.web.http.responses import Refusal
from leadcrm.web.request_log import RequestLog

FORBIDDEN = Refusal(403, "forbidden")

_ERROR = {"application/json": reference("Error")}

COMMON_ANSWERS = {
    400: Answer("The request is not as declared; the message names what is wrong.", _ERROR),
    401: Answer("The token is wrong or missing; the answer to a wrong one is slow.", _ERROR),
    403: Answer("ADMIN_TOKEN is not set: the CRM is closed.", _ERROR),
    413: Answer("The body is longer than MAX_BODY_BYTES.", _ERROR),
    429: Answer("Too many wrong tokens came from this address.", _ERROR, {"Retry-After": "Seconds to wait."}),
    431: Answer("The head of the request, its address included, is longer than 16 KiB.", _ERROR),
    503: Answer(
        "The database is away or asked too much; the message says which.",
        _ERROR,
        {"Retry-After": "Seconds to wait."},
    ),
}

logger = logging.getLogger("leadcrm.web.crm")


class CrmApi:
    """The routes of one worker."""

    def __init__(self, config: Config, log: RequestLog, rows_taken: Callable[[], float]) -> None:
        """Assemble them; nothing is opened before it is asked for.

        `rows_taken` counts what ingestion has taken on this node so far.
        """
        self.gate = Gate(config.admin_token, ClientAddress(config.trusted_proxies))
        self._log = log
        self._readers = Readers(config.database)
        spool = SpoolReader(config.data_dir)
        self._stream = StreamRoutes(self._readers)
        self.routes: tuple[Route, ...] = (
            *LeadRoutes(self._readers, spool).routes,
            *ExportRoutes(config.database, rows_taken).routes,
            *self._stream.routes,
            *RawRoutes(self._readers, spool, config.max_body_bytes).routes,
            *StatisticsRoutes(self._readers, spool).routes,
            Route(
                "GET",
                "/api/openapi.json",
                "describe",
                "This description",
                self._describe,
                {200: Answer("OpenAPI 3.1.", {"application/json": {"type": "object"}})},
            ),
        )
        self._description = orjson.dumps(describe(self.routes, SCHEMAS, COMMON_ANSWERS))

    def register(self, app: Any) -> None:
        """Add the routes to the application."""
        for route in self.routes:
            app.add_route(self._handler_of(route), route.sanic_path, methods=[route.method], name=f"crm_{route.name}")
        app.after_server_stop(lambda *_: self.close())

    def close(self) -> None:
        """Let the threads end."""
        self._readers.close()

    def _handler_of(self, route: Route) -> Callable[..., Awaitable[HTTPResponse | None]]:
        async def handle(request: Request, **path_values: str) -> HTTPResponse | None:
            started = perf_counter()
            request_id = request_id_of(request) or new_request_id()
            response = await self._answer(route, request, request_id, path_values)
            if response is not None:
                response.headers["x-request-id"] = request_id
            self._log.record(request, started, 200 if response is None else response.status, request_id)
            return response

        return handle

    async def _answer(
        self, route: Route, request: Request, request_id: str, path_values: dict[str, str]
    ) -> HTTPResponse | None:
        if refusal := await self._refusal(request):
            return refusal
        try:
            return await route.handler(route.check(request, request_id, path_values))
        except InvalidRequest as error:
            return refuse(Refusal(400, "invalid_request"), str(error))
        except TooBusy as error:
            return refuse(responses.UNAVAILABLE, f"{error}.", {"retry-after": str(responses.RETRY_AFTER_S)})
        except StoreUnavailable as error:
            text = "the CRM cannot reach the database: %s"
            logger.warning(text, error, extra={"action": "read", "hint": error.hint, "repeat_key": text})
            headers = {"retry-after": str(responses.RETRY_AFTER_S)}
            return refuse(responses.UNAVAILABLE, "The database is away; leads are still taken.", headers)

    async def _refusal(self, request: Request) -> HTTPResponse | None:
        if self.gate.is_closed:
            return refuse(FORBIDDEN, HOW_TO_OPEN)
        if wait_s := self.gate.wait_s(request):
            return refuse(responses.RATE_LIMITED, "Too many wrong tokens.", {"retry-after": str(ceil(wait_s))})
        if not await self.gate.admits(request):
            return refuse(
                responses.UNAUTHORIZED,
                "Authorization: Bearer with ADMIN_TOKEN is needed.",
                {"www-authenticate": "Bearer"},
            )
        return None

    async def _describe(self, _call: Call) -> HTTPResponse:
        return answer(200, self._description)
