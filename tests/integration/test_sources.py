"""`/in/{source}`: who may send, what is kept of those who may not, and what each sender is told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadcrm.sources.live import SEEN_FILE
from tests.conftest import StartServer, server_starter
from tests.support.client import Answer
from tests.support.crm import run_command
from tests.support.rows import Row, Rows
from tests.support.server import Server
from tests.support.texts import replace_text
from tests.support.waiting import wait_until

TOKEN = "path-token-0123456789"
SOURCES = f"""
[source.open]
[source.cyrillic]
charset = "windows-1251"
[source.tokened]
secret = ["{TOKEN}", "the-next-token-98765"]
[source.meta]
preset = "meta-leadgen"
secret = "appsecret"
[source.linkedin]
preset = "linkedin"
secret = "clientsecret"
[source.zoom]
preset = "zoom"
secret = "zoomsecret"
[source.slack]
verify = {{kind = "hmac", header = "x-slack-signature", prefix = "v0=", signed = "v0:{{timestamp}}:{{body}}", \
timestamp = "header:x-slack-request-timestamp", handshake = "slack"}}
secret = "slacksecret"
[source.webflow]
preset = "webflow"
secret = "wfsecret"
[source.keyless]
verify = {{kind = "hmac", header = "x-sig", signed = "{{timestamp}}.{{body}}", timestamp = "header:x-time"}}
secret = "s"
[source.google]
preset = "google-ads"
secret = "gkey"
[source.basic]
verify = {{kind = "basic"}}
secret = "user:password"
[source.shop]
verify = {{kind = "query", name = "pass"}}
secret = "query-secret-12345"
[source.form]
preset = "html-form"
respond.location = "/thanks?id={{lead_id}}"
[source.off]
enabled = false
respond.created = 202
[source.resting]
enabled = false
secret = "{TOKEN}"
[source.gone]
verify = {{kind = "query", name = "pass"}}
respond.created = 201
[source.twin-a]
key = "id"
[source.twin-b]
key = "id"
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sources") / "sources.toml"
    path.write_text(SOURCES)
    return path


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, shared_database: str, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    replace_text(file, SOURCES)
    for start in server_starter(request.node, tmp_path_factory.mktemp("server")):
        server = start(shared_database, environment={"SOURCES_FILE": str(file), "ADMIN_TOKEN": "admin"})
        # The process writes it once it knows its version, which the database has before.
        wait_until((server.data_dir / SEEN_FILE).exists, what="a version")
        yield server


@pytest.fixture
def stored(shared_database: str) -> Rows:
    return Rows(shared_database)


def post(server: Server, target: str, body: bytes | object = b"", **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return server.client.request("POST", f"/in/{target}", body=content, headers=named)


def raw_of(rows: Rows, answer: Answer) -> Row:
    assert answer.receipt is not None
    return rows.raw_row(answer.receipt.raw_id)


def signature(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def test_a_request_becomes_a_lead_of_its_source(server: Server, stored: Rows) -> None:
    answer = post(server, "open", {"E-mail": "a@example.com", "Vārds": "Una", "Uzvārds": "Ozola"})
    lead_id = answer.json()["lead_id"]
    assert (answer.status, answer.body) == (200, b'{"ok":true,"lead_id":"%s","deduplicated":false}' % lead_id.encode())
    lead, raw = stored.lead(lead_id), raw_of(stored, answer)
    assert (lead["email"], lead["first_name"], lead["last_name"]) == ("a@example.com", "Una", "Ozola")
    assert (lead["source"], bool(lead["is_test"]), raw["source"], raw["state"]) == ("open", False, "open", "stored")
    (version,) = stored.select("SELECT text FROM source_versions WHERE version = %s", raw["mapping_version"])
    assert "[source.open]" in version["text"]
    assert TOKEN not in version["text"]


def test_a_query_that_was_glued_to_the_path_is_read(server: Server, stored: Rows) -> None:
    """Trackers append `&name=value` to any URL that they are given."""
    for target in ("open&email=glued%40example.com&name=Una", "open&email=glued%40example.com?name=Una"):
        answer = server.client.request("GET", f"/in/{target}")
        lead, raw = stored.lead(answer.json()["lead_id"]), raw_of(stored, answer)
        assert (lead["email"], lead["first_name"]) == ("glued@example.com", "Una")
        assert raw["target"] == "/in/open?email=glued%40example.com&name=Una"
    assert server.client.request("GET", "/in/nobodys&email=glued%40example.com").status == 404
    assert server.client.request("POST", "/api/lead&email=glued%40example.com").status == 404
    assert "glued" not in json.dumps(server.log_records())


def test_letters_arrive_however_their_sender_encodes_them(server: Server, stored: Rows) -> None:
    part = b"--B\r\nContent-Disposition: form-data; name*=utf-8''%D0%98%D0%BC%D1%8F\r\n\r\n&#1040;&#1085;&#1103;"
    for query, body, content_type in (
        ("?%u0418%u043C%u044F=%u0410%u043D%u044F&email=a@b.lv", b"", ""),
        ("?name=%25D0%2590%25D0%25BD%25D1%258F&email=a%2540b.lv", b"", ""),
        ("", part, "multipart/form-data; boundary=B"),
        ("", b"name=%C0%ED%FF&email=a@b.lv", "application/x-www-form-urlencoded"),
        ("", b'{"name":"&#1040;&#x43d;&#1103;","email":"a@b.lv"}', "application/json"),
    ):
        headers = [("Content-Type", content_type)] if content_type else []
        answer = server.client.request("POST", f"/in/cyrillic{query}", body=body, headers=headers)
        assert stored.lead(answer.json()["lead_id"])["first_name"] == "Аня"
        assert raw_of(stored, answer)["body"] == body


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (f"tokened/{TOKEN}", {}),
        ("tokened/the-next-token-98765", {}),
        ("tokened", {"Authorization": f"Bearer {TOKEN}"}),
        ("tokened", {"X_Api_Key": TOKEN}),
        (f"tokened?token={TOKEN}", {}),
        ("basic", {"Authorization": "Basic " + base64.b64encode(b"user:password").decode()}),
        ("shop?pass=query-secret-12345&gclid=1", {}),
    ],
)
def test_a_token_proves_the_sender_and_is_kept_nowhere(
    server: Server, stored: Rows, target: str, headers: dict[str, str]
) -> None:
    answer = post(server, target, {"email": "a@example.com"}, **headers)
    assert answer.status == 200
    raw = raw_of(stored, answer)
    kept = json.dumps([raw["target"], raw["headers"], raw["error"]])
    for secret in (TOKEN, "the-next-token-98765", "query-secret-12345", base64.b64encode(b"user:password").decode()):
        assert secret not in kept
        assert secret not in server.log_text()
        assert secret not in server.client.get("/metrics").body.decode()


@pytest.mark.parametrize(
    "target", ["tokened", "tokened/wrong", "basic", "shop?pass=wrong", "google", "meta", "webflow"]
)
def test_a_request_that_is_not_proved_is_kept_and_answered_401(server: Server, stored: Rows, target: str) -> None:
    answer = post(server, target, {"email": "a@example.com"})
    assert (answer.status, answer.body) == (401, b'{"ok":false,"error":"unauthorized"}')
    raw = raw_of(stored, answer)
    assert (raw["state"], bytes(raw["body"]), raw["key_sha256"]) == ("unverified", b'{"email": "a@example.com"}', None)
    assert not stored.select("SELECT id FROM leads WHERE id = %s", stored.as_id(str(raw["id"])))
    assert "wrong" not in raw["target"]


def test_a_signature_is_good_wrong_old_or_replayed(server: Server, stored: Rows) -> None:
    body = b'{"triggerType":"form_submission","payload":{"id":"w-1","data":{"Email":"w@example.com"}}}'
    old = signature("wfsecret", b"1764144000000:" + body)
    stamps = {"x_webflow_timestamp": "1764144000000"}
    ids = {post(server, "webflow", body, x_webflow_signature=old, **stamps).json()["lead_id"] for _ in range(3)}
    # Its key makes a replay the same lead, whatever its age.
    assert len(ids) == 1
    assert post(server, "webflow", body, x_webflow_signature=old, x_webflow_timestamp="1764144000001").status == 401
    assert post(server, "webflow", body + b" ", x_webflow_signature=old, **stamps).status == 401
    assert post(server, "webflow", body, x_webflow_signature="zz", **stamps).status == 401
    # With a key of the sender's choice, a replay would be another lead.
    assert post(server, "webflow", body, x_webflow_signature=old, idempotency_key="k", **stamps).status == 401
    keyless = b'{"email":"a@example.com"}'
    stamp = "1764144000"
    answer = post(server, "keyless", keyless, x_sig=signature("s", f"{stamp}.".encode() + keyless), x_time=stamp)
    assert (answer.status, raw_of(stored, answer)["state"]) == (401, "unverified")
    assert "old" in raw_of(stored, answer)["error"]
    # The same bytes, divided elsewhere: a time that is none is not now.
    divided = signature("s", f"{stamp}.".encode() + keyless)
    at, rest = f'{stamp}.{{"email":"a@example', b'com"}'
    assert post(server, "keyless", rest, x_sig=divided, x_time=at).status == 401
    now = datetime.now(timezone.utc).isoformat()
    fresh = signature("s", f"{now}.".encode() + keyless)
    assert post(server, "keyless", keyless, x_sig=fresh, x_time=now).status == 200


def test_handshakes_are_answered_if_they_are_proved(server: Server) -> None:
    meta = "/in/meta?hub.mode=subscribe&hub.challenge=115<b>8&hub.verify_token="
    answer = server.client.get(meta + "appsecret")
    assert (answer.status, answer.body) == (200, b"115<b>8")
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert server.client.get(meta + "wrong").status == 401
    code = "890e4665-4dfe-4ab1-b689-ed553bceeed0"
    answer = server.client.get(f"/in/linkedin?challengeCode={code}")
    expected = {"challengeCode": code, "challengeResponse": signature("clientsecret", code.encode())}
    assert (answer.status, answer.json()) == (200, expected)
    forged = quote('hmacsha256={"type":"LEAD_ACTION"}')
    assert server.client.get(f"/in/linkedin?challengeCode={forged}").status == 401


def test_handshakes_in_a_body_are_answered_if_they_are_proved(server: Server, stored: Rows) -> None:
    def ask(source: str, asked: object, *, secret: str, age_s: int = 0) -> Answer:
        body, stamp = json.dumps(asked).encode(), str(int(datetime.now(timezone.utc).timestamp()) - age_s)
        signed = "v0=" + signature(secret, f"v0:{stamp}:".encode() + body)
        mark = {"zoom": "x_zm", "slack": "x_slack"}[source]
        return post(server, source, body, **{f"{mark}_signature": signed, f"{mark}_request_timestamp": stamp})

    zoom = {"event": "endpoint.url_validation", "event_ts": 1, "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
    answer = ask("zoom", zoom, secret="zoomsecret")
    token = signature("zoomsecret", b"qgg8vlvZRS6UYooatFL8Aw")
    assert answer.json() == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": token}
    assert (answer.status, raw_of(stored, answer)["state"]) == (200, "event")
    forged = {"event": "endpoint.url_validation", "payload": {"plainToken": 'v0:1:{"event":"x"}'}}
    assert b"encryptedToken" not in ask("zoom", forged, secret="zoomsecret").body
    slack = {"token": "t", "challenge": "3eZbrw1aBm2r<b>", "type": "url_verification"}
    answer = ask("slack", slack, secret="slacksecret")
    assert (answer.status, answer.body) == (200, b"3eZbrw1aBm2r<b>")
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"
    for source, asked in (("zoom", zoom), ("slack", slack)):
        assert ask(source, asked, secret="wrong").status == 401
        assert ask(source, asked, secret=f"{source}secret", age_s=3600).status == 401
        assert post(server, "open", asked).status == 200
    assert b"3eZbrw" not in post(server, "open", slack).body, "a source without such a handshake answers as ever"


def test_a_probe_is_kept_and_is_no_lead(server: Server, stored: Rows) -> None:
    for method in ("HEAD", "GET"):
        answer = server.client.request(method, "/in/open")
        assert (answer.status, raw_of(stored, answer)["state"]) == (200, "event")
    assert server.client.request("PUT", "/in/open", body=b'{"email":"p@example.com"}').status == 200
    assert server.client.request("DELETE", "/in/open").status == 405


def test_an_unknown_source_is_404_and_its_token_is_not_logged(server: Server) -> None:
    quoted = "".join(f"%{ord(letter):02x}" for letter in "in")
    paths = [f"/in/{target}" for target in ("nobody", f"nobody/{TOKEN}", f"open/{TOKEN}/more", f"OPEN/{TOKEN}")]
    paths += [f"/{quoted}/open/{TOKEN}", f"/in/open;{TOKEN}", f"/api/lead/in/open/{TOKEN}", f"/in%2Fopen%2F{TOKEN}"]
    for path in paths:
        assert server.client.request("POST", path, body=b"{}").status == 404
    assert post(server, f"tokened?a=1;token={TOKEN}", {}).status == 401
    assert TOKEN not in server.log_text()


def test_a_body_with_many_leads_is_a_batch_with_a_part_for_each(server: Server, stored: Rows) -> None:
    people = [{"email": f"{number}@many.example", "id": number} for number in range(1000)]
    answer = post(server, "twin-a", people)
    document = answer.json()
    assert (answer.status, len(document["leads"]), document["deduplicated"]) == (200, 1000, False)
    parts = stored.select("SELECT * FROM leads_raw WHERE part_of = %s ORDER BY id", stored.as_id(document["lead_id"]))
    assert [json.loads(bytes(part["body"])) for part in parts] == people
    assert {part["state"] for part in parts} == {"stored"}
    batch = raw_of(stored, answer)
    assert (batch["state"], json.loads(bytes(batch["body"]))) == ("batch", people)
    again = post(server, "twin-a", [*people[:0:-1], {"email": "new@many.example", "id": 1000}])
    assert again.json()["deduplicated"] is False
    assert sum(lead["deduplicated"] for lead in again.json()["leads"]) == 999
    known = [lead["lead_id"] for lead in document["leads"]]
    assert [lead["lead_id"] for lead in again.json()["leads"][:999]] == known[:0:-1]
    (count,) = stored.select("SELECT count(*) AS n FROM leads WHERE source = 'twin-a'")
    assert count["n"] == 1001


def test_lines_of_json_are_a_lead_each_and_the_requests_key_covers_them(server: Server, stored: Rows) -> None:
    body = b'{"email":"1@lines.example"}\n{"email":"2@lines.example"}\n'
    answers = [post(server, "open", body, idempotency_key="lines") for _ in range(2)]
    assert [answer.json()["deduplicated"] for answer in answers] == [False, True]
    assert len(stored.select("SELECT id FROM leads WHERE email LIKE '%%@lines.example'")) == 2


def test_more_leads_than_a_body_may_hold_are_kept_and_refused(server: Server, stored: Rows) -> None:
    answer = post(server, "open", [{"email": "a@example.com"}] * 1001)
    assert (answer.status, raw_of(stored, answer)["state"]) == (400, "invalid")


def test_each_source_has_keys_of_its_own(server: Server) -> None:
    body = {"id": "same", "email": "a@example.com"}
    first, second = post(server, "twin-a", body).json(), post(server, "twin-b", body).json()
    assert first["deduplicated"] is second["deduplicated"] is False
    assert first["lead_id"] != second["lead_id"]
    again = post(server, "twin-b", body).json()
    assert (again["deduplicated"], again["lead_id"]) == (True, second["lead_id"])
    other = server.client.post_lead({"email": "a@example.com"}, key="same")
    assert other.status == 201


def test_a_form_leads_the_browser_on(server: Server) -> None:
    answer = post(server, "form", b"name=Una", content_type="application/x-www-form-urlencoded")
    assert answer.receipt is not None
    assert (answer.status, answer.header("Location")) == (303, f"/thanks?id={answer.receipt.raw_id}")


def test_a_test_lead_is_kept_and_left_out_of_lists(server: Server, stored: Rows) -> None:
    body = {"lead_id": "t-1", "google_key": "gkey", "is_test": True,
            "user_column_data": [{"column_id": "EMAIL", "string_value": "test@tests.example"}]}  # fmt: skip
    answer = post(server, "google", body)
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.receipt is not None
    assert stored.lead(answer.receipt.raw_id)["is_test"] in (1, True)
    admin = [("Authorization", "Bearer admin")]
    for query, count in (("", 0), ("&tests=include", 1), ("&tests=only", 1)):
        leads = server.client.get(f"/api/leads?email=test@tests.example{query}", headers=admin).json()["leads"]
        assert len(leads) == count
    assert leads[0]["isTest"] is True
    assert leads[0]["source"] == "google"
    listed = server.client.get("/api/leads?source=google&tests=only", headers=admin).json()["leads"]
    assert {lead["source"] for lead in listed} == {"google"}


def test_a_source_that_is_off_or_taken_out_keeps_requests_and_answers_as_before(
    server: Server, stored: Rows, file: Path
) -> None:
    answer = post(server, "off", {"email": "off@example.com"})
    assert (answer.status, raw_of(stored, answer)["state"]) == (202, "unrouted")
    assert post(server, "gone", {"email": "before@example.com"}).status == 201
    before, _, after = SOURCES.partition("[source.gone]")
    replace_text(file, before + after[after.index("[source.") :])
    wait_until(
        lambda: raw_of(stored, post(server, "gone", {"email": "after@example.com"}))["state"] == "unrouted",
        what="the source to be taken out",
    )
    answer = post(server, "gone?pass=query-secret-54321", {"email": "after@example.com"})
    assert (answer.status, raw_of(stored, answer)["target"]) == (201, "/in/gone?pass=***")
    # A file that is being written is empty for a moment.
    replace_text(file, "")
    wait_until(lambda: "SOURCES_FILE" in str(server.client.get("/ready").json()["fault"]), what="the fault to be told")
    assert raw_of(stored, post(server, "open", {"email": "a@example.com"}))["state"] == "stored"
    replace_text(file, SOURCES)
    wait_until(
        lambda: raw_of(stored, post(server, "gone", {"email": "back@example.com"}))["state"] == "stored",
        what="the source to be back",
    )


def test_a_faulty_text_is_refused_and_the_one_before_stays(server: Server, file: Path) -> None:
    replace_text(file, SOURCES + "\n[source.broken]\nmap.email = 'a-b'\n")
    wait_until(lambda: "SOURCES_FILE" in str(server.client.get("/ready").json()["fault"]), what="the fault to be told")
    assert server.client.get("/health").status == 200
    assert post(server, "open", {"email": "a@example.com"}).status == 200
    warnings = [record["msg"] for record in server.log_records() if "the sources stay as they are" in record["msg"]]
    assert "source broken: map.email" in warnings[-1]
    replace_text(file, SOURCES)
    wait_until(lambda: server.client.get("/ready").json()["fault"] is None, what="the fault to be over")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_text_of_no_tables_ends_nothing(
    start_server: StartServer, database: str, tmp_path: Path, workers: str
) -> None:
    file = tmp_path / "sources.toml"
    replace_text(file, SOURCES)
    server = start_server(database, environment={"SOURCES_FILE": str(file), "WORKERS": workers})
    replace_text(file, "[[source]]\n")
    wait_until(lambda: "SOURCES_FILE" in str(server.client.get("/ready").json()["fault"]), what="the fault to be told")
    # The supervisor looks twice a second.
    time.sleep(1.5)
    assert post(server, "open", {"email": "a@example.com"}).status == 200


def test_requests_are_verified_again_once_the_secret_is_mended(
    server: Server, stored: Rows, shared_database: str, file: Path, tmp_path: Path
) -> None:
    body = b'{"lead_id":"m-1","google_key":"mended","user_column_data":[]}'
    answers = [post(server, "google", body), post(server, "tokened/mended-token", {"email": "m@example.com"})]
    assert [answer.status for answer in answers] == [401, 401]
    mended = tmp_path / "mended.toml"
    mended.write_text(SOURCES.replace('"gkey"', '"mended"').replace(f'"{TOKEN}"', '"mended-token"'))
    ids = [str(raw_of(stored, answer)["id"]) for answer in answers]
    unmended = run_command(tmp_path, shared_database, "replay", *ids, "--sources-file", str(file))
    assert (unmended.returncode, stored.raw_row(ids[0])["state"]) == (1, "unverified")
    replayed = run_command(tmp_path, shared_database, "replay", *ids, "--sources-file", str(mended))
    assert replayed.returncode == 0, replayed.stderr
    assert [stored.lead(id)["source"] for id in ids] == ["google", "tokened"]
    assert stored.raw_row(ids[0])["idempotency_key"] == "m-1"


def test_what_was_never_verified_is_verified_in_a_replay_whatever_its_headers_say(
    server: Server, stored: Rows, shared_database: str, tmp_path: Path
) -> None:
    forged = {"Leadcrm_Credentials": "no digest"}
    strangers = [post(server, "resting", {"email": "s@example.com"}, **forged), post(server, "tokened", {}, **forged)]
    own = post(server, f"resting/{TOKEN}", {"email": "own@example.com"})
    on = tmp_path / "on.toml"
    on.write_text(SOURCES.replace("enabled = false", ""))
    ids = [str(raw_of(stored, answer)["id"]) for answer in (*strangers, own)]
    run_command(tmp_path, shared_database, "replay", *ids, "--sources-file", str(on))
    assert [stored.raw_row(id)["state"] for id in ids] == ["unverified", "unverified", "stored"]


def test_a_batch_that_was_unrouted_becomes_leads_in_a_replay(
    server: Server, stored: Rows, shared_database: str, tmp_path: Path
) -> None:
    answer = post(server, "off", [{"email": "1@replayed.example"}, {"email": "2@replayed.example"}])
    on = tmp_path / "on.toml"
    on.write_text(SOURCES.replace("enabled = false", ""))
    id = str(raw_of(stored, answer)["id"])
    for _ in range(2):
        run_command(tmp_path, shared_database, "replay", id, "--sources-file", str(on))
    assert stored.raw_row(id)["state"] == "batch"
    assert len(stored.select("SELECT id FROM leads WHERE email LIKE '%%@replayed.example'")) == 2
    verified = run_command(tmp_path, shared_database, "verify")
    assert verified.returncode == 0, verified.stdout


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.sampled_from(["open", "tokened", "meta", "webflow", "google", "form", "shop", "off", "twin-a"]),
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode) | st.sampled_from(
        [b"[" * 2000, b'{"a":' * 900, b"a[b][c]=1&a[b]=2&a=3&=&[]=", b"[1,2]", b"[[]]", b"{}", b"null", b'"{}"',
         b'{"lead_id":1e999,"email":"\\ud800","google_key":["x"]}', b'\xff\xfe{"a":1}', b"--x\r\n\r\n--x--"]
    ),
    st.sampled_from(["", "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                     "text/plain", "application/json; charset=utf-16"]),
    st.sampled_from(["", "?a=1&a=2&%ff=%00", "?hub.mode=subscribe&hub.challenge=x", "?" + "&".join(["a"] * 600)]),
)  # fmt: skip
def test_whatever_is_sent_is_kept_byte_for_byte_and_never_fails(
    server: Server, stored: Rows, source: str, body: bytes, content_type: str, query: str
) -> None:
    answer = post(server, source + query, body, content_type=content_type)
    assert answer.status < 500
    raw = raw_of(stored, answer)
    assert raw["state"] != "failed", raw["error"]
    assert bytes(raw["body"] or body) == body
    assert bytes(raw["body_sha256"]) == hashlib.sha256(body).digest()
