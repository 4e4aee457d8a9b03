"""What each role may do: every route of the CRM by the roles whose tokens open it. ADMIN_TOKEN opens all."""

from __future__ import annotations

from collections.abc import Mapping

EVERYBODY = ("reader", "agent", "lead", "integrator")
WORKERS = ("agent", "lead")
EXPORTERS = ("lead", "integrator")
LEADS = ("lead",)

ROUTES: Mapping[str, tuple[str, ...]] = {
    "GET /api/leads": EVERYBODY,
    "GET /api/leads/count": EVERYBODY,
    "GET /api/leads/values": EVERYBODY,
    "GET /api/leads/others": EVERYBODY,
    "GET /api/leads/{id}": EVERYBODY,
    "GET /api/leads/stream": EVERYBODY,
    "GET /api/feed": EVERYBODY,
    "GET /api/choices": EVERYBODY,
    "GET /api/stats": EVERYBODY,
    "GET /api/stats/outcomes": EVERYBODY,
    "GET /api/raw": EVERYBODY,
    "GET /api/raw/{id}": EVERYBODY,
    "GET /api/openapi.json": EVERYBODY,
    "GET /api/session": EVERYBODY,
    "POST /api/session": EVERYBODY,
    "DELETE /api/session": EVERYBODY,
    "PATCH /api/leads/{id}": WORKERS,
    "POST /api/leads/next": WORKERS,
    "POST /api/leads/{id}/notes": WORKERS,
    "GET /api/leads/export": EXPORTERS,
    "POST /api/leads/bulk": LEADS,
    "POST /api/raw/archive": LEADS,
    "POST /api/raw/{id}/replay": LEADS,
    "POST /api/raw/{id}/correct": LEADS,
    "POST /api/raw/{id}/try": LEADS,
    "GET /api/sources": LEADS,
    "GET /api/sources/{source}": LEADS,
    "GET /api/presets": LEADS,
    "GET /api/sinks": LEADS,
    "GET /api/deliveries": LEADS,
    "POST /api/deliveries/retry": LEADS,
    "POST /api/deliveries/drop": LEADS,
    "GET /api/tokens": LEADS,
    "POST /api/tokens": LEADS,
    "DELETE /api/tokens/{id}": LEADS,
    "GET /api/audit": LEADS,
}
"""A route that is not here fails a test: whoever adds one decides whose it is."""

QUERIES: Mapping[str, str] = {"GET /api/leads/values": "?column=offer"}
"""What the routes that need a parameter are asked with."""

BODIES: Mapping[str, object] = {
    "POST /api/leads/bulk": {"ids": ["0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e"], "status": "called"},
    "PATCH /api/leads/{id}": {"status": "called"},
    "POST /api/leads/{id}/notes": {"text": "a note"},
    "POST /api/raw/archive": {"ids": ["0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e"], "archived": True},
    "POST /api/raw/{id}/correct": {"body": "no lead"},
    "POST /api/raw/{id}/try": {},
    "POST /api/deliveries/retry": {"sink": "none"},
    "POST /api/deliveries/drop": {"sink": "none"},
    "POST /api/tokens": {"name": "by a role", "role": "reader"},
}
"""What the routes that need a body are asked with."""
