"""The CRM's HTTP API: its routes, who may use them, and the errors that all of them have in common.

Leads do not pass here: reads and changes happen in the readers' threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, cast
from urllib.parse import parse_qsl

import orjson
from sanic.exceptions import PayloadTooLarge
from sanic.http import Http
from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.configuration.config import Config
from leadcrm.configuration.time_zone import UTC
from leadcrm.crm.audit import Action, describe_filter
from leadcrm.crm.feed import Feed, FeedGone
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.tokens import Right
from leadcrm.database.slots import ConnectionSlots
from leadcrm.delivery.live import LiveSinks
from leadcrm.errors import ChangeRefused, StoreUnavailable
from leadcrm.ingest.queue_budget import QueueBudget
from leadcrm.ingest.submission import SourceReader
from leadcrm.sources.live import LiveSources
from leadcrm.web.crm.audit import AuditRoutes
from leadcrm.web.crm.caller import Caller
from leadcrm.web.crm.counting import CountingRoutes
from leadcrm.web.crm.days import DayWatch
from leadcrm.web.crm.declarations import Call, Endpoint, InvalidRequest, Response, Route
from leadcrm.web.crm.export import ExportRoutes
from leadcrm.web.crm.feed import FeedRoutes
from leadcrm.web.crm.gate import Gate
from leadcrm.web.crm.keyring import Keyring
from leadcrm.web.crm.leads import LeadRoutes
from leadcrm.web.crm.openapi import describe
from leadcrm.web.crm.people import SessionRoutes, TokenRoutes
from leadcrm.web.crm.places import refuse_gone
from leadcrm.web.crm.position import tell_position
from leadcrm.web.crm.raw import RawRoutes
from leadcrm.web.crm.readers import Readers, Reads, TooBusy
from leadcrm.web.crm.responses import json_response, refuse
from leadcrm.web.crm.reuse import ReusedCounts
from leadcrm.web.crm.schemas import SCHEMAS, reference
from leadcrm.web.crm.silence import SilenceWatch
from leadcrm.web.crm.sinks import DELIVERY, SINK, SinkRoutes
from leadcrm.web.crm.sources import PRESET, SOURCE, TRIAL, SourceRoutes
from leadcrm.web.crm.statistics import StatisticsRoutes
from leadcrm.web.crm.stream import StreamRoutes
from leadcrm.web.crm.trail import Trail
from leadcrm.web.crm.watch import FeedWatch
from leadcrm.web.crm.work import WorkRoutes
from leadcrm.web.guesses import Guesses
from leadcrm.web.http.body import read_body
from leadcrm.web.http.client_address import ClientAddress
from leadcrm.web.http.request_id import new_request_id, request_id_of
from leadcrm.web.http.responses import RETRY_AFTER_S, UNAVAILABLE, Refusal
from leadcrm.web.request_log import RequestLog
from leadcrm.web.silence import SilenceBoard

INVALID_REQUEST = Refusal(400, "invalid_request")

REFUSED = Refusal(422, "refused")

MAX_BODY_BYTES = 256 * 1024
"""The largest change, of a thousand leads, takes some 50 kB."""

BODIES_BYTES = 4 * 1024 * 1024
"""What all bodies that are being read may take together."""

_ERROR = {"application/json": reference("Error")}

COMMON_RESPONSES = {
    400: Response("The request is not as declared; the message names what is wrong.", _ERROR),
    401: Response(
        "The token is missing, wrong, revoked or expired: the message says which. The answer to a wrong one is slow.",
        _ERROR,
    ),
    403: Response(
        "The token's role may not do this, as the message says, or ADMIN_TOKEN is not set: the CRM is closed.",
        _ERROR,
    ),
    413: Response("The body is longer than 256 KiB or than MAX_BODY_BYTES.", _ERROR),
    429: Response(
        "Too many wrong tokens came; the right one is never refused.", _ERROR, {"Retry-After": "Seconds to wait."}
    ),
    431: Response("The head of the request, its address included, is longer than 16 KiB.", _ERROR),
    503: Response(
        "The database is away or asked too much; the message says which.",
        _ERROR,
        {"Retry-After": "Seconds to wait."},
    ),
}

_SCHEMAS = {**SCHEMAS, "Sink": SINK, "Delivery": DELIVERY, "Source": SOURCE, "Preset": PRESET, "Trial": TRIAL}

logger = logging.getLogger("leadcrm.web.crm")


DESCRIBE = Route(
    "GET",
    "/api/openapi.json",
    "describe",
    "This description",
    {200: Response("OpenAPI 3.1.", {"application/json": {"type": "object"}})},
    right=Right.READ,
)

PLACES = frozenset(("cursor", "limit", "after", "wait", "payload", "order"))
"""The parameters that say which part of a list: all parts are one entry of the audit trail."""

RECHECK_S = 2.0
"""How often a response that goes on asks whether its caller's token still holds."""


class CrmApi:
    """The routes of one worker."""

    def __init__(
        self,
        config: Config,
        addresses: ClientAddress,
        guesses: Guesses,
        log: RequestLog,
        rows_taken: Callable[[], float],
        sources: SourceReader,
        tell_lag: Callable[[float], None],
        live_sources: LiveSources,
        sinks: LiveSinks | None = None,
        slots: ConnectionSlots | None = None,
        reads: Reads | None = None,
        silence: SilenceBoard | None = None,
    ) -> None:
        """Assemble the routes; the first request that needs the database opens it.

        Args:
            config: The configuration.
            addresses: Finds the clients' addresses.
            guesses: Slows those with wrong tokens down.
            log: The log of requests.
            rows_taken: Counts the rows that ingestion has taken on this node so far.
            sources: What reads the rows of sources again.
            tell_lag: Is told for how many seconds a transaction has held the feed back, while somebody waits for it.
            live_sources: The sources as they are now.
            sinks: The sinks as they are now; None if nothing is delivered.
            slots: For the connections to PostgreSQL.
            reads: The standby to read from; None if there is none.
            silence: Where to tell which sources are silent; None if another worker does.
        """
        self._max_body_bytes = min(config.max_body_bytes, MAX_BODY_BYTES)
        self._zone = config.time_zone or UTC
        self._bodies = QueueBudget(BODIES_BYTES)
        self._log = log
        self._readers = Readers(config.database, slots=slots, reads=reads)
        keyring = Keyring(self._readers)
        self.gate = Gate(config.admin_token, keyring, addresses, guesses)
        self._silence = None if silence is None else SilenceWatch(self._readers, live_sources, silence)
        # One worker of a node looks at what all of them tell of, where people can ask for it.
        self._days = None if silence is None or not config.admin_token else DayWatch(self._readers)
        self._trail = Trail(self._readers, config.audit_days)
        self._known = None if reads is None else reads.known
        feed = Feed() if reads is None else Feed(reads.known.note_feed)
        watch = FeedWatch(self._readers, feed, tell_lag)
        spool = SpoolReader(config.data_dir)
        counts = ReusedCounts(self._readers)
        self._endpoints: tuple[Endpoint, ...] = (
            *LeadRoutes(
                self._readers, spool, feed, sinks, self._trail, [status.name for status in config.statuses]
            ).endpoints,
            *ExportRoutes(config.database, rows_taken, slots, reads).endpoints,
            *WorkRoutes(self._readers, config.statuses, config.time_zone).endpoints,
            *FeedRoutes(watch).endpoints,
            *StreamRoutes(watch).endpoints,
            *RawRoutes(self._readers, spool, feed, config.max_body_bytes, sources, self._trail).endpoints,
            *SinkRoutes(self._readers, sinks).endpoints,
            *SourceRoutes(self._readers, counts, spool, live_sources, config.max_body_bytes).endpoints,
            *CountingRoutes(self._readers, counts).endpoints,
            *StatisticsRoutes(self._readers, spool, counts).endpoints,
            *SessionRoutes(self._readers, keyring, config.admin_token).endpoints,
            *TokenRoutes(self._readers, keyring).endpoints,
            *AuditRoutes(self._readers).endpoints,
            Endpoint(DESCRIBE, self._describe),
        )
        routes = [endpoint.route for endpoint in self._endpoints]
        self._description = orjson.dumps(describe(routes, _SCHEMAS, COMMON_RESPONSES))

    def register(self, app: Any) -> None:
        """Add the routes to the application."""
        for endpoint in self._endpoints:
            route = endpoint.route
            handler = self._make_handler(endpoint)
            app.add_route(
                handler, route.sanic_path, methods=[route.method], name=f"crm_{route.name}", error_format="json"
            )
        for watch in (self._silence, self._days):
            if watch is not None:
                app.after_server_start(lambda *_, start=watch.start: start())
        app.after_server_stop(lambda *_: self.close())

    async def close(self) -> None:
        """Write the rest of the audit trail, and let the readers' threads end."""
        for watch in (self._silence, self._days):
            if watch is not None:
                watch.stop()
        await self._trail.close()
        self._readers.close()

    def _make_handler(self, endpoint: Endpoint) -> Callable[..., Awaitable[HTTPResponse | None]]:
        async def handle(request: Request, **path_values: str) -> HTTPResponse | None:
            started = perf_counter()
            request_id = request_id_of(request) or new_request_id()
            response = await self._respond(endpoint, request, request_id, path_values)
            if response is not None:
                response.headers["x-request-id"] = request_id
                if self._known is not None and self._known.changed and endpoint.route.changes:
                    tell_position(response, self._known.changed)
            self._log.record(request, started, 200 if response is None else response.status, request_id)
            return response

        return handle

    async def _respond(
        self, endpoint: Endpoint, request: Request, request_id: str, path_values: dict[str, str]
    ) -> HTTPResponse | None:
        try:
            caller = await self.gate.admit(request, endpoint.route.right)
            if not isinstance(caller, Caller):
                return caller
            if caller.token is not None:
                self._trail.note_use(caller.token)
            if endpoint.route.body is not None:
                request.body = await self._read_body(request)
            call = endpoint.route.check(request, request_id, path_values, caller, self._zone)
            await self._record(endpoint.route, call)
            async with _while_it_holds(call):
                return await endpoint.handler(call)
        except (InvalidRequest, FeedGone) as error:
            return refuse_gone(error) if isinstance(error, FeedGone) else refuse(INVALID_REQUEST, str(error))
        except ChangeRefused as error:
            logger.warning("%s", error, extra={"action": "change", "hint": error.hint, **error.detail})
            return refuse(REFUSED, "A constraint or trigger of the database does not allow the change.")
        except TooBusy as error:
            return refuse(UNAVAILABLE, f"{error}.", {"retry-after": str(RETRY_AFTER_S)})
        except StoreUnavailable as error:
            text = "the CRM cannot reach the database: %s"
            logger.warning(text, error, extra={"action": "read", "hint": error.hint, "repeat_key": text})
            headers = {"retry-after": str(RETRY_AFTER_S)}
            return refuse(UNAVAILABLE, "The database is away; leads are still taken.", headers)

    async def _record(self, route: Route, call: Call) -> None:
        """Record the use of a route that records nothing by itself."""
        if route.audited is None:
            return
        pairs: dict[str, list[str]] = {}
        for name, value in parse_qsl(call.request.query_string, keep_blank_values=True):
            if name not in PLACES:
                pairs.setdefault(name, []).append(value)
        detail = describe_filter(pairs)
        if route.audited is Action.EXPORT or route.changes:
            await self._trail.record(call.actor, route.audited, detail)
        else:
            self._trail.note(call.actor, route.audited, None, detail)

    async def _read_body(self, request: Request) -> bytes:
        stream = request.stream
        assert isinstance(stream, Http)
        stream.request_max_size = self._max_body_bytes
        if (stream.request_bytes_left or 0) > self._max_body_bytes:
            raise PayloadTooLarge("the body is too large")
        # Nobody's share: whoever comes here has the token.
        return await read_body(stream, self._bodies, None)

    async def _describe(self, _call: Call) -> HTTPResponse:
        return json_response(200, self._description)


@asynccontextmanager
async def _while_it_holds(call: Call) -> AsyncIterator[None]:
    """Break a response off that goes on after its caller's token was revoked: a stream, an export, a long poll."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(RECHECK_S)
            try:
                holds = await call.caller.holds()
            except StoreUnavailable:
                # A database that is away says nothing against a token.
                continue
            except Exception:
                text = "it cannot be said whether a token still holds"
                logger.exception(text, extra={"action": "read", "repeat_key": text})
                continue
            if not holds:
                cast(asyncio.Transport, call.request.transport).abort()
                return

    watching = asyncio.get_running_loop().create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
