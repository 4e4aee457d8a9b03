"""Two workers, one node: what each of them does counts for both, and neither speaks for the other."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StartServer, server_starter
from tests.support.client import Answer
from tests.support.conversation import Conversation, lead_request
from tests.support.server import REPOSITORY, Server
from tests.support.service_manager import Manager
from tests.support.waiting import wait_until
from tests.support.workers import connections_to_each_worker

HOLD_THE_SECOND_CHILD_UP = """\
import os, time
count = 0
def counted():
    global count
    count += 1
def wait_for_leave():
    while count == 2 and not os.path.exists({leave!r}):
        time.sleep(0.01)
os.register_at_fork(before=counted, after_in_child=wait_for_leave)
"""


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    start: StartServer
    for start in server_starter(request.node, tmp_path_factory.mktemp("node")):
        yield start(environment={"WORKERS": "2"})


def get(connection: Conversation, target: bytes) -> Answer:
    connection.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection.answer()


def samples(connection: Conversation) -> dict[str, float]:
    """Return what a worker says of the node, without what changes by itself."""
    families = text_string_to_metric_families(get(connection, b"/metrics").body.decode())
    every = {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in families
        for sample in family.samples
    }
    return {name: value for name, value in every.items() if "disk_free" not in name and "spool_bytes" not in name}


def test_every_worker_tells_the_same_of_the_whole_node(server: Server) -> None:
    with connections_to_each_worker(server, 2) as ((one, _), (other, half_sent)):
        for connection, count in ((one, 3), (other, 5)):
            for _ in range(count):
                connection.send(lead_request(b"{}"))
                assert connection.answer().status == 201
            connection.send(lead_request(b"no"))
            assert connection.answer().status == 400
        half_sent.send(b"POST /api/lead HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b" " * 700)

        wait_until(lambda: samples(one)["leadcrm_queue_bytes[]"] == 700)

        def told_of_the_whole() -> bool:
            told = samples(one)
            # The log comes a moment later.
            logged = [record for record in server.log_records() if "outcome" in record]
            outcomes = Counter(record["outcome"] for record in logged)
            expected = {
                "leadcrm_leads_total[('outcome', 'created')]": outcomes["created"],
                "leadcrm_leads_total[('outcome', 'invalid')]": outcomes["invalid"],
                "leadcrm_request_duration_seconds_count[]": len(logged),
                "leadcrm_request_duration_seconds_bucket[('le', '+Inf')]": len(logged),
                "leadcrm_request_duration_seconds_sum[]": pytest.approx(
                    sum(r["duration_ms"] for r in logged) / 1000, rel=0.01
                ),
                "leadcrm_received_bytes_total[]": 2 * len(logged),
                "leadcrm_queue_bytes[]": 700,
                "leadcrm_workers[]": 2,
                "leadcrm_workers_with_database[]": 2,
            }
            return told == samples(other) and all(told[name] == value for name, value in expected.items())

        wait_until(told_of_the_whole, what="both workers to tell of all leads")
        half_sent.send(b" " * 298 + b"{}")
        assert half_sent.answer().status == 201
        kept = len(server.embedded_rows().raw())
        wait_until(lambda: samples(one) == samples(other) and samples(one)["leadcrm_batch_rows_total[]"] == kept)


def test_the_last_commit_is_the_last_of_all_workers(server: Server) -> None:
    name = "leadcrm_last_commit_timestamp_seconds[]"
    with connections_to_each_worker(server, 1) as ((one,), (other,)):
        for committing in (one, other, one):
            sent_at = time.time()
            committing.send(lead_request(b"{}"))
            assert committing.answer().status == 201
            for asked in (one, other):
                wait_until(lambda asked=asked, sent_at=sent_at: samples(asked)[name] >= sent_at)  # type: ignore[misc]
                told = get(asked, b"/ready").json()["last_commit"].replace("Z", "+00:00")
                # In milliseconds.
                assert datetime.fromisoformat(told).timestamp() >= sent_at - 0.001


def test_a_key_is_used_up_for_every_worker(server: Server) -> None:
    with connections_to_each_worker(server, 1) as ((one,), (other,)):
        answers = []
        for connection in (one, other, other, one):
            connection.send(lead_request(b"{}", key=b"of both"))
            answers.append(connection.answer())
    assert [answer.status for answer in answers] == [201, 409, 409, 409]
    assert len({answer.json()["lead_id"] for answer in answers}) == 1


def test_it_says_ready_only_when_the_slower_worker_serves(start_server: StartServer, tmp_path: Path) -> None:
    leave = tmp_path / "leave"
    (tmp_path / "sitecustomize.py").write_text(HOLD_THE_SECOND_CHILD_UP.format(leave=str(leave)))
    with closing(Manager(tmp_path / "notify")) as manager:
        server = start_server(
            environment={**manager.environment, "WORKERS": "2", "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
        )
        # The other one is healthy by now, and the supervisor looks twice a second.
        assert server.client.metric("leadcrm_workers") == 1
        assert not manager.tells_within(1.2)
        leave.touch()
        assert manager.told() == "READY=1"
        assert server.client.metric("leadcrm_workers") == 2
        server.send_signal(signal.SIGTERM)
        manager.wait_told("STOPPING=1")
        assert server.exit_status() == 0
