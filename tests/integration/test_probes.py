"""`GET /health`, `/ready` and `/metrics`: the verdict, its parts, and the numbers of all workers together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from itertools import chain

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StartServer, server_starter
from tests.support.client import Client
from tests.support.command import leadcrm
from tests.support.conversation import Conversation, lead_request
from tests.support.postgres import PostgresCluster
from tests.support.rows import sqlite_path
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.workers import connections_to_each_worker

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def two_workers(
    request: pytest.FixtureRequest, shared_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server of two workers that has kept one lead."""
    start: StartServer
    for start in server_starter(request.node, tmp_path_factory.mktemp("two-workers")):
        server = start(shared_database, environment={"WORKERS": "2"})
        assert server.client.post_lead({}).status == 201
        yield server


def assert_now(text: str) -> None:
    assert TIMESTAMP.fullmatch(text)
    told = datetime.fromisoformat(text.replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - told).total_seconds()) < 10


def test_health_says_ok_and_the_time(two_workers: Server) -> None:
    answer = two_workers.client.get("/health", headers=[("X-Request-Id", "probe-1")])
    told = answer.json()
    assert answer.status == 200
    assert list(told) == ["ok", "timestamp"]
    assert told["ok"] is True
    assert_now(told["timestamp"])
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("X-Request-Id") == "probe-1"
    assert answer.header("Cache-Control") == "no-store"


@pytest.mark.parametrize(
    ("check", "body"),
    [
        (b"OPTIONS / HTTP/1.0\r\n\r\n", b"leadcrm\n"),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"leadcrm\n"),
    ],
)
def test_the_default_checks_of_a_load_balancer_are_answered(two_workers: Server, check: bytes, body: bytes) -> None:
    with Conversation(two_workers.client) as connection:
        connection.send(check)
        head, _, rest = connection.rest().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert rest == body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (lead_request(b"{}"), 201),
        (b"OPTIONS /api/lead HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\r\n", 204),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /studio HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"no HTTP\r\n\r\n", 400),
    ],
)
def test_every_answer_has_its_date(two_workers: Server, request_bytes: bytes, status: int) -> None:
    with Conversation(two_workers.client) as connection:
        connection.send(request_bytes)
        answer = connection.answer()
    assert answer.status == status
    told = parsedate_to_datetime(answer.header("Date") or "")
    assert abs((datetime.now(timezone.utc) - told).total_seconds()) < 10


def test_an_idle_connection_is_closed_when_keep_alive_times_out(start_server: StartServer) -> None:
    server = start_server(environment={"KEEP_ALIVE_TIMEOUT": "0.2"})
    with Conversation(server.client) as connection:
        connection.send(lead_request(b"{}"))
        assert connection.answer().header("Connection") == "keep-alive"
        assert connection.rest() == b""


@pytest.mark.parametrize("target", ["/health", "/ready", "/metrics"])
def test_a_head_request_is_answered_without_a_body(two_workers: Server, target: str) -> None:
    with Conversation(two_workers.client) as connection:
        connection.send(b"HEAD %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target.encode())
        head, separator, body = connection.rest().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert separator
    assert body == b""


def test_readiness_names_the_parts_of_the_verdict(two_workers: Server) -> None:
    answer = two_workers.client.get("/ready")
    told = answer.json()
    assert answer.status == 200
    assert (told["ok"], told["database"], told["fault"]) == (True, "up", None)
    assert told["schema_version"] >= 1
    assert told["spool"].items() >= {"rows": 0, "refused": 0, "oldest": None}.items()
    assert told["disk_free_bytes"] > 0
    assert_now(told["timestamp"])


def test_the_sizes_of_the_files_and_their_logs_are_metrics(two_workers: Server, shared_database: str) -> None:
    files = {"spool": two_workers.data_dir / "spool.db"}
    if shared_database.startswith("sqlite"):
        files["database"] = sqlite_path(shared_database)

    def are_told() -> bool:
        families = text_string_to_metric_families(two_workers.client.get("/metrics").body.decode())
        (sizes,) = [family for family in families if family.name == "leadcrm_file_bytes"]
        told = {sample.labels["file"]: sample.value for sample in sizes.samples}
        return told == {
            f"{name}{suffix}": path.with_name(path.name + ending).stat().st_size
            for name, path in files.items()
            for suffix, ending in (("", ""), ("_log", "-wal"))
        }

    wait_until(are_told)


def test_readiness_tells_when_leads_wait_in_the_spool(start_server: StartServer) -> None:
    server = start_server("postgresql://nobody@127.0.0.1:9/none")
    assert server.client.post_lead({}).receipt.stored == "spool"  # type: ignore[union-attr]
    wait_until(lambda: server.client.get("/ready").json()["spool"]["rows"] == 1)
    answer = server.client.get("/ready")
    told = answer.json()
    assert answer.status == 200
    assert (told["ok"], told["database"]) == (True, "down")
    assert told["fault"] == "the database is away", "anyone may read it, and the driver's text names host and user"
    assert told["spool"]["bytes"] > 0
    assert_now(told["spool"]["oldest"])
    assert server.client.metric("leadcrm_spool_rows") == 1


def test_readiness_says_that_a_lead_found_no_room_in_the_spool(start_server: StartServer) -> None:
    server = start_server("postgresql://nobody@127.0.0.1:9/none", environment={"SPOOL_BYTES": "100kB"})
    assert server.client.post_lead({"description": "x" * 90_000}).status == 503
    # An answer of a quarter of a second ago may be given again.
    wait_until(lambda: "could not be kept" in server.client.get("/ready").json()["fault"])
    assert server.client.get("/ready").json()["fault"].count("has reached SPOOL_BYTES") == 1


def test_without_a_spool_and_an_embedded_database_the_data_folder_may_be_missing(
    start_server: StartServer, whole_database: str
) -> None:
    """As in a container whose root is read-only. Not even root can make a folder there."""
    server = start_server(whole_database, environment={"SPOOL": "off", "DATA_DIR": "/proc/leadcrm"})
    assert server.client.post_lead({}).status == 201
    told = server.client.get("/ready").json()
    assert (told["ok"], told["fault"]) == (True, None)
    checked = leadcrm(server.directory, "check", **server.environment)
    assert checked.returncode == 0, checked.stdout


def test_without_database_and_spool_the_probes_say_503(start_server: StartServer) -> None:
    server = start_server("postgresql://nobody@127.0.0.1:9/none", wait=False, environment={"SPOOL": "off"})
    server.wait_answering()
    for target in ("/health", "/ready"):
        answer = server.client.get(target)
        assert (answer.status, answer.json()["ok"]) == (503, False)
    assert server.client.get("/ready").json()["spool"] is None
    assert server.client.metric("leadcrm_ready") == 0


@pytest.mark.parametrize("fault", ["stopped", "frozen"])
def test_an_idle_server_notices_that_the_database_is_gone(
    start_server: StartServer, own_postgres: PostgresCluster, fault: str
) -> None:
    server = start_server(own_postgres.create_database(), environment={"SPOOL": "off"})
    assert server.client.post_lead({}).status == 201
    if fault == "stopped":
        own_postgres.stop()
    else:
        own_postgres.freeze()
    wait_until(lambda: server.client.get("/health").status == 503)
    told = server.client.get("/ready").json()
    assert (told["database"], told["schema_version"]) == ("down", None)
    assert "database" in told["fault"]
    if fault == "stopped":
        own_postgres.start()
    else:
        own_postgres.thaw()
    wait_until(lambda: server.client.get("/health").status == 200)
    assert server.client.post_lead({}).status == 201


def test_readiness_tells_of_a_schema_that_is_too_old(start_server: StartServer, whole_database: str) -> None:
    server = start_server(whole_database, arguments=["--no-migrate"])
    wait_until(lambda: "schema is version 0" in server.client.get("/ready").json()["fault"])


def test_metrics_are_in_prometheus_text(two_workers: Server) -> None:
    answer = two_workers.client.get("/metrics")
    assert answer.status == 200
    assert (answer.header("Content-Type") or "").startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    assert all(family.documentation for family in families.values())
    assert all(name.startswith("leadcrm_") for name in families)


def test_metrics_count_the_answers_of_all_workers(two_workers: Server) -> None:
    client = two_workers.client
    counted = {outcome: client.metric("leadcrm_leads_total", outcome=outcome) for outcome in ("created", "invalid")}
    answers = client.metric("leadcrm_request_duration_seconds_count")
    received = client.metric("leadcrm_received_bytes_total")
    with connections_to_each_worker(two_workers, 20) as held:
        assert len(held) == 2
        for connection in chain(*held):
            connection.send(lead_request(b"{}"))
            assert connection.answer().status == 201
            connection.send(lead_request(b"no"))
            assert connection.answer().status == 400
    assert client.metric("leadcrm_leads_total", outcome="created") == counted["created"] + 40
    assert client.metric("leadcrm_leads_total", outcome="invalid") == counted["invalid"] + 40
    assert client.metric("leadcrm_request_duration_seconds_count") == answers + 80
    assert client.metric("leadcrm_received_bytes_total") == received + 160
    assert client.metric("leadcrm_workers") == 2
    wait_until(lambda: client.metric("leadcrm_batch_rows_total") >= 81)


def test_every_outcome_of_a_lead_is_counted_by_its_name(shared_server: Server) -> None:
    client: Client = shared_server.client
    client.post_lead(b"{}", key="counted")
    client.post_lead(b"{}", key="counted")
    client.post_lead(b"{ }", key="counted")
    client.post_lead(b"no")
    client.post_lead(b"x" * 1_100_000)
    outcomes = ("created", "duplicate", "conflict", "invalid", "rejected", "spooled", "error")
    assert [client.metric("leadcrm_leads_total", outcome=outcome) for outcome in outcomes] == [1, 1, 1, 1, 1, 0, 0]
