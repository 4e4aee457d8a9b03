"""Every route with every method: which are answered, which are 405 with those allowed, and what needs the token."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from tests.conftest import StartServer, server_starter
from tests.support.client import Answer
from tests.support.crm_client import BEARER, ENVIRONMENT, Crm
from tests.support.server import Server

UNKNOWN_ID = "00000000-0000-7000-8000-00000000dead"
ID = "00000000-0000-7000-8000-%012x"

ROUTES = {
    "/api/lead": {"POST", "OPTIONS"},
    "/": {"GET", "HEAD", "OPTIONS"},
    "/health": {"GET", "HEAD", "OPTIONS"},
    "/ready": {"GET", "HEAD"},
    "/metrics": {"GET", "HEAD"},
    "/studio": {"GET", "HEAD"},
    "/studio/": {"GET", "HEAD"},
    "/api/leads": {"GET"},
    "/api/leads/bulk": {"POST"},
    "/api/leads/count": {"GET"},
    "/api/leads/values": {"GET"},
    "/api/leads/others": {"GET"},
    "/api/leads/next": {"POST"},
    "/api/leads/{id}/notes": {"POST"},
    "/api/choices": {"GET"},
    "/api/leads/export": {"GET"},
    "/api/leads/stream": {"GET"},
    "/api/leads/{id}": {"GET", "PATCH"},
    "/api/feed": {"GET"},
    "/api/raw": {"GET"},
    "/api/raw/{id}": {"GET"},
    "/api/raw/{id}/replay": {"POST"},
    "/api/raw/{id}/correct": {"POST"},
    "/api/raw/{id}/try": {"POST"},
    "/api/sources": {"GET"},
    "/api/sources/{source}": {"GET"},
    "/api/presets": {"GET"},
    "/api/sinks": {"GET"},
    "/api/deliveries": {"GET"},
    "/api/deliveries/retry": {"POST"},
    "/api/deliveries/drop": {"POST"},
    "/api/raw/archive": {"POST"},
    "/api/stats": {"GET"},
    "/api/stats/outcomes": {"GET"},
    "/api/session": {"GET", "POST", "DELETE"},
    "/api/tokens": {"GET", "POST"},
    "/api/tokens/{id}": {"DELETE"},
    "/api/audit": {"GET"},
    "/api/openapi.json": {"GET"},
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
ABOUT_THE_CRM = [
    (method, path)
    for path, methods in ROUTES.items()
    for method in sorted(methods)
    if path.startswith("/api/") and path != "/api/lead"
]
BY_ID = [(method, path) for method, path in ABOUT_THE_CRM if "{id}" in path]


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose CRM is open."""
    start: StartServer
    for start in server_starter(request.node, tmp_path_factory.mktemp("routes")):
        yield start(environment=ENVIRONMENT)


@pytest.fixture
def crm(server: Server) -> Crm:
    return Crm(server, f"sqlite:///{server.data_dir / 'leadcrm.db'}")


def ask(server: Server, method: str, path: str, *headers: tuple[str, str], body: bytes | None = None) -> Answer:
    return server.client.request(method, path.replace("{id}", UNKNOWN_ID), headers=headers, body=body)


def test_the_routes_are_those_that_the_description_names(crm: Crm) -> None:
    described = {
        path: {method.upper() for method in operations}
        for path, operations in crm.get("/api/openapi.json")["paths"].items()
    }
    assert described == {path: ROUTES[path] for _, path in ABOUT_THE_CRM}


@pytest.mark.parametrize("path", ROUTES)
def test_a_method_that_a_route_does_not_have_is_answered_405_with_those_it_has(server: Server, path: str) -> None:
    for method in METHODS:
        if method in ROUTES[path]:
            continue
        for body in (None, b"{}"):
            answer = ask(server, method, path, BEARER, ("X-Request-Id", "of-mine"), body=body)
            assert answer.status == 405, method
            assert set((answer.header("Allow") or "").split(", ")) == ROUTES[path]
            assert answer.header("X-Request-Id") == "of-mine"
            assert answer.header("Content-Type") == "application/json"
            if method != "HEAD":
                assert answer.body == b'{"ok":false,"error":"method_not_allowed"}'


@pytest.mark.parametrize(
    "path",
    [
        "/x", "/api", "/api/", "//api/lead", "/API/lead", "/api/lead.json", "/api/lead/x", "/api/leads/x/y",
        "/api/leads/bulk/x", "/api/leads/{id}/replay", "/api/raw/{id}/x", "/api/raw/{id}/replay/x", "/api/stats/x",
        "/api/openapi", "/healthz", "/ready/x", "/metrics/x", "/studio/../api/leads", "/studio/x/y",
    ],
)  # fmt: skip
def test_a_path_that_is_no_route_is_answered_404_whatever_the_method(server: Server, path: str) -> None:
    for method in METHODS:
        answer = ask(server, method, path, BEARER)
        assert answer.status == 404, method
        assert answer.header("Allow") is None
        if method != "HEAD":
            assert answer.json()["error"] == "not_found"


def test_the_studio_with_a_slash_leads_to_the_studio(server: Server) -> None:
    answer = server.client.get("/studio/?open=x&q=%20")
    assert (answer.status, answer.header("Location")) == (308, "../studio?open=x&q=%20")
    assert server.client.get("/studio").status == 200
    # A browser finds the studio; a balancer's check is answered.
    browser = server.client.get("/", headers=[("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")])
    assert (browser.status, browser.header("Location")) == (303, "studio")
    for accept in ([], [("Accept", "*/*")]):
        assert server.client.get("/", headers=accept).status == 200
    assert server.client.request("HEAD", "/", headers=[("Accept", "text/html")]).status == 200
    plain = server.client.get("/studio/app.js")
    small = server.client.get("/studio/app.js", headers=[("Accept-Encoding", "br, gzip")])
    assert (plain.header("Content-Encoding"), small.header("Content-Encoding")) == (None, "gzip")
    assert gzip.decompress(small.body) == plain.body
    known = [("Accept-Encoding", "gzip"), ("If-None-Match", str(small.header("ETag")))]
    assert server.client.get("/studio/app.js", headers=known).status == 304


@pytest.mark.parametrize(("method", "path"), ABOUT_THE_CRM)
def test_every_route_of_the_crm_needs_the_token(server: Server, method: str, path: str) -> None:
    lead_id = server.client.post_lead({}).json()["lead_id"]
    bodies = {
        "/api/leads/{id}": b'{"status":"won"}',
        "/api/leads/bulk": b'{"ids":["%s"],"status":"won"}' % lead_id.encode(),
    }
    target = path.replace("{id}", lead_id)
    token = BEARER[1].removeprefix("Bearer ")
    for headers in ([], [("Authorization", f"Basic {token}")], [("Cookie", f"token={token}")], [("X-Api-Key", token)]):
        body = bodies.get(path) if method in ("POST", "PATCH") else None
        answer = server.client.request(method, f"{target}?token={token}", headers=headers, body=body)
        assert (answer.status, answer.json()["error"]) == (401, "unauthorized")
        assert answer.header("WWW-Authenticate") == "Bearer"
        assert answer.header("Cache-Control") == "no-store"
        assert answer.header("Access-Control-Allow-Origin") is None
    assert server.embedded_rows().lead(lead_id)["status"] == "new"


@pytest.mark.parametrize(("method", "path"), BY_ID)
def test_an_id_that_nobody_was_given_is_404_and_one_that_is_none_is_400(crm: Crm, method: str, path: str) -> None:
    bodies = {"notes": {"text": "a note"}, "try": {}, "correct": {"fields": {"phone": "26123"}}}
    document = {"status": "won"} if method == "PATCH" else bodies.get(path.rpartition("/")[2])
    unknown = crm.ask(method, path.replace("{id}", UNKNOWN_ID), document)
    assert (unknown.status, unknown.json()["error"]) == (404, "not_found")
    for no_id in ("x", UNKNOWN_ID.replace("-", ""), f"{{{UNKNOWN_ID}}}".replace("{", "%7B").replace("}", "%7D")):
        answer = crm.ask(method, path.replace("{id}", no_id), document)
        assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
        assert "id" in answer.json()["message"]


def test_a_request_that_is_no_lead_cannot_be_changed_as_one(crm: Crm) -> None:
    receipt = crm.server.client.post_lead(b"no lead").receipt
    assert receipt is not None
    answer = crm.ask("PATCH", f"/api/leads/{receipt.raw_id}", {"status": "won"})
    assert (answer.status, answer.json()["error"]) == (404, "not_found")
    bulk = crm.ask("POST", "/api/leads/bulk", {"ids": [receipt.raw_id], "status": "won"})
    assert bulk.json() == {"changed": 0, "unchanged": 0, "missing": [receipt.raw_id]}


@pytest.mark.parametrize(
    ("target", "most"),
    [
        ("/api/leads?limit={}", 500),
        ("/api/raw?limit={}", 500),
        ("/api/leads?country={x}", 500),
        ("/api/leads?email={x}", 500),
        ("/api/leads?phone={x}", 500),
        ("/api/leads?q={x}", 200),
        ("/api/leads/export?q={x}", 200),
        ("/api/stats?step=hour&from=2024-01-01T00:00:00Z&to={hours}", 1000),
        ("/api/stats?step=day&from=2020-01-01T00:00:00Z&to={days}", 1000),
    ],
)
def test_a_parameter_is_accepted_up_to_its_limit(crm: Crm, target: str, most: int) -> None:
    def filled(count: int) -> str:
        hours = datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(hours=count)
        days = datetime(2020, 1, 1, tzinfo=timezone.utc) + timedelta(days=count)
        written = {name: f"{moment:%Y-%m-%dT%H:%M:%SZ}" for name, moment in (("hours", hours), ("days", days))}
        return target.format(count, x="x" * count, **written)

    assert crm.ask("GET", filled(most)).status == 200
    over = crm.ask("GET", filled(most + 1))
    assert (over.status, over.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("headers", "document", "status"),
    [
        ({}, {"status": "x" * 200}, 200),
        ({}, {"status": "x" * 201}, 400),
        ({}, {"assignedTo": "x" * 201}, 400),
        ({"X_Actor": "x" * 1200}, {"status": "won"}, 200),
        ({"X_Actor": "x" * 1201}, {"status": "lost"}, 400),
        ({"X_Actor": "two words"}, {"status": "lost"}, 400),
        ({}, {"status": "x", "filler": "x" * 1_048_576}, 413),
    ],
)  # fmt: skip
def test_a_change_is_accepted_up_to_its_limits(
    crm: Crm, headers: dict[str, str], document: dict[str, str], status: int
) -> None:
    lead_id = crm.server.client.post_lead({}).json()["lead_id"]
    assert crm.ask("PATCH", f"/api/leads/{lead_id}", document, **headers).status == status
    assert len(crm.get(f"/api/leads/{lead_id}")["events"]) == (status == 200)


def test_a_change_in_bulk_takes_up_to_a_thousand_ids_and_counts_each_once(crm: Crm) -> None:
    lead_id = crm.server.client.post_lead({}).json()["lead_id"]
    thousand = [lead_id, *(ID % number for number in range(999))]
    for ids in ([], [*thousand, ID % 999], ["x"], [1], [lead_id, None]):
        assert crm.ask("POST", "/api/leads/bulk", {"ids": ids, "status": "won"}).status == 400
    assert crm.rows.lead(lead_id)["status"] == "new"
    assert crm.ask("POST", "/api/leads/bulk", {"ids": thousand, "status": "won"}).json() == {
        "changed": 1,
        "unchanged": 0,
        "missing": thousand[1:],
    }
    twice = crm.ask("POST", "/api/leads/bulk", {"ids": [lead_id, lead_id.upper()], "status": "lost"})
    assert twice.json() == {"changed": 1, "unchanged": 0, "missing": []}
    assert len(crm.get(f"/api/leads/{lead_id}")["events"]) == 2
