"""The CRM over HTTP: access, one lead, changes, export, statistics and the stream."""

from __future__ import annotations

import csv
import io
import json
import socket
import threading
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import StartServer
from tests.support.client import Answer
from tests.support.conversation import Conversation
from tests.support.crm import keep, submission
from tests.support.crm_client import ENVIRONMENT, TOKEN, Crm, request_head


def lead(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_one_lead_comes_with_its_request_and_history(crm: Crm) -> None:
    body = b'{"email": "whole@example.com"}'
    lead_id = crm.server.client.post_lead(body, key="whole").json()["lead_id"]
    crm.server.client.post_lead(body, key="whole")
    conflict = crm.server.client.post_lead(b'{"email":"other"}', key="whole")
    assert conflict.receipt is not None
    seen = crm.get(f"/api/leads/{conflict.receipt.raw_id}")
    assert (seen["lead"]["id"], seen["way"]) == (lead_id, [conflict.receipt.raw_id])
    assert (seen["raw"]["body"], seen["raw"]["bodyEncoding"]) == (body.decode(), "text")
    assert seen["duplicates"] == {"repeats": 1, "conflicts": 1}
    assert seen["events"] == []


def test_of_two_who_saw_the_same_version_one_changes_it(crm: Crm) -> None:
    lead_id = crm.server.client.post_lead({"email": "two@example.com"}).json()["lead_id"]
    target = f"/api/leads/{lead_id}"
    tag = crm.ask("GET", target).header("ETag")
    assert tag is not None
    first = crm.ask("PATCH", target, {"status": "won"}, If_Match=tag, X_Actor=quote("J\u0101nis"))
    second = crm.ask("PATCH", target, {"status": "lost"}, If_Match=tag)
    assert (first.status, second.status) == (200, 412)
    assert second.json()["lead"]["status"] == "won"
    third = crm.ask("PATCH", target, {"assignedTo": "anna"}, If_Match=second.header("ETag") or "")
    assert third.json()["assignedTo"] == "anna"
    assert crm.ask("PATCH", target, {"assignedTo": "anna"}).header("ETag") == third.header("ETag")
    events = crm.get(target)["events"]
    assert [(event["field"], event["from"], event["to"], event["by"]) for event in events] == [
        ("status", "new", "won", "J\u0101nis"),
        ("assignedTo", None, "anna", "api"),
    ]


def test_each_version_is_later_than_the_one_before_though_the_clock_was_set_back(crm: Crm) -> None:
    row = submission(lead(), received_at=datetime.now(timezone.utc) + timedelta(hours=1))
    keep(crm.database, [row])
    target = f"/api/leads/{row.id}"
    documents = [crm.get(target)["lead"]]
    tag = crm.ask("GET", target).header("ETag") or ""
    documents += [crm.ask("PATCH", target, {"status": status}).json() for status in ("called", "won")]
    versions = [document["updatedAt"] for document in documents]
    assert versions == sorted(set(versions))
    assert crm.ask("PATCH", target, {"status": "lost"}, If_Match=tag).status == 412


def test_no_control_character_is_kept_of_the_name_of_who_makes_a_change(crm: Crm) -> None:
    target = f"/api/leads/{crm.server.client.post_lead({}).json()['lead_id']}"
    changed = crm.ask("PATCH", target, {"status": "won"}, X_Actor=quote("a\x00b\x1b\u009bc\n"))
    assert changed.status == 200
    assert [event["by"] for event in crm.get(target)["events"]] == ["a\ufffdb\ufffd\ufffdc\ufffd"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"offer": "x"},
        {"email": "x" * 321},
        {"email": 1},
        {"phone": "1\u009b"},
        {"status": ""},
        {"status": None},
        {"status": "a\nb"},
        {"status": "x" * 201},
        {"assignedTo": 1},
        [],
        "x",
    ],
)
def test_a_change_of_anything_else_is_refused_by_name(crm: Crm, document: Any) -> None:
    lead_id = crm.server.client.post_lead({"email": "refuse@example.com"}).json()["lead_id"]
    answer = crm.ask("PATCH", f"/api/leads/{lead_id}", document)
    assert answer.status == 400
    if isinstance(document, dict):
        assert all(name in answer.json()["message"] for name in document)
    assert crm.get(f"/api/leads/{lead_id}")["events"] == []


def test_many_leads_are_changed_at_once(crm: Crm) -> None:
    ids = [crm.server.client.post_lead({"marker": "bulk"}).json()["lead_id"] for _ in range(3)]
    unknown = "00000000-0000-7000-8000-00000000dead"
    crm.ask("PATCH", f"/api/leads/{ids[0]}", {"assignedTo": "anna"})
    answer = crm.ask("POST", "/api/leads/bulk", {"ids": [*ids, unknown], "assignedTo": "anna"})
    assert answer.json() == {"changed": 2, "unchanged": 1, "missing": [unknown]}
    assert crm.ids(marker="bulk", assignedTo="anna") == ids[::-1]


def test_an_export_holds_what_the_filter_asks_for(crm: Crm) -> None:
    sent = [
        submission(lead(marker="export", firstName=f"=cmd{number}\x1b", description="a;=1;b; -1\t+1"))
        for number in range(1_100)
    ]
    keep(crm.database, [*sent, submission(lead(marker="other"))])
    answer = crm.ask("GET", "/api/leads/export?format=csv&marker=export")
    assert answer.status == 200
    assert answer.header(
        "Content-Disposition",
    ).startswith('attachment; filename="leads-')  # type: ignore[union-attr]
    records = list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"), newline="")))
    assert [record["id"] for record in records] == [row.id for row in reversed(sent)]
    assert records[-1]["firstName"] == "'=cmd0\x1b"
    assert records[-1]["description"] == "a;'=1;b; -1\t'+1"
    lines = crm.ask("GET", "/api/leads/export?format=ndjson&marker=export").body.splitlines()
    assert [json.loads(line)["firstName"] for line in lines[:1]] == ["=cmd1099\x1b"]
    assert crm.ask("GET", "/api/leads/export?marker=nothing").body.count(b"\r\n") == 1


def test_requests_that_are_no_leads_are_listed_shown_and_replayed(crm: Crm) -> None:
    bad = crm.server.client.post_lead(b"\xff", key="inbox")
    assert bad.receipt is not None
    raw_id = bad.receipt.raw_id
    assert raw_id in [row["id"] for row in crm.get("/api/raw", state="invalid")["rows"]]
    assert crm.get(f"/api/raw/{raw_id}")["bodyEncoding"] == "base64"
    assert crm.get(f"/api/leads/{raw_id}")["lead"] is None
    again = crm.ask("POST", f"/api/raw/{raw_id}/replay").json()
    assert (again["state"], again["changed"], again["leadId"]) == ("invalid", False, None)
    mended = submission(lead(email="mended@example.com"), state="invalid", error="a fault of ours")
    keep(crm.database, [mended])
    done = crm.ask("POST", f"/api/raw/{mended.id}/replay").json()
    assert (done["state"], done["changed"], done["leadId"]) == ("stored", True, mended.id)
    assert crm.get(f"/api/leads/{mended.id}")["lead"]["email"] == "mended@example.com"


def test_the_inbox_has_pages(crm: Crm) -> None:
    before = len(crm.get("/api/raw", limit=500)["rows"])
    keep(crm.database, [submission(b"bad", state="invalid", error="no") for _ in range(5)])
    pages, cursor = [], {}
    while True:
        page = crm.get("/api/raw", limit=2, **cursor)
        pages.append([row["id"] for row in page["rows"]])
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    found = [identifier for page in pages for identifier in page]
    assert len(found) == len(set(found)) == before + 5
    assert found == sorted(found, reverse=True)


def test_statistics_count_what_arrived_by_time_source_and_outcome(crm: Crm) -> None:
    noon = datetime(2023, 5, 1, 12, tzinfo=timezone.utc)

    def at(minutes: int, number: int, body: bytes | None = None, **fields: Any) -> Any:
        received_at = noon + timedelta(minutes=minutes)
        identifier = f"{int(received_at.timestamp() * 1000):012x}"
        return submission(
            body or lead(**fields),
            received_at=received_at,
            lead_id=f"{identifier[:8]}-{identifier[8:]}-7000-8000-{number:012}",
        )

    keep(
        crm.database,
        [
            *(at(0, 1, country="LV"), at(59, 2, country="LV"), at(60, 3, country="LT"), at(61, 4, body=b"bad")),
            # The first and the last moment of the period, and those before and after.
            *(at(minutes, 5 + minutes, body=b"bad") for minutes in (0, 1, 119)),
            *(at(minutes, 300 + minutes, body=b"bad") for minutes in (-1, 120)),
            *(at(minutes, 600 + minutes, country="LT") for minutes in (-1, 120)),
        ],
    )
    counted = crm.get("/api/stats", step="hour", **{"from": "2023-05-01T12:00:00Z", "to": "2023-05-01T14:00:00Z"})
    none = dict.fromkeys(("repeats", "conflicts", "failed", "unverified", "unrouted", "events", "batches"), 0)
    assert counted["steps"] == [
        {"at": "2023-05-01T12:00:00Z", "created": 2, "invalid": 2, **none},
        {"at": "2023-05-01T13:00:00Z", "created": 1, "invalid": 2, **none},
    ]
    assert counted["outcomes"] == {"created": 3, "invalid": 4, "spooled": 0, **none}
    assert counted["by"]["country"] == [{"value": "LV", "leads": 2}, {"value": "LT", "leads": 1}]
    assert counted["by"]["status"] == [{"value": "new", "leads": 3}]


def test_statistics_and_requests_narrow_by_source_and_tests_count_only_where_they_are_asked_for(crm: Crm) -> None:
    noon = datetime(2022, 5, 1, 12, tzinfo=timezone.utc)
    rows = [
        submission(lead(country="LV"), received_at=noon, lead_id=f"01807f5e-5200-7000-8000-{number:012}")
        for number in range(4)
    ]
    rows[1] = rows[1]._replace(source="ads")
    rows[2] = rows[2]._replace(source="ads", is_test=True)
    keep(crm.database, [*rows, submission(b"bad", received_at=noon, lead_id="01807f5e-5200-7000-8000-000000000009")])

    def leads(**asked: Any) -> tuple[int, int]:
        counted = crm.get("/api/stats", **{"from": "2022-05-01", "to": "2022-05-01", **asked})
        return counted["outcomes"]["created"], counted["outcomes"]["invalid"]

    assert [leads(), leads(source="ads"), leads(source=["ads", "api"])] == [(3, 1), (1, 0), (3, 1)]
    assert [leads(tests="include"), leads(tests="only", source="ads"), leads(source="o'clock")] == [
        (4, 1),
        (1, 0),
        (0, 0),
    ]
    found = crm.get("/api/raw", source="ads", state="stored")["rows"]
    assert [row["id"] for row in found] == [rows[2].id, rows[1].id]
    assert crm.get("/api/raw", source="ads", state="stored", order="stored")["rows"] == found[::-1]
    assert crm.get("/api/raw", source="ads")["rows"] == []


def test_new_leads_and_changes_are_announced(crm: Crm) -> None:
    with Conversation(crm.server.client) as stream:
        stream.send(request_head("/api/leads/stream"))
        stream.wait_for(b": listening")
        lead_id = crm.server.client.post_lead({"marker": "live"}).json()["lead_id"].encode()
        stream.wait_for(b"event: lead.created")
        stream.wait_for(lead_id)
        crm.ask("PATCH", f"/api/leads/{lead_id.decode()}", {"status": "won"})
        stream.wait_for(b"event: lead.changed")
        stream.wait_for(lead_id)


def test_a_wrong_token_is_answered_slowly_and_one_after_the_other(crm: Crm) -> None:
    started = time.monotonic()
    wrong = [("Authorization", "Bearer wrong")]
    answers: list[Answer] = []
    guesses = [
        threading.Thread(target=lambda: answers.append(crm.server.client.get("/api/leads", headers=wrong)))
        for _ in range(3)
    ]
    for guess in guesses:
        guess.start()
    for guess in guesses:
        guess.join()
    assert [answer.status for answer in answers] == [401, 401, 401]
    assert time.monotonic() - started >= 1.4
    assert crm.server.client.get("/api/leads").status == 401
    assert crm.get("/api/leads", limit=1)["leads"] is not None
    assert TOKEN not in crm.server.log_text()


@pytest.mark.parametrize(
    "target",
    ["/api/leads?limit=0", "/api/leads?cuntry=LV", "/api/leads?cursor=x", "/api/leads?from=now", "/api/leads?q=%00",
     "/api/raw?state=lost", "/api/stats?from=0001-01-01", "/api/leads?limit=1&limit=2", "/api/leads?country=%ED%A0%80",
     "/api/leads?from=20261126", "/api/leads?parameters=are" + "&country=a" * 1000],
)  # fmt: skip
def test_a_parameter_that_is_not_understood_is_named(crm: Crm, target: str) -> None:
    answer = crm.ask("GET", target)
    if target.endswith("%ED%A0%80"):
        assert answer.status in (200, 400)
        return
    name = target.partition("?")[2].partition("=")[0]
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
    assert name in answer.json()["message"]


@pytest.mark.parametrize(
    ("asked", "steps"),
    [("from=0001-01-01&to=0001-01-02", 48), ("to=0001-01-01", 24),
     ("from=9999-12-31T00:00:00Z&to=9999-12-31T23:30:00Z&step=hour", 24),
     ("from=9999-12-31&to=9999-12-31T01:00:00Z", 1)],
)  # fmt: skip
def test_the_first_and_the_last_day_of_all_are_counted(crm: Crm, asked: str, steps: int) -> None:
    answer = crm.ask("GET", f"/api/stats?{asked}")
    assert (answer.status, len(answer.json()["steps"])) == (200, steps)


def test_a_quick_count_is_never_returned_stale(crm: Crm) -> None:
    before = crm.get("/api/stats", **{"from": "2024-02-01", "to": "2024-02-01"})
    row = submission(
        lead(),
        received_at=datetime(2024, 2, 1, 12, tzinfo=timezone.utc),
        lead_id="018d6000-0000-7000-8000-000000000000",
    )
    keep(crm.database, [row])
    # Longer than the count stays fresh.
    time.sleep(1.5)
    after = crm.get("/api/stats", **{"from": "2024-02-01", "to": "2024-02-01"})
    assert after["outcomes"]["created"] == before["outcomes"]["created"] + 1


def test_files_and_streams_have_the_id_of_their_request(crm: Crm) -> None:
    for target in ("/api/leads/export?marker=nothing", "/api/leads/stream"):
        with Conversation(crm.server.client) as connection:
            head = f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nX-Request-Id: of-mine\r\n\r\n"
            connection.send(head.encode())
            connection.wait_for(b"x-request-id: of-mine\r\n")


def test_an_unknown_method_gets_405_with_the_methods_that_a_lead_has(crm: Crm) -> None:
    answer = crm.ask("DELETE", "/api/leads/01a215a5-0173-7729-b351-52b3f6e90a06")
    assert (answer.status, answer.header("Allow")) == (405, "GET, PATCH")


def test_every_route_says_how_to_open_the_crm_where_no_token_is_set(start_server: StartServer) -> None:
    server = start_server()
    for target in ("/api/leads", "/api/raw", "/api/stats", "/api/leads/export", "/api/openapi.json", "/api/leads/x"):
        answer = server.client.get(target, headers=[("Authorization", "Bearer ")])
        assert answer.status == 403
        assert "ADMIN_TOKEN" in answer.json()["message"]


def test_a_stream_does_not_delay_the_stop(start_server: StartServer) -> None:
    server = start_server(environment=ENVIRONMENT)
    with Conversation(server.client) as stream:
        stream.send(request_head("/api/leads/stream"))
        stream.wait_for(b": listening")
        assert server.terminate(timeout_s=10) == 0


def test_an_export_shows_one_moment_though_leads_change_meanwhile(database: str, start_server: StartServer) -> None:
    keep(database, [submission(lead(description="x" * 20_000)) for _ in range(800)])
    crm = Crm(start_server(database, environment=ENVIRONMENT), database)
    received = b""
    with closing(socket.create_connection((crm.server.host, crm.server.port), timeout=60)) as connection:
        head = "GET /api/leads/export?format=ndjson HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        connection.sendall(f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode())
        received += connection.recv(65536)
        ids = crm.ids(limit=500)
        crm.ask("POST", "/api/leads/bulk", {"ids": ids, "status": "changed"})
        oldest = [row["id"] for row in crm.rows.select("SELECT id FROM leads ORDER BY id LIMIT 500")]
        crm.ask("POST", "/api/leads/bulk", {"ids": oldest, "status": "changed"})
        crm.server.client.post_lead({"marker": "later"})
        while part := connection.recv(1 << 20):
            received += part
    assert received.count(b'"status":"new"') == 800
    assert b'"changed"' not in received
    assert received.rstrip().endswith(b"0")
