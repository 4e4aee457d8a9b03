"""No answer before stable storage: the server's system calls, and its settings on PostgreSQL."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.postgres import PostgresServer
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.trace import Call, read_trace, stop, strace, tracer

SENDERS = 8
LEADS_EACH = 25


def marker(sender: int, number: int) -> str:
    return f"traced-{sender:02}-{number:03}@example.com"


def send_leads(client: Client, sender: int) -> None:
    for number in range(LEADS_EACH):
        body = b"unreadable " + marker(sender, number).encode() if number % 5 == 4 else None
        answer = client.post_lead(body or {"email": marker(sender, number)}, timeout_s=60)
        assert answer.status == (400 if body else 201)


def answer_and_its_request(calls: list[Call], marked: str) -> tuple[Call, Call]:
    """Return the call that received the lead's request, and the one that sent its answer."""
    request = next(call for call in calls if marked in call.text and "TCP:" in call.target)
    answers = (call for call in calls if call.target == request.target and call.began > request.ended)
    return request, next(call for call in answers if '"HTTP/1.1 ' in call.text)


@pytest.mark.parametrize("kept_in", ["leadcrm.db-wal", "spool.db-wal"], ids=["database", "spool"])
def test_every_answer_follows_a_completed_sync_of_the_write_that_holds_its_lead(
    start_server: StartServer, tmp_path: Path, kept_in: str
) -> None:
    if strace() is None:
        pytest.skip("strace is not installed")
    output = tmp_path / "trace"
    away = "postgresql://nobody@127.0.0.1:9/none"
    server = start_server(away if kept_in.startswith("spool") else None, tracer=tracer(output))
    senders = [threading.Thread(target=send_leads, args=(server.client, number)) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    stop(server)
    calls = list(read_trace(output))
    log = str(server.data_dir / kept_in)
    writes = [call for call in calls if call.name.startswith("pwrite") and call.target == log]
    syncs = [call for call in calls if call.is_sync and call.target == log]
    assert 1 <= len(syncs) <= SENDERS * LEADS_EACH + 10
    for sender in range(SENDERS):
        for number in range(LEADS_EACH):
            marked = marker(sender, number)
            request, answer = answer_and_its_request(calls, marked)
            write = next(call for call in writes if marked in call.text)
            assert request.ended < write.began, "strace shows this lead's own write"
            sync = next((call for call in syncs if call.began > write.ended), None)
            assert sync is not None, f"{marked} was written and never synced"
            assert sync.ended < answer.began, f"{marked} was answered before its sync had ended"


def test_commits_on_postgres_are_durable_whatever_the_databases_default(
    start_server: StartServer, postgres: PostgresServer, whole_database: str
) -> None:
    rows = Rows(whole_database)
    name = whole_database.rpartition("/")[2]
    postgres.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    server = start_server(whole_database)
    rows.execute("CREATE TABLE seen (setting text)")
    rows.execute(
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$"
    )
    rows.execute("CREATE TRIGGER look BEFORE INSERT ON leads_raw FOR EACH ROW EXECUTE FUNCTION look()")
    answer = server.client.post_lead({})
    assert answer.receipt is not None
    assert answer.receipt.stored == "database"
    assert rows.select("SELECT DISTINCT setting FROM seen") == [{"setting": "on"}]


def test_a_row_is_visible_once_its_sender_has_the_answer(shared_server: Server, shared_database: str) -> None:
    rows = Rows(shared_database)
    for number in range(50):
        lead_id = shared_server.client.post_lead({"phone": str(number)}).json()["lead_id"]
        assert rows.lead(lead_id)["phone"] == str(number)
