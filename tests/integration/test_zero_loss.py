"""A server killed at random moments under load: the client's journal and the database agree on every lead."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.comparison import compare
from tests.support.journal import Journal, Outcome, read_journal
from tests.support.load import Load, generated_leads
from tests.support.rows import Rows
from tests.support.waiting import wait_until

KILLS = 8
ACKNOWLEDGED = 3_000
CONNECTIONS = 64


@pytest.mark.timeout(300)
def test_eight_kills_lose_and_double_no_lead_of_three_thousand(
    start_server: StartServer, database: str, rows: Rows, tmp_path: Path
) -> None:
    moments = random.Random(time.time_ns())
    server = start_server(database, environment={"WORKERS": "2"})
    leads = generated_leads(moments.randrange(1_000_000), repeat_share=0.25, conflict_share=0.05, keyless_share=0.2)
    with (
        Journal(tmp_path / "journal") as journal,
        Load(server.host, server.port, journal, leads, connections=CONNECTIONS, most_s=280, timeout_s=20) as load,
    ):
        for kill in range(1, KILLS + 1):
            share = ACKNOWLEDGED * kill // KILLS
            wait_until(lambda share=share: journal.acknowledged_count >= share, timeout_s=120)  # type: ignore[misc]
            time.sleep(moments.uniform(0, 0.2))  # a random moment, not a wait for a condition
            server.kill9()
            server.start(wait=False)
            if kill % 4 == 0:
                # Kill it while it starts, recovers and drains, too.
                time.sleep(moments.uniform(0, 1.0))
                server.kill9()
                server.start(wait=False)
        load.stop()
    server.wait_healthy(60)
    wait_until(lambda: server.client.metric("leadcrm_workers_with_database") == 2, timeout_s=30)
    wait_until(lambda: server.client.get("/ready").json()["spool"]["rows"] == 0, timeout_s=60)
    assert server.terminate() == 0

    report = compare(read_journal(journal.path), rows)
    assert report.faults() == {}
    assert report.failed == []
    assert report.kept_share == 1
    assert sum(report.answers_by_status.values()) >= ACKNOWLEDGED
    # Proves that the kills hit requests in flight.
    assert report.outcomes.get(Outcome.UNANSWERED, 0) >= KILLS
    stored = {row["id"] for row in rows.raw() if row["state"] == "stored"}
    assert stored == {row["id"] for row in rows.leads()}
