"""The parts of the harness together with the real server, on both databases."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support.comparison import compare
from tests.support.journal import Journal, read_journal
from tests.support.load import Load, generated_leads
from tests.support.rows import Rows
from tests.support.server import Server, StartServer
from tests.support.waiting import wait_until


def test_a_lead_is_found_as_it_was_sent(shared_server: Server, shared_database: str) -> None:
    body = b'{"email": "a@example.com", "phone": 1.10}'
    answer = shared_server.client.post_lead(body, key=b"caf\xe9")
    lead_id = answer.json()["lead_id"]
    assert answer.status == 201
    assert answer.receipt is not None
    assert (answer.receipt.raw_id, answer.receipt.sha256) == (lead_id, hashlib.sha256(body).hexdigest())
    rows = Rows(shared_database)
    assert rows.raw_row(lead_id)["body"] == body
    assert rows.raw_row(lead_id)["key_sha256"] == hashlib.sha256(b"caf\xe9").digest()
    assert rows.lead(lead_id)["phone"] == "1.10"


def test_a_journal_agrees_with_the_rows_though_the_server_was_killed(
    start_server: StartServer, database: str, rows: Rows, tmp_path: Path
) -> None:
    server = start_server(database, environment={"WORKERS": "2"})
    leads = generated_leads(1, repeat_share=0.3, conflict_share=0.1, keyless_share=0.1)
    with Journal(tmp_path / "journal") as journal:
        with Load(server.host, server.port, journal, leads, connections=16, most_leads=600) as load:
            wait_until(lambda: journal.acknowledged_count >= 200)
            server.kill9()
            server.start()
            load.wait()
        server.wait_drained()
        server.terminate()
    report = compare(read_journal(journal.path), rows)
    assert report.faults() == {}
    assert report.kept_share > 0.99
