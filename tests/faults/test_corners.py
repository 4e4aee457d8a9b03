"""Two faults at once, and faults during a recovery: in each case a response was once wrong or a recovery never came."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import time
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.faults.injection import Injection
from tests.faults.proxy import Proxy
from tests.support.client import Client
from tests.support.conversation import lead_request
from tests.support.exchange import exchange_all
from tests.support.journal import Journal
from tests.support.load import Load, generated_leads
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.waiting import wait_until

COMPRESSED_LEADS = 120


def is_stored(client: Client) -> bool:
    """Say whether a new lead is stored in the database."""
    receipt = client.post_lead(b"{}").receipt
    return receipt is not None and receipt.stored == "database"


def test_a_repeat_that_cannot_be_spooled_costs_its_batch_nothing(
    start_server: StartServer, own_postgres: PostgresCluster, injection: Injection
) -> None:
    """The first request is in the spool, the disk is full, the database is healthy."""
    database = own_postgres.create_database()
    server = start_server(database, environment=injection.environment)
    wait_until(lambda: is_stored(server.client))
    own_postgres.stop("immediate")
    assert server.client.post_lead({"email": "first"}, key="K").status == 201
    # Hold the lock as another draining process would.
    lock = os.open(server.data_dir / "spool.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    own_postgres.start()
    wait_until(lambda: is_stored(server.client))
    injection.set_free_bytes(1000)
    time.sleep(0.2)
    requests = [lead_request(b'{"email":"keyless %d"}' % number) for number in range(20)]
    repeat = lead_request(b'{"email":"first"}', key=b"K")
    answers = exchange_all(server, [*requests[:10], repeat, *requests[10:]], connections=21)
    statuses = [answer.status for answer in answers]
    injection.set_free_bytes(-1)
    os.close(lock)
    server.wait_drained()
    assert statuses == [201] * 10 + [503] + [201] * 10
    assert {lead["email"] for lead in Rows(database).leads()} >= {f"keyless {number}" for number in range(20)}


@pytest.mark.parametrize("is_away", [True, False], ids=["spooled", "burst"])
def test_compressed_leads_take_no_more_memory_or_time_than_there_is(
    start_server: StartServer, own_postgres: PostgresCluster, is_away: bool
) -> None:
    """Each lead is a megabyte of text in a few kilobytes."""
    server = start_server(own_postgres.create_database())
    wait_until(lambda: is_stored(server.client))
    body = gzip.compress(json.dumps({"description": "abcdefghij klmnop " * 55_000}).encode())
    requests = [
        lead_request(body, (b"Content-Encoding", b"gzip"), key=b"compressed %d" % number)
        for number in range(COMPRESSED_LEADS)
    ]
    idle_bytes = server.memory_bytes()
    if is_away:
        own_postgres.stop("immediate")
    with server.memory_peak() as memory:
        answers = exchange_all(server, requests, connections=COMPRESSED_LEADS, timeout_s=60)
    statuses = {answer.status for answer in answers}
    assert statuses <= {201, 503}
    assert 201 in statuses
    if is_away:
        own_postgres.start()
    server.wait_drained(60)
    wait_until(lambda: is_stored(server.client))
    assert memory.peak_bytes - idle_bytes < 400 * 1024 * 1024


@pytest.mark.parametrize("messages", [3, 4])
def test_a_database_that_falls_silent_right_after_the_connection_is_tried_anew(
    start_server: StartServer, own_postgres: PostgresCluster, messages: int
) -> None:
    proxy = Proxy(own_postgres.port)
    database = own_postgres.create_database().replace(f":{own_postgres.port}/", f":{proxy.port}/")
    server = start_server(database)
    wait_until(lambda: is_stored(server.client))
    proxy.cut(messages=messages)
    assert server.client.post_lead({}).status == 201
    wait_until(lambda: proxy.has_swallowed)
    # Silent connections stay silent; new ones work from now on.
    proxy.let_new_ones_be()
    wait_until(lambda: is_stored(server.client), timeout_s=15)
    proxy.close()


def test_a_spool_that_cannot_be_salvaged_keeps_no_lead_from_the_database(
    start_server: StartServer, own_postgres: PostgresCluster
) -> None:
    server = start_server(own_postgres.create_database())
    wait_until(lambda: is_stored(server.client))
    own_postgres.stop("immediate")
    assert server.client.post_lead({}).status == 201
    server.kill9()
    (server.data_dir / "spool.db").write_bytes(b"x" * 8192)
    lock = server.data_dir / "spool.lock"
    lock.unlink(missing_ok=True)
    # A folder in its place cannot be opened.
    lock.mkdir()
    server.start(wait=False).wait_answering()
    assert server.client.post_lead({}).status == 201
    own_postgres.start()
    wait_until(lambda: is_stored(server.client), timeout_s=15)


@pytest.mark.alone
def test_after_a_pause_no_lead_that_is_kept_is_called_unkept(
    start_server: StartServer, database: str, rows: Rows, tmp_path: Path
) -> None:
    server = start_server(database)
    wait_until(lambda: is_stored(server.client))
    with (
        Journal(tmp_path / "journal") as journal,
        Load(server.host, server.port, journal, generated_leads(7, keyless_share=1.0), connections=64, most_s=60),
    ):
        time.sleep(0.5)
        for _ in range(2):
            server.freeze()
            time.sleep(3.2)
            server.thaw()
            time.sleep(1)
    entries = journal.entries
    server.wait_drained()
    assert len(entries) > 100
    assert [entry.status for entry in entries if entry.status == 503] == []
    assert len(rows.leads()) >= len(entries)
