"""The log of a running server: one line for every request, and no payload and no secret in it."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.journal import Journal, Outcome
from tests.support.load import Load, generated_leads
from tests.support.postgres import PASSWORD, PostgresCluster
from tests.support.rows import Rows
from tests.support.secrets import MARK
from tests.support.server import Server
from tests.support.waiting import wait_until

FIELDS = {"time", "level", "msg", "method", "url", "status", "duration_ms", "request_id", "remote_addr"}
LEAD_FIELDS = FIELDS | {"idempotency_key", "lead_id", "outcome"}


def request_records(server: Server) -> list[dict[str, Any]]:
    return [record for record in server.log_records() if record["msg"] == "request"]


def records_of_leads(server: Server, count: int) -> list[dict[str, Any]]:
    """Return the lines of leads once there are `count`: the log is written a moment after the answer."""

    def found() -> list[dict[str, Any]]:
        return [record for record in request_records(server) if record["url"] == "/api/lead"]

    wait_until(lambda: len(found()) >= count)
    assert len(found()) == count
    return found()


def test_every_lead_is_logged_in_one_line_with_its_outcome(start_server: StartServer) -> None:
    server = start_server()
    client = server.client
    answers = [
        client.post_lead(b"{}", key="key-1", headers=[("X-Request-Id", "request-1")], target="/api/lead?email=a"),
        client.post_lead(b"{}", key="key-1"),
        client.post_lead(b"{ }", key="key-1"),
        client.post_lead(b"no"),
        client.post_lead(b"x" * 1_100_000, key="key-2"),
    ]
    records = records_of_leads(server, len(answers))
    assert [record["status"] for record in records] == [answer.status for answer in answers]
    outcomes = [record["outcome"] for record in records]
    assert outcomes == ["created", "duplicate", "conflict", "invalid", "rejected"]
    assert all(record.keys() == LEAD_FIELDS for record in records)
    assert [record["request_id"] for record in records] == [answer.header("X-Request-Id") for answer in answers]
    first = records[0]
    assert (first["method"], first["url"]) == ("POST", "/api/lead")
    assert (first["request_id"], first["idempotency_key"]) == ("request-1", "key-1")
    lead_id = answers[0].json()["lead_id"]
    assert [record["lead_id"] for record in records] == [lead_id, lead_id, lead_id, None, None]
    assert 0 < first["duration_ms"] < 10_000
    logged_at = datetime.fromisoformat(first["time"].replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - logged_at).total_seconds()) < 60


def test_spooled_and_refused_leads_are_logged_with_their_outcomes(start_server: StartServer) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:9/none"
    spooling = start_server(nowhere)
    assert spooling.client.post_lead({}).status == 201
    refusing = start_server(nowhere, wait=False, environment={"SPOOL": "off"})
    refusing.wait_answering()
    assert refusing.client.post_lead({}).status == 503
    assert records_of_leads(spooling, 1)[0]["outcome"] == "spooled"
    assert records_of_leads(refusing, 1)[0]["outcome"] == "error"


def test_every_other_request_is_logged_in_one_line_too(start_server: StartServer) -> None:
    server = start_server()
    client = server.client
    client.get("/nowhere?secret=1")
    client.request("PUT", "/api/lead")
    client.get("/ready")
    client.get("/metrics")
    client.request("OPTIONS", "/api/lead")
    client.send_raw(b"NONSENSE\r\n\r\n")

    def found() -> Counter[tuple[str, int]]:
        records = [record for record in request_records(server) if record["url"] != "/health"]
        assert all(record.keys() >= FIELDS for record in records)
        return Counter((record["url"], record["status"]) for record in records)

    expected = Counter(
        [("/nowhere", 404), ("/api/lead", 405), ("/ready", 200), ("/metrics", 200), ("/api/lead", 204), ("*", 400)]
    )
    wait_until(lambda: found() >= expected)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_under_load_loses_no_line(start_server: StartServer, tmp_path: Path, workers: str) -> None:
    server = start_server(environment={"WORKERS": workers})
    with Journal(tmp_path / "journal") as journal:
        leads = generated_leads(1, repeat_share=0.2, keyless_share=0.2)
        with Load(server.host, server.port, journal, leads, connections=48) as load:
            wait_until(lambda: journal.acknowledged_count >= 500, timeout_s=30)
            os.killpg(server.pid, signal.SIGTERM)
            assert server.exit_status() == 0
            load.stop()
    answered = [entry for entry in journal.entries if entry.outcome is Outcome.ANSWERED]
    logged = [record for record in request_records(server) if record["url"] == "/api/lead"]
    assert len(logged) == len(answered) >= 500
    assert Counter(record["lead_id"] for record in logged) == Counter(entry.lead_id for entry in answered)
    text = server.stdout_path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
    assert server.stderr_path.read_text() == ""


def test_no_payload_and_no_secret_is_ever_logged(start_server: StartServer, own_postgres: PostgresCluster) -> None:
    database = own_postgres.create_database()
    secrets = {"INGEST_TOKEN": f"ingest-{MARK}", "ADMIN_TOKEN": f"admin-{MARK}"}
    server = start_server(database, environment={**secrets, "LOG_LEVEL": "trace"})
    rows = Rows(database)
    rows.execute("ALTER TABLE leads ADD CONSTRAINT refuse CHECK (marker <> 'refused')")
    rows.execute("ALTER TABLE leads_raw ADD CONSTRAINT refuse CHECK (target NOT LIKE '%%refused%%')".replace("%%", "%"))
    client = server.client
    authorized = [("Authorization", f"Bearer ingest-{MARK}"), ("Cookie", MARK), ("User-Agent", MARK)]

    def send(times: int) -> set[int]:
        statuses = set()
        for _ in range(times):
            for body in (
                b'{"email":"%s","marker":"refused"}' % MARK.encode(),
                b'{"email":"%s"}' % MARK.encode(),
                b"%s is no JSON {" % MARK.encode(),
                b"--x\r\n%s" % MARK.encode(),
            ):
                for target in ("/api/lead", f"/api/lead?{MARK}", f"/api/lead?refused={MARK}"):
                    for media_type in ("application/json", "multipart/form-data; boundary=x"):
                        answer = client.post_lead(body, headers=authorized, target=target, content_type=media_type)
                        statuses.add(answer.status)
        return statuses

    assert send(1) == {201, 400}
    client.post_lead({"email": MARK}, headers=[("Authorization", f"Bearer wrong-{MARK}")])
    client.get("/api/leads", headers=[("Authorization", f"Bearer wrong-{MARK}")])
    client.send_raw(b"POST /api/lead HTTP/1.1\r\nX: %s\nY\r\n\r\n" % MARK.encode())
    # Errors of a lost connection and of a missing table quote the statement, with the payload in it.
    own_postgres.stop("immediate")
    assert send(1) == {201, 400}
    own_postgres.start()
    wait_until(lambda: client.metric("leadcrm_workers_with_database") == 1, timeout_s=20)
    own_postgres.execute("ALTER TABLE leads RENAME TO elsewhere", url=database)
    assert send(1) <= {201, 400}
    server.terminate()
    text = server.stdout_path.read_text(encoding="utf-8") + server.stderr_path.read_text(encoding="utf-8")
    assert "refused" not in text.replace("Connection refused", "").replace("the database refused", "")
    assert MARK not in text
    assert PASSWORD not in text


def test_a_level_above_info_leaves_request_lines_out(start_server: StartServer) -> None:
    server = start_server(environment={"LOG_LEVEL": "warn"})
    assert server.client.post_lead({}).status == 201
    assert server.terminate() == 0
    assert server.stdout_path.read_text() == ""
