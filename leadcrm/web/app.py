"""The map of URLs, and the framework's settings."""

from __future__ import annotations

from functools import partial
from math import ceil
from types import SimpleNamespace

from sanic import Sanic
from sanic.config import Config as SanicConfig

from leadcrm.database.standby import Standby
from leadcrm.ingest.ingestion import Ingestion
from leadcrm.web.crm.api import CrmApi
from leadcrm.web.crm.position import KnownPosition
from leadcrm.web.crm.readers import Reads
from leadcrm.web.errors import JsonErrors
from leadcrm.web.guesses import Guesses
from leadcrm.web.health import Health, MetricsGate
from leadcrm.web.http.bodiless import BodilessRequest
from leadcrm.web.http.client_address import ClientAddress
from leadcrm.web.http.connections import Connections, max_connections
from leadcrm.web.http.responses import Cors
from leadcrm.web.ingest import LeadIngest
from leadcrm.web.node import Node
from leadcrm.web.node_metrics import WorkerMetrics
from leadcrm.web.request_log import RequestLog
from leadcrm.web.sources import METHODS, SourceIngest
from leadcrm.web.studio.page import StudioPage

App = Sanic[SanicConfig, SimpleNamespace]

MAX_HEADER_BYTES = 16_384
"""Sanic's hard limit for a head, with room for keys of 6,000 bytes."""

ANSWER_TIMEOUT_S = 60
"""Seconds without an answer after which a connection is closed; up to half as many more, because the framework looks at
the time every so often."""


def create_app(node: Node, ingestion: Ingestion, metrics: WorkerMetrics, standby: Standby | None = None) -> App:
    """Return the application of the worker that these metrics belong to; it reads from the standby if there is one."""
    config = node.config
    app: App = Sanic("leadcrm", configure_logging=False, request_class=BodilessRequest)
    app.config.ACCESS_LOG = False
    app.config.FALLBACK_ERROR_FORMAT = "json"
    # Collected even where nobody sees it.
    app.config.MOTD = False
    # The handler enforces MAX_BODY_BYTES itself; the framework applies this limit to the head too.
    app.config.REQUEST_MAX_SIZE = max(config.max_body_bytes, MAX_HEADER_BYTES)
    app.config.REQUEST_MAX_HEADER_SIZE = MAX_HEADER_BYTES
    # The protocol ends a slow request itself: the framework counts from the last byte.
    app.config.REQUEST_TIMEOUT = app.config.RESPONSE_TIMEOUT = max(ANSWER_TIMEOUT_S, ceil(2 * config.request_timeout_s))
    # Declared as whole seconds, but only compared and halved.
    app.config.KEEP_ALIVE_TIMEOUT = config.keep_alive_timeout_s  # type: ignore[assignment]

    app.ctx.trusted_proxies = config.trusted_proxies
    app.ctx.connections = Connections(
        max_connections(), config.request_timeout_s, lambda reason: metrics.add(f"turned_away_{reason}")
    )

    cors = Cors(config.cors_origins)
    addresses, guesses = ClientAddress(config.trusted_proxies), Guesses()
    if config.proxy_protocol:
        app.ctx.trusts_proxy_header_of = addresses.trusts_peer
    request_log = RequestLog(node.log, metrics, addresses)
    app.error_handler = JsonErrors(cors, request_log)

    # Where a route names no format of errors, the framework parses its handler's source to guess one.
    add_route = partial(app.add_route, error_format="json")

    leads = LeadIngest(config, ingestion, metrics, request_log, node.limiter, addresses, guesses)

    add_route(leads.post, "/api/lead", methods=["POST"], name="post_lead")
    add_route(leads.options, "/api/lead", methods=["OPTIONS"], name="lead_preflight")

    sources = SourceIngest(config, ingestion, metrics, request_log, node.limiter, addresses, guesses)
    for path, name in (("/in/<source>", "source"), ("/in/<source>/<token>", "source_with_token")):
        add_route(sources.receive, path, methods=METHODS, name=name)
        add_route(sources.preflight, path, methods=["OPTIONS"], name=f"{name}_preflight")

    metrics_gate = MetricsGate(config.metrics_token, addresses, guesses)
    health = Health(ingestion, metrics, node.metrics, cors, request_log, metrics_gate, node.board, node.silence)
    add_route(health.presence, "/", methods=["GET", "HEAD", "OPTIONS"], name="presence")
    add_route(health.health, "/health", methods=["GET", "HEAD"], name="health")
    add_route(health.options, "/health", methods=["OPTIONS"], name="health_preflight")
    add_route(health.ready, "/ready", methods=["GET", "HEAD"], name="ready")
    add_route(health.metrics, "/metrics", methods=["GET", "HEAD"], name="metrics")
    app.after_server_stop(lambda *_: health.close())

    crm = CrmApi(
        config,
        addresses,
        guesses,
        request_log,
        partial(node.metrics.total, "batch_rows"),
        ingestion.source_rows,
        partial(metrics.set, "feed_lag"),
        ingestion.sources,
        node.sinks,
        node.slots,
        reads=None if standby is None else _reads(node, metrics, standby),
        silence=node.silence if metrics is node.metrics.worker(0) else None,
    )
    crm.register(app)
    StudioPage(crm.gate, request_log).register(app)
    return app


def _reads(node: Node, metrics: WorkerMetrics, standby: Standby) -> Reads:
    return Reads(
        standby,
        node.standby_slots,
        KnownPosition(node.metrics, metrics),
        lambda from_standby: metrics.add("standby_reads" if from_standby else "primary_reads"),
    )
