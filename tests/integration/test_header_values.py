"""Headers that come twice or as a list: which value counts, for every header that the product reads."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import StartServer, server_starter
from tests.support.client import Answer, Headers
from tests.support.conversation import Conversation
from tests.support.crm_client import BEARER, ENVIRONMENT, Crm
from tests.support.rows import Row
from tests.support.server import Server
from tests.support.waiting import wait_until

INGEST_TOKEN = "another-token-no-log-may-hold"
SENDER = ("Authorization", f"Bearer {INGEST_TOKEN}")
WRONG = ("Authorization", "Bearer wrong")

LEADS_A_CLIENT = 60


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that reads every header there is: behind proxies, with tokens, a rate limit and named origins."""
    start: StartServer
    for start in server_starter(request.node, tmp_path_factory.mktemp("headers")):
        yield start(
            environment={
                **ENVIRONMENT,
                "INGEST_TOKEN": INGEST_TOKEN,
                "TRUSTED_PROXIES": "127.0.0.0/8, 10.0.0.0/8",
                "RATE_LIMIT": f"{LEADS_A_CLIENT}/h",
                "CORS_ORIGINS": "https://a.example, https://b.example",
            }
        )


def forwarded(*lines: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", line) for line in lines]


def post(server: Server, *headers: tuple[str, str], body: bytes = b"{}", client: str = "192.0.2.1") -> Answer:
    given: Headers = [SENDER, *forwarded(client), *headers]
    return server.client.post_lead(body, headers=given, content_type=None)


def row_of(server: Server, answer: Answer) -> Row:
    assert answer.receipt is not None, answer.body
    return server.embedded_rows().raw_row(answer.receipt.raw_id)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        (["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
        (["6.6.6.6, 198.51.100.1, 10.1.1.1"], "198.51.100.1"),
        (["6.6.6.6, 198.51.100.1", "10.1.1.1"], "198.51.100.1"),
        (["198.51.100.1 ,\t10.1.1.1"], "198.51.100.1"),
        (["6.6.6.6, 2001:db8::1, 10.1.1.1"], "2001:db8::1"),
        (["6.6.6.6, ::ffff:198.51.100.1, ::ffff:10.1.1.1"], "198.51.100.1"),
        (["10.9.9.9, 10.1.1.1"], "10.9.9.9"),
        (["198.51.100.1, unknown, 10.1.1.1"], "10.1.1.1"),
        (["198.51.100.1,"], "198.51.100.1"),
        ([",198.51.100.1, ,", "", ","], "198.51.100.1"),
        (["198.51.100.1:51234"], "198.51.100.1"),
        (["6.6.6.6, 198.51.100.1:51234, 10.1.1.1:443"], "198.51.100.1"),
        (["[2001:db8::1]:51234"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["2001:DB8:0:0::0001"], "2001:db8::1"),
        (['"198.51.100.1"'], "198.51.100.1"),
        (['"198.51.100.1:51234", "10.1.1.1"'], "198.51.100.1"),
        (['"[2001:db8::1]:51234"'], "2001:db8::1"),
        (["[::ffff:198.51.100.1]:51234"], "198.51.100.1"),
        (["::FFFF:c633:6401"], "198.51.100.1"),
        (["198.51.100.1, [2001:db8::1"], "127.0.0.1"),
        (["198.51.100.1, 2001:db8::1]:5"], "127.0.0.1"),
        (['198.51.100.1, "2001:db8::1'], "127.0.0.1"),
        (["198.51.100.1, 198.51.100.2:port"], "127.0.0.1"),
        (["198.51.100.1, :443"], "127.0.0.1"),
        (["198.51.100.1, 198.51.100.256"], "127.0.0.1"),
        (["fe80::2%\xe9"], "fe80::2"),
        (["fe80::5%\x01"], "fe80::5"),
        (["[fe80::4%" + "A" * 4_000 + "]:1"], "fe80::4"),
        ([""], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    server: Server, lines: list[str], address: str
) -> None:
    answer = server.client.post_lead({}, headers=[SENDER, *forwarded(*lines)])
    assert row_of(server, answer)["remote_addr"] == address


def test_a_client_is_held_to_its_rate_however_its_address_is_written(server: Server) -> None:
    spellings = ["2001:db8:9::9", "[2001:DB8:9::9]:1", "2001:db8:9:0::9", '"[2001:db8:9::a]"']
    statuses = [post(server, client=spellings[number % 4]).status for number in range(LEADS_A_CLIENT + 1)]
    assert statuses == [201] * LEADS_A_CLIENT + [429]
    assert post(server, client="[2001:db8:a::9]:1").status == 201


def test_a_client_is_held_to_its_rate_whatever_it_writes_before_its_address(server: Server) -> None:
    statuses = [
        server.client.post_lead({}, headers=[SENDER, *forwarded(f"203.0.113.{number}, 198.51.100.9")]).status
        for number in range(LEADS_A_CLIENT + 1)
    ]
    assert statuses == [201] * LEADS_A_CLIENT + [429]
    two_lines = forwarded("203.0.113.99", "198.51.100.9")
    assert server.client.post_lead({}, headers=[SENDER, *two_lines]).status == 429
    assert post(server, client="198.51.100.10").status == 201


@pytest.mark.parametrize(
    "name", ["Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "X-Auth-Token", "X-CSRF-Token"]
)
@pytest.mark.parametrize("lines", [["no-log-may-hold"], ["a", "no-log-may-hold"], ["caf\u00e9 no-log-may-hold"]])
def test_a_credential_is_redacted_in_every_header_that_carries_one(server: Server, name: str, lines: list[str]) -> None:
    credentials = [(name, line.encode()) for line in lines]
    answer = server.client.post_lead({}, headers=[SENDER, *forwarded(f"192.0.2.{len(lines[0])}"), *credentials])
    headers = row_of(server, answer)["headers"]
    assert headers[name.lower()] == "[redacted]"
    assert "no-log-may-hold" not in json.dumps(headers)


def test_only_whole_names_are_redacted_and_repeated_headers_are_joined(server: Server) -> None:
    headers = row_of(server, post(server, ("X-Api-Key-Id", "1"), ("X-Odd", "a"), ("X-ODD", "b, c"), ("X-Odd", "")))[
        "headers"
    ]
    assert (headers["x-api-key-id"], headers["x-odd"]) == ("1", "a, b, c, ")


def test_the_first_of_several_values_counts_where_one_is_expected(server: Server) -> None:
    twice = post(server, ("X-Request-Id", "first"), ("X-Request-Id", "second"))
    assert (twice.header("X-Request-Id"), row_of(server, twice)["request_id"]) == ("first", "first")
    assert post(server, ("X-Request-Id", "one, two")).header("X-Request-Id") == "one, two"
    form = post(
        server,
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "application/json"),
        body=b"email=a%40example.com",
    )
    assert form.status == 201
    stored = server.embedded_rows().lead(form.json()["lead_id"])["email"], row_of(server, form)["content_type"]
    assert stored == ("a@example.com", "application/x-www-form-urlencoded")
    assert server.client.post_lead({}, headers=[WRONG, SENDER]).status == 401
    assert post(server, WRONG).status == 201
    assert server.client.get("/api/leads", headers=[("Authorization", "Basic x"), BEARER]).status == 401
    assert server.client.get("/api/leads", headers=[BEARER, WRONG]).status == 200


def test_content_codings_are_taken_off_in_the_opposite_order(server: Server) -> None:
    body = b'{"email":"twice@example.com"}'
    for content, codings in (
        (gzip.compress(zlib.compress(body)), ["deflate, gzip"]),
        (zlib.compress(gzip.compress(body)), ["gzip ,DEFLATE"]),
        (gzip.compress(body), ["identity, gzip"]),
        (gzip.compress(zlib.compress(body)), ["deflate", "gzip"]),
    ):
        answer = post(server, *(("Content-Encoding", coding) for coding in codings), body=content)
        assert answer.status == 201
        assert server.embedded_rows().lead(answer.json()["lead_id"])["email"] == "twice@example.com"
        assert row_of(server, answer)["body"] == content


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [
        (["https://b.example"], "https://b.example"),
        (["https://a.example, https://b.example"], None),
        (["https://evil.example", "https://a.example"], None),
    ],
)
def test_an_origin_is_allowed_alone_and_never_as_one_of_a_list(
    server: Server, origins: list[str], allowed: str | None
) -> None:
    answer = post(server, *(("Origin", origin) for origin in origins))
    assert (answer.status, answer.header("Access-Control-Allow-Origin")) == (201, allowed)
    assert answer.header("Vary") == "Origin"


def test_if_match_names_several_versions_and_only_in_strong_tags(server: Server) -> None:
    crm = Crm(server, f"sqlite:///{server.data_dir / 'leadcrm.db'}")
    target = f"/api/leads/{post(server).json()['lead_id']}"
    tag = crm.ask("GET", target).header("ETag") or ""
    for stale in (f"W/{tag}", tag.strip('"'), "", '"1"', f'"1", W/{tag}', '"*"', f'"{tag}"'):
        answer = crm.ask("PATCH", target, {"status": "won"}, If_Match=stale)
        assert (answer.status, answer.json()["error"]) == (412, "stale"), stale
    assert crm.get(target)["events"] == []
    listed = crm.ask("PATCH", target, {"status": "won"}, If_Match=f'"1" ,{tag}')
    assert (listed.status, listed.json()["status"]) == (200, "won")
    assert crm.ask("PATCH", target, {"status": "lost"}, If_Match=tag).status == 412
    assert crm.ask("PATCH", target, {"status": "lost"}, If_Match=" * ").status == 200


@pytest.mark.parametrize("name", ["If-Match", "X-Actor"])
def test_a_header_of_a_change_that_comes_twice_is_refused_by_name(server: Server, name: str) -> None:
    target = f"/api/leads/{post(server).json()['lead_id']}"
    headers = [BEARER, (name, "*"), (name, "*")]
    answer = server.client.request("PATCH", target, body=b'{"status":"won"}', headers=headers)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
    assert name in answer.json()["message"]
    assert server.embedded_rows().lead(target.rpartition("/")[2])["status"] == "new"


def test_who_guesses_on_is_refused_at_once_and_nobody_else_is(server: Server) -> None:
    guess = b"GET /api/leads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nX-Forwarded-For: %s\r\n\r\n"
    first = server.client.get("/api/leads", headers=[WRONG, *forwarded("198.51.100.50")])
    assert (first.status, first.json()["error"]) == (401, "unauthorized")
    assert first.header("WWW-Authenticate") == "Bearer"
    with ExitStack() as stack:
        # Each waits half a second longer than the one before, up to ten seconds.
        guesses = [stack.enter_context(Conversation(server.client, timeout_s=0.05)) for _ in range(40)]
        for number, connection in enumerate(guesses):
            connection.send(guess % f"203.0.113.{number}, 198.51.100.51".encode())

        def refused() -> Answer | None:
            for connection in reversed(guesses):
                try:
                    answer = connection.answer()
                except TimeoutError:
                    continue
                if answer.status == 429:
                    return answer
            return None

        refusal = wait_until(refused, what="a guess to be refused at once")
    assert refusal is not None
    assert refusal.json()["error"] == "rate_limited"
    assert 10 <= int(refusal.header("Retry-After") or 0) <= 21
    # The right token does not wait for those who guess, from their address neither.
    for path in ("/api/leads", "/api/openapi.json"):
        assert server.client.get(path, headers=[BEARER, *forwarded("198.51.100.51")]).status == 200
    assert server.client.get("/api/leads", headers=[BEARER, *forwarded("198.51.100.52")]).status == 200
    assert server.client.get("/api/leads", headers=[WRONG, *forwarded("198.51.100.52")]).status == 401
