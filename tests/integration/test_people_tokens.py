"""Tokens of people and programs: what each opens, who is the author of a change, and taking a token back."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import new_database, server_starter
from tests.support.client import Answer
from tests.support.crm import keep, run_command, submission
from tests.support.crm_client import ENVIRONMENT, TOKEN, Crm, request_head
from tests.support.roles import BODIES, EVERYBODY, QUERIES, ROUTES
from tests.support.rows import Rows, sqlite_path
from tests.support.waiting import wait_until

STRANGER = "0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e"
CONNECTIONS = 12
"""So many requests in a row meet both workers."""


class People(Crm):
    """A server with two workers, and the command line beside it."""

    def __init__(self, server: Any, database: str, directory: Path) -> None:
        super().__init__(server, database)
        self.directory = directory
        self.given: list[str] = []

    def run(self, *words: str, status: int = 0) -> str:
        done = run_command(self.directory, self.database, *words)
        assert done.returncode == status, done.stderr
        return done.stdout

    def give(self, name: str, role: str, *words: str) -> str:
        """Make a token by the command and return it."""
        secret = self.run("token", "add", name, "--role", role, *words).strip()
        self.given.append(secret)
        return secret

    def as_holder(self, secret: str, method: str, target: str, document: Any = None, **headers: str) -> Answer:
        given = [("Authorization", f"Bearer {secret}")]
        given += [(name.replace("_", "-"), value) for name, value in headers.items()]
        body = None if document is None else json.dumps(document).encode()
        return self.server.client.request(method, target, body=body, headers=given)

    def statuses(self, secret: str) -> set[int]:
        """Return how the token is answered by all workers."""
        return {self.as_holder(secret, "GET", "/api/choices").status for _ in range(CONNECTIONS)}

    def refusal(self, secret: str) -> dict[str, Any]:
        """Return how a worker refuses a token, which another may have done sooner."""

        def refuse() -> Any:
            answer = self.as_holder(secret, "GET", "/api/leads")
            return answer.json() if answer.status == 401 else None

        refused: dict[str, Any] = wait_until(refuse, what="the worker to refuse the token")
        return refused

    def entries(self, **parameters: Any) -> list[dict[str, Any]]:
        """Return entries of the audit trail, newest first."""
        entries: list[dict[str, Any]] = self.get("/api/audit", **parameters)["entries"]
        return entries


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def people(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    for database in new_database(request.param, request, tmp_path_factory.mktemp("people-database")):
        for start in server_starter(request.node, tmp_path_factory.mktemp("people")):
            server = start(database, environment={**ENVIRONMENT, "WORKERS": "2"})
            found = People(server, database, tmp_path_factory.mktemp("people-commands"))
            yield found
            assert_no_secret_is_kept(found)


def assert_no_secret_is_kept(people: People) -> None:
    """Assert that no token and no cookie stands in the database or in the log."""
    kept = [json.dumps(row, default=repr) for table in ("leads_tokens", "leads_sessions", "leads_audit", "leads_raw")
            for row in people.rows.select(f"SELECT * FROM {table}")]  # fmt: skip
    kept.append(people.server.log_text())
    if people.rows.is_sqlite:
        path = sqlite_path(people.database)
        kept += [file.read_bytes().decode("latin-1") for file in path.parent.glob(f"{path.name}*")]
    assert [secret for secret in people.given if any(secret in text for text in kept)] == []


def kept_lead(people: People, **fields: Any) -> str:
    row = submission(json.dumps(fields).encode())
    keep(people.database, [row])
    return row.id


def head_of(secret: str, target: str) -> bytes:
    return request_head(target).replace(TOKEN.encode(), secret.encode())


def first_bytes(people: People, head: bytes) -> bytes:
    """Return the beginning of an answer that may never end."""
    with closing(socket.create_connection((people.server.host, people.server.port), timeout=10)) as connection:
        connection.sendall(head)
        return connection.recv(4096)


def test_each_role_may_do_what_the_table_says_and_nothing_else(people: People) -> None:
    described = people.get("/api/openapi.json")["paths"]
    operations = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}
    assert operations == ROUTES.keys(), "whoever adds a route decides whose it is"
    for role in EVERYBODY:
        secret = people.give(f"the {role}", role)
        for operation, roles in ROUTES.items():
            method, path = operation.split()
            target = path.replace("{id}", STRANGER).replace("{source}", "none") + QUERIES.get(operation, "")
            if path.endswith("/stream"):
                status = int(first_bytes(people, head_of(secret, target)).split()[1])
                message = ""
            else:
                answer = people.as_holder(secret, method, target, BODIES.get(operation))
                status, message = answer.status, answer.json()["message"] if answer.status >= 400 else ""
            if role in roles:
                assert status in (200, 201, 404, 409), f"{role}: {operation}: {status} {message}"
            else:
                assert status == 403, f"{role}: {operation}"
                assert message.startswith(f"The role {role} may not "), message
                assert message.endswith(f"; {', '.join(each for each in EVERYBODY if each in roles)} may.")
    assert people.as_holder("", "GET", "/api/leads").status == 401


def test_the_author_of_a_change_is_the_token_and_what_the_caller_says_stands_beside_it(people: People) -> None:
    anna = people.give("Anna B\u0113rzi\u0146a", "agent")
    one = kept_lead(people, lastName="Changed")
    forged = {"X_Actor": "boss"}
    assert people.as_holder(anna, "PATCH", f"/api/leads/{one}", {"status": "called"}, **forged).status == 200
    assert people.as_holder(anna, "POST", f"/api/leads/{one}/notes", {"text": "hello"}, **forged).status == 201
    assert people.ask("PATCH", f"/api/leads/{one}", {"status": "won"}, X_Actor="bruno").status == 200
    people.run("leads", "set", one, "--status", "lost", "--actor", "carla")
    history = people.as_holder(anna, "GET", f"/api/leads/{one}").json()["events"]
    assert [(event["field"], event["by"], event["claimed"]) for event in history] == [
        ("status", "Anna B\u0113rzi\u0146a", "boss"),
        ("note", "Anna B\u0113rzi\u0146a", "boss"),
        ("status", "bruno", None),
        ("status", "carla", None),
    ]
    entries = people.entries(lead=one)
    changes = [entry for entry in entries if entry["action"] in ("change", "note")]
    user = changes[0]["actor"]
    assert [(entry["action"], entry["actor"], entry["via"], entry["claimed"]) for entry in changes] == [
        ("change", user, "command", "carla"),
        ("change", "bruno", "ADMIN_TOKEN", None),
        ("note", "Anna B\u0113rzi\u0146a", "token", "boss"),
        ("change", "Anna B\u0113rzi\u0146a", "token", "boss"),
    ]
    assert changes[0]["detail"] == {"columns": ["status"]}
    oldest = kept_lead(people, lastName="Taken")
    while (taken := people.as_holder(anna, "POST", "/api/leads/next").json()["lead"])["id"] != oldest:
        assert taken["assignedTo"] == "Anna B\u0113rzi\u0146a"
    assert people.ask("POST", "/api/leads/next").status == 400


def test_a_token_that_is_revoked_or_over_opens_nothing_on_any_worker_and_says_so(people: People) -> None:
    secret = people.give("bruno", "reader")
    assert people.statuses(secret) == {200}
    with closing(socket.create_connection((people.server.host, people.server.port), timeout=15)) as stream:
        stream.sendall(head_of(secret, "/api/leads/stream"))
        assert stream.recv(4096).startswith(b"HTTP/1.1 200")
        people.run("token", "revoke", "bruno")
        wait_until(lambda: people.statuses(secret) == {401}, what="all workers to refuse the token")
        rest = b"more"
        while rest:
            try:
                rest = stream.recv(4096)
            except ConnectionError:
                break
    refused = people.refusal(secret)
    assert re.match("This token was revoked on 20..-..-.. at ..:.. UTC", refused["message"])
    assert refused["error"] == "unauthorized"
    people.run("token", "revoke", "bruno", status=1)
    soon = (datetime.now(timezone.utc) + timedelta(seconds=3)).isoformat()
    brief = people.give("bruno", "reader", "--expires", soon)
    assert people.statuses(brief) == {200}
    wait_until(lambda: people.statuses(brief) == {401}, what="the token to expire")
    assert people.refusal(brief)["message"].startswith("This token expired on ")
    states = {token["name"]: token["state"] for token in json.loads(people.run("token", "list", "--json"))}
    assert states["bruno"] == "expired"
    assert people.statuses(people.give("bruno", "reader")) == {200}


def test_a_wrong_token_is_a_guess_and_a_name_has_one_token(people: People) -> None:
    secret = people.give("carla", "reader")
    wrong = people.as_holder(f"{secret[:-4]}AAAA", "GET", "/api/leads")
    assert (wrong.status, wrong.json()["message"]) == (401, "This token is wrong.")
    assert wrong.latency_s > 0.4
    assert people.as_holder(secret, "GET", "/api/choices").latency_s < wrong.latency_s
    people.run("token", "add", "CARLA", "--role", "lead", status=1)
    assert people.ask("POST", "/api/tokens", {"name": "Carla", "role": "lead"}).status == 409
    for name in ("", " a", "a\u202eb", "a\nb", "x" * 101, 7):
        assert people.ask("POST", "/api/tokens", {"name": name, "role": "lead"}).status == 400
    for more in ({"role": "admin"}, {"role": "lead", "days": 0}, {"role": "lead", "days": True}, {}):
        assert people.ask("POST", "/api/tokens", {"name": "dora", **more}).status == 400
    people.run("token", "add", "dora", "--role", "lead", "--expires", "2020-01-01", status=2)


def test_a_team_lead_gives_and_takes_tokens_and_sees_when_they_were_used(people: People) -> None:
    boss = people.give("dace", "lead")
    answer = people.as_holder(boss, "POST", "/api/tokens", {"name": "eva", "role": "integrator", "days": 90})
    assert answer.status == 201
    made = answer.json()
    people.given.append(made["token"])
    assert (made["createdBy"], made["usedAt"]) == ("dace", None)
    assert people.statuses(made["token"]) == {200}

    def listed() -> dict[str, Any]:
        tokens = people.as_holder(boss, "GET", "/api/tokens").json()["tokens"]
        return next(token for token in tokens if token["id"] == made["id"])

    wait_until(lambda: listed()["usedAt"], what="the use to be noted")
    assert "token" not in listed()
    assert "sha256" not in listed()
    revoked = people.as_holder(boss, "DELETE", f"/api/tokens/{made['id']}")
    assert (revoked.status, revoked.json()["state"]) == (200, "revoked")
    wait_until(lambda: people.statuses(made["token"]) == {401}, what="all workers to refuse the token")
    assert people.as_holder(boss, "DELETE", f"/api/tokens/{made['id']}").status == 404
    told = {entry["action"]: entry for entry in people.entries(actor="dace")}
    assert told["token-add"]["detail"]["name"] == told["token-revoke"]["detail"]["name"] == "eva"
    assert told["token-add"]["detail"]["role"] == "integrator"


@pytest.mark.parametrize("secure", [False, True])
def test_a_browser_stays_signed_in_by_a_cookie_that_no_other_site_can_use(people: People, secure: bool) -> None:
    name = f"fred {secure}"
    secret = people.give(name, "agent")
    origin = {"Origin": "https://crm.example.com"} if secure else {"Origin": "http://crm.example.com"}
    kept = people.as_holder(secret, "POST", "/api/session", **origin)
    cookie = kept.header("Set-Cookie") or ""
    value = re.match(r"leadcrm=([\w-]{43}); Max-Age=25\d{5}; HttpOnly; SameSite=Strict(; Secure)?$", cookie)
    assert value
    assert (value[2] is not None) == secure
    assert kept.json()["isKept"]
    people.given.append(value[1])
    client = people.server.client
    with_cookie = [("Cookie", f"a=b; leadcrm={value[1]}")]
    browser = [*with_cookie, ("X-Leadcrm", "studio")]
    assert {client.get("/api/session", headers=browser).json()["name"] for _ in range(CONNECTIONS)} == {name}
    one = kept_lead(people, lastName="Cookie")
    changed = client.request("PATCH", f"/api/leads/{one}", body=b'{"status":"called"}', headers=browser)
    assert changed.status == 200
    assert client.request("PATCH", f"/api/leads/{one}", body=b'{"status":"won"}', headers=with_cookie).status == 401
    assert client.get("/api/leads/export", headers=with_cookie).status == 401
    wanted = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "x-leadcrm"}
    asked = [*origin.items(), *wanted.items()]
    preflight = client.request("OPTIONS", f"/api/leads/{one}", headers=asked)
    assert preflight.status == 405
    assert preflight.header("Access-Control-Allow-Headers") is None
    if secure:
        people.run("token", "revoke", name)
    else:
        left = client.request("DELETE", "/api/session", headers=browser)
        assert (left.status, left.header("Set-Cookie")) == (200, "leadcrm=; Max-Age=0; HttpOnly; SameSite=Strict")
    wait_until(
        lambda: {client.get("/api/session", headers=browser).status for _ in range(CONNECTIONS)} == {401},
        what="the cookie to open nothing",
    )


def test_a_sign_in_with_admin_token_is_bound_to_it(people: People) -> None:
    kept = people.ask("POST", "/api/session", X_Actor="gita")
    secret = (kept.header("Set-Cookie") or "").split(";")[0].removeprefix("leadcrm=")
    people.given.append(secret)
    browser = [("Cookie", f"leadcrm={secret}"), ("X-Leadcrm", "studio"), ("X-Actor", "gita")]
    who = people.server.client.get("/api/session", headers=browser).json()
    assert (who["name"], who["role"], who["isKept"]) == (None, None, True)
    assert "tokens" in who["rights"]
    people.rows.execute("UPDATE leads_sessions SET admin_proof = %s WHERE token_id IS NULL", b"another ADMIN_TOKEN's")
    wait_until(
        lambda: people.server.client.get("/api/session", headers=browser).status == 401, what="the sign-in to end"
    )


def test_what_is_read_is_recorded_once_an_hour_and_quotes_no_lead(people: People) -> None:
    boss, one = people.give("helga", "lead"), kept_lead(people, email="secret@example.com")
    for _ in range(3):
        for target in (
            f"/api/leads/{one}",
            f"/api/raw/{one}",
            "/api/leads?country=LV&country=&limit=5",
            "/api/leads?country=LV&country=&limit=6",
            "/api/leads?q=secret%40example.com",
            "/api/leads?email=secret%40example.com",
            "/api/leads?contains=email%3Asecret",
            "/api/raw?state=invalid",
            "/api/feed",
            "/api/choices",
            "/api/stats",
            "/api/leads/count",
        ):
            assert people.as_holder(boss, "GET", target).status == 200
    assert people.as_holder(boss, "GET", f"/api/leads/{STRANGER}").status == 404
    assert people.as_holder(boss, "GET", "/api/leads/export?format=ndjson&country=LV&phone=%2B371").status == 200

    def told() -> set[tuple[str, str | None, str]]:
        entries = people.entries(actor="helga", limit=500)
        return {(entry["action"], entry["leadId"], json.dumps(entry["detail"], sort_keys=True)) for entry in entries}

    expected = {
        ("read", one, "{}"),
        ("read-raw", one, "{}"),
        ("list", None, '{"country": ["LV", ""]}'),
        ("list", None, '{"q": "\\u2026"}'),
        ("list", None, '{"email": "\\u2026"}'),
        ("list", None, '{"contains": "\\u2026"}'),
        ("list-raw", None, '{"state": ["invalid"]}'),
        ("feed", None, "{}"),
        ("export", None, '{"country": ["LV"], "format": ["ndjson"], "phone": "\\u2026"}'),
    }
    wait_until(lambda: told() == expected, what="all that was read to be recorded")
    # Each of the two workers remembers what it has recorded.
    assert len(people.entries(actor="helga", limit=500)) <= 2 * len(expected)


def test_the_command_shows_the_trail_that_the_api_shows(people: People) -> None:
    one = kept_lead(people, lastName="Audited")
    people.run("leads", "show", one)
    people.run("raw", "show", one)
    people.run("leads", "list", "-q", "audited", "--country", "LV")
    people.run("export", "--format", "csv", "--output", "leads.csv")
    people.run("replay", one)
    listed = json.loads(people.run("audit", "--lead", one, "--json"))["entries"]
    assert [(entry["action"], entry["via"]) for entry in listed] == [
        ("replay", "command"), ("read-raw", "command"), ("read", "command"),
    ]  # fmt: skip
    assert listed == people.entries(lead=one)
    (export,) = json.loads(people.run("audit", "--action", "export", "--actor", listed[0]["actor"], "--json"))[
        "entries"
    ]
    assert export["detail"] == {"format": ["csv"]}
    shown = people.run("audit", "--action", "list")
    assert "audited" not in shown
    assert '"country": ["LV"]' in shown
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).isoformat()
    assert json.loads(people.run("audit", "--since", tomorrow, "--json"))["entries"] == []
    assert people.entries(**{"from": tomorrow}) == []
    pages, cursor = [], {}
    while cursor is not None:
        page = people.get("/api/audit", limit=3, lead=one, **cursor)
        pages.append([entry["id"] for entry in page["entries"]])
        cursor = {"cursor": page["next"]} if page["next"] else None
    assert [id for page in pages for id in page] == [entry["id"] for entry in listed]


def test_a_replay_over_http_is_recorded_with_its_change(people: People) -> None:
    row = submission(b"hello", key=None, state="failed", error="a fault of ours")
    keep(people.database, [row])
    boss = people.give("ilze", "lead")
    assert people.as_holder(boss, "POST", f"/api/raw/{row.id}/replay").status == 200
    (entry,) = people.entries(lead=row.id)
    assert (entry["action"], entry["actor"], entry["detail"]["changed"]) == ("replay", "ilze", False)


def test_known_tokens_hold_while_the_database_is_away_and_unknown_ones_wait_for_it(people: People) -> None:
    secret = people.give("juris", "reader")
    assert people.statuses(secret) == {200}
    rows = Rows(people.database)
    with rows_hidden(rows):
        # The route needs the database itself; it is no wrong token.
        assert people.as_holder(secret, "GET", "/api/openapi.json").status == 200
        assert people.as_holder(f"{secret[:-4]}AAAA", "GET", "/api/openapi.json").status == 503
    wait_until(lambda: people.statuses(secret) == {200}, what="the database to be back")


class rows_hidden:  # noqa: N801 - read as a statement
    """The table of tokens is away."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __enter__(self) -> None:
        self._rows.execute("ALTER TABLE leads_tokens RENAME TO hidden_tokens")

    def __exit__(self, *_: object) -> None:
        self._rows.execute("ALTER TABLE hidden_tokens RENAME TO leads_tokens")


def test_the_trail_of_a_lead_outlives_it(people: People) -> None:
    one = kept_lead(people, email="outlived@example.com")
    people.run("leads", "set", one, "--status", "called", "--assigned-to", "outlived by")
    people.run("erase", "--email", "outlived@example.com", "--yes")
    people.run("prune", "--older-than", "9999d", "--yes")
    entries = people.entries(lead=one)
    assert [(entry["action"], entry["via"]) for entry in entries] == [("erase", "command"), ("change", "command")]
    assert entries[1]["detail"] == {"columns": ["status", "assigned_to"]}
    assert people.entries(action="prune")[0]["detail"] == {"rows": 0}
    assert "outlived" not in json.dumps(people.entries(limit=500))
