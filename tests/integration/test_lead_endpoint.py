"""`POST /api/lead`: the exact answers, and the stored rows."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest

from leadcrm.ingest.normalize import NORMALIZER_VERSION
from tests.support.client import Answer
from tests.support.rows import Rows
from tests.support.server import Server

EVERY_FIELD = {
    "click_id": "12345",
    "country": "LV",
    "creo": "banner-1",
    "description": "Interested in trading",
    "domain": "example.com",
    "email": "user@example.com",
    "firstName": "John",
    "ip": "192.168.1.1",
    "lang": "lv",
    "lastName": "Doe",
    "marker": "Pureshka",
    "offer": "Baltic Capital Native",
    "phone": "+371123456789",
    "sourcetype": "web",
}


@pytest.fixture
def stored(shared_server: Server, shared_database: str) -> Rows:
    return Rows(shared_database)


def lead_id_of(answer: Answer) -> str:
    return str(answer.json()["lead_id"])


def test_a_new_lead_is_answered_201_with_exactly_three_keys(shared_server: Server) -> None:
    answer = shared_server.client.post_lead(EVERY_FIELD)
    assert answer.status == 201
    lead_id = lead_id_of(answer)
    assert answer.body == b'{"ok":true,"lead_id":"%s","deduplicated":false}' % lead_id.encode()
    assert answer.header("Content-Type") == "application/json"
    assert str(UUID(lead_id)) == lead_id
    assert UUID(lead_id).version == 7


def test_every_field_is_stored_in_its_column(shared_server: Server, stored: Rows) -> None:
    lead = stored.lead(lead_id_of(shared_server.client.post_lead(EVERY_FIELD)))
    columns = {{"firstName": "first_name", "lastName": "last_name"}.get(name, name): name for name in EVERY_FIELD}
    assert {column: lead[column] for column in columns} == {c: EVERY_FIELD[name] for c, name in columns.items()}
    assert (lead["status"], lead["assigned_to"], lead["normalizer_version"]) == ("new", None, NORMALIZER_VERSION)


def test_a_raw_row_holds_the_whole_request(shared_server: Server, stored: Rows) -> None:
    body = b' {"email" : "a@example.com" , "unknown": [1, 2.50]}\n'
    answer = shared_server.client.post_lead(
        body,
        key="whole-request",
        content_type="application/json; charset=utf-8",
        target="/api/lead?source=banner&x=%41",
        headers=[("X-Request-Id", "request-1"), ("User-Agent", "sender/1.0"), ("X-Twice", "a"), ("X-Twice", "b")],
    )
    row = stored.raw_row(lead_id_of(answer))
    assert row["body"] == body
    assert row["body_sha256"] == hashlib.sha256(body).digest()
    assert (row["method"], row["target"]) == ("POST", "/api/lead?source=banner&x=%41")
    assert (row["request_id"], row["remote_addr"]) == ("request-1", "127.0.0.1")
    assert row["content_type"] == "application/json; charset=utf-8"
    assert row["idempotency_key"] == "whole-request"
    assert row["key_sha256"] == hashlib.sha256(b"whole-request").digest()
    assert (row["state"], row["error"], row["duplicate_of"]) == ("stored", None, None)
    assert row["node"]
    assert row["headers"]["user-agent"] == "sender/1.0"
    assert row["headers"]["x-twice"] == "a, b"


def test_times_are_utc(shared_server: Server, stored: Rows) -> None:
    before = datetime.now(timezone.utc).replace(tzinfo=None)
    lead_id = lead_id_of(shared_server.client.post_lead({}))
    after = datetime.now(timezone.utc).replace(tzinfo=None)
    received_at = stored.raw_row(lead_id)["received_at"]
    assert before <= received_at <= after
    lead = stored.lead(lead_id)
    assert lead["created_at"] == lead["updated_at"] == received_at
    minted_at = datetime.fromtimestamp((UUID(lead_id).int >> 80) / 1000, timezone.utc).replace(tzinfo=None)
    assert abs(minted_at - received_at) < timedelta(seconds=1)


def test_credentials_are_redacted_from_the_stored_headers(shared_server: Server, stored: Rows) -> None:
    secrets = [("Authorization", "Bearer no-log-may-hold"), ("Cookie", "session=no-log-may-hold")]
    row = stored.raw_row(lead_id_of(shared_server.client.post_lead({}, headers=secrets)))
    assert (row["headers"]["authorization"], row["headers"]["cookie"]) == ("[redacted]", "[redacted]")
    assert "no-log-may-hold" not in json.dumps(row["headers"])


def test_an_empty_object_is_a_lead(shared_server: Server, stored: Rows) -> None:
    lead = stored.lead(lead_id_of(shared_server.client.post_lead(b"{}")))
    assert {lead[name] for name in ("email", "phone", "first_name", "description")} == {None}


def test_the_receipt_names_the_raw_row_and_the_hash_of_the_received_bytes(shared_server: Server) -> None:
    body = b'{"email":"receipt@example.com"}'
    answer = shared_server.client.post_lead(body)
    sha256 = hashlib.sha256(body).hexdigest()
    assert answer.header("Lead-Receipt") == f"raw={lead_id_of(answer)}; sha256={sha256}; stored=database"


def test_an_unreadable_body_is_answered_400_and_kept(shared_server: Server, stored: Rows) -> None:
    body = b"\x00\xff neither JSON nor a form"
    answer = shared_server.client.post_lead(body, headers=[("X-Request-Id", "request-2")])
    assert (answer.status, answer.body) == (400, b'{"ok":false,"error":"invalid_payload"}')
    assert answer.header("X-Request-Id") == "request-2"
    assert answer.receipt is not None
    assert answer.receipt.sha256 == hashlib.sha256(body).hexdigest()
    row = stored.raw_row(answer.receipt.raw_id)
    assert (row["state"], row["body"]) == ("invalid", body)
    assert stored.select("SELECT id FROM leads WHERE id = %s", stored.as_id(answer.receipt.raw_id)) == []


def test_a_post_without_a_body_is_answered_400_and_kept(shared_server: Server, stored: Rows) -> None:
    answer = shared_server.client.request("POST", "/api/lead")
    assert answer.status == 400
    assert answer.receipt is not None
    assert stored.raw_row(answer.receipt.raw_id)["body"] == b""


def test_a_request_id_is_echoed_and_a_missing_one_is_generated(shared_server: Server, stored: Rows) -> None:
    own = shared_server.client.post_lead({}, headers=[("X-Request-Id", "abc-123")])
    assert own.header("X-Request-Id") == "abc-123"
    first, second = shared_server.client.post_lead({}), shared_server.client.post_lead({})
    assert first.header("X-Request-Id")
    assert first.header("X-Request-Id") != second.header("X-Request-Id")
    assert stored.raw_row(lead_id_of(first))["request_id"] == first.header("X-Request-Id")


@pytest.mark.parametrize(
    "request_id",
    [
        b"a\rSet-Cookie: session=stolen",
        b"a\nSet-Cookie: session=stolen",
        "a\u0085Set-Cookie: b\u2028c".encode(),
        b"a\x0bb\x0cc\x1bd",
        b"caf\xe9",
    ],
    ids=["CR", "LF", "NEL and LS", "controls", "latin-1"],
)
def test_no_request_id_can_split_the_answer(shared_server: Server, request_id: bytes) -> None:
    content = (
        b"POST /api/lead HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + request_id + b"\r\nContent-Length: 2\r\n"
        b"Connection: close\r\n\r\n{}"
    )
    received = shared_server.client.send_raw(content)
    head, _, _ = received.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    assert b"set-cookie" not in names
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"\r" not in head.replace(b"\r\n", b"")
    assert not set(head.replace(b"\r\n", b"")) & set(range(32))


def test_a_long_request_id_is_shortened_in_the_answer(shared_server: Server) -> None:
    answer = shared_server.client.post_lead({}, headers=[("X-Request-Id", "r" * 8000)])
    assert answer.status == 201
    assert len(answer.header("X-Request-Id") or "") < 1000


def test_unknown_fields_are_kept_only_in_the_raw_body(shared_server: Server, stored: Rows) -> None:
    body = b'{"email":"a","utm_source":"x","status":"sold","assigned_to":"me","id":"1"}'
    lead_id = lead_id_of(shared_server.client.post_lead(body))
    lead = stored.lead(lead_id)
    assert (lead["status"], lead["assigned_to"], lead["id"]) == ("new", None, lead_id)
    assert stored.raw_row(lead_id)["body"] == body
