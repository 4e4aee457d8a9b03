"""More leads than can be kept: 503 with Retry-After over the queue's limit, and flat memory."""

from __future__ import annotations

import itertools
import json
import resource
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.faults.trial import Trial
from tests.support.load import Lead, Load
from tests.support.rows import Rows
from tests.support.waiting import wait_until

CONNECTIONS = 2000
BODY_BYTES = 100_000
QUEUE_BYTES = 32 * 1024 * 1024
ALLOWANCE_BYTES = 150 * 1024 * 1024


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Raise the limit of open connections for this process and its server to the system's maximum."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def large_leads() -> Iterator[Lead]:
    for number in itertools.count():
        yield Lead(b"large %d" % number, json.dumps({"click_id": str(number), "text": "x" * BODY_BYTES}).encode())


@pytest.mark.alone
@pytest.mark.usefixtures("many_descriptors")
def test_an_overload_is_answered_503_with_flat_memory(
    start_server: StartServer, database: str, rows: Rows, trial: Trial
) -> None:
    server = start_server(database, environment={"QUEUE_BYTES": str(QUEUE_BYTES)})
    idle_bytes = server.memory_bytes()
    with (
        server.memory_peak() as memory,
        Load(
            server.host,
            server.port,
            trial.journal,
            large_leads(),
            connections=CONNECTIONS,
            most_s=8,
            timeout_s=60,
        ) as load,
    ):
        load.wait()
    grown = memory.peak_bytes - idle_bytes
    print(f"memory: idle {idle_bytes / 1e6:.0f} MB, peak {memory.peak_bytes / 1e6:.0f} MB")
    assert grown <= QUEUE_BYTES + ALLOWANCE_BYTES
    kind = "SQLite" if rows.is_sqlite else "PostgreSQL"
    server.wait_healthy()
    server.wait_drained()
    # Bodies that did not get their turn were kept first and are read now.
    unread = "SELECT id FROM leads_raw WHERE state = 'failed'"
    wait_until(lambda: not rows.select(unread), timeout_s=60, what="the leads of all rows")
    trial.judge(
        f"{CONNECTIONS} connections pushing {BODY_BYTES // 1000} KB bodies, {kind}",
        server,
        rows,
        least_kept_share=0,
        # Most of it is the client's own: two thousand bodies share its processor, and sending counts.
        slowest_answer_s=60,
        slowest_at_server_s=60,
    )
