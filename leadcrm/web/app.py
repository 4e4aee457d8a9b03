"""The map of URLs, and the framework's settings."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

from sanic import Sanic
from sanic.config import Config as SanicConfig

from leadcrm.ingest.ingestion import Ingestion
from leadcrm.web.crm.api import CrmApi
from leadcrm.web.errors import JsonErrors
from leadcrm.web.health import Health
from leadcrm.web.http.client_address import ClientAddress
from leadcrm.web.http.responses import Cors
from leadcrm.web.ingest import LeadIngest
from leadcrm.web.node import Node
from leadcrm.web.node_metrics import WorkerMetrics
from leadcrm.web.request_log import RequestLog
from leadcrm.web.studio.page import StudioPage

App = Sanic[SanicConfig, SimpleNamespace]

MAX_HEADER_BYTES = 16_384
"""Sanic's hard limit for a head, with room for keys of 6,000 bytes."""

BODY_TIMEOUT_S = 60
"""Seconds without a received byte, or without an answer, after which a connection is closed; up to half as many more,
because the framework looks at the time every so often."""


def create_app(node: Node, ingestion: Ingestion, metrics: WorkerMetrics) -> App:
    """Return the application of the worker that these metrics belong to."""
    config = node.config
    app: App = Sanic("leadcrm", configure_logging=False)
    app.config.ACCESS_LOG = False
    app.config.FALLBACK_ERROR_FORMAT = "json"
    # The handler enforces MAX_BODY_BYTES itself; the framework applies this limit to the head too.
    app.config.REQUEST_MAX_SIZE = max(config.max_body_bytes, MAX_HEADER_BYTES)
    app.config.REQUEST_MAX_HEADER_SIZE = MAX_HEADER_BYTES
    app.config.REQUEST_TIMEOUT = BODY_TIMEOUT_S
    app.config.RESPONSE_TIMEOUT = BODY_TIMEOUT_S
    # Declared as whole seconds, but only compared and halved.
    app.config.KEEP_ALIVE_TIMEOUT = config.keep_alive_timeout_s  # type: ignore[assignment]

    if config.proxy_protocol:
        app.ctx.trusts_proxy_header_of = ClientAddress(config.trusted_proxies).trusts_peer

    cors = Cors(config.cors_origins)
    request_log = RequestLog(node.log, metrics)
    app.error_handler = JsonErrors(cors, request_log)

    leads = LeadIngest(config, ingestion, metrics, request_log, node.limiter)

    # With `stream`, the handler reads the body under its own limit; the framework would read all of it first. The
    # framework stores that as an attribute of the handler, which a bound method cannot have.
    app.add_route(partial(leads.post), "/api/lead", methods=["POST"], name="post_lead", stream=True)
    app.add_route(leads.options, "/api/lead", methods=["OPTIONS"], name="lead_preflight")

    health = Health(ingestion, node.metrics, cors, request_log)
    app.add_route(health.presence, "/", methods=["GET", "HEAD", "OPTIONS"], name="presence")
    app.add_route(health.health, "/health", methods=["GET", "HEAD"], name="health")
    app.add_route(health.options, "/health", methods=["OPTIONS"], name="health_preflight")
    app.add_route(health.ready, "/ready", methods=["GET", "HEAD"], name="ready")
    app.add_route(health.metrics, "/metrics", methods=["GET", "HEAD"], name="metrics")
    app.after_server_stop(lambda *_: health.close())

    crm = CrmApi(config, request_log, lambda: node.metrics.total("batch_rows"))
    crm.register(app)
    StudioPage(crm.gate, request_log).register(app)
    return app
