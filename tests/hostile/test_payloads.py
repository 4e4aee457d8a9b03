"""Bodies that are made to take long or much: laborious ones, and a few bytes of gzip that hold a megabyte."""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.hostile.attackers import flood
from tests.hostile.siege import Siege
from tests.support.conversation import Conversation, lead_request
from tests.support.crm_client import BEARER, ENVIRONMENT, request_head
from tests.support.rows import Rows
from tests.support.waiting import wait_until

ATTACKERS = 64
ATTACK_S = 4.0
STUDIOS = 10
BOMBS = 300

NESTS = b'{"email":1,"x":[' + b",".join([b"[" * 500 + b"]" * 500] * 1_000) + b"]}"
GZIP = (b"Content-Encoding", b"gzip")
FORM = (b"Content-Type", b"application/x-www-form-urlencoded")

LABORIOUS = {
    "gzip of brackets": lead_request(gzip.compress(NESTS), GZIP),
    "escapes in a form": lead_request(b"email=" + b"%41a" * 5_000, FORM),
    "gzip of blanks": lead_request(gzip.compress(b" " * 1_000_000), GZIP),
}


@pytest.mark.parametrize("body", LABORIOUS)
def test_laborious_bodies_keep_nobody_waiting(
    start_server: StartServer, database: str, rows: Rows, siege: Siege, body: str
) -> None:
    server = start_server(database)
    with siege.of(server, rows, f"64 connections that send {body}"), flood(server, ATTACKERS, LABORIOUS[body]):
        siege.wait_acknowledged(int(20 * ATTACK_S))


def test_laborious_bodies_for_a_source_keep_nobody_waiting(
    start_server: StartServer, database: str, rows: Rows, siege: Siege, tmp_path: Path
) -> None:
    file = tmp_path / "sources.toml"
    file.write_text('[source.open]\n[source.secret]\npreset = "google-ads"\nsecret = "s"\n')
    server = start_server(database, environment={"SOURCES_FILE": str(file)})
    new_labels = b"{" + b",".join(b'"label %d":"a"' % number for number in range(2_000)) + b"}"
    leads = b"[" + b",".join([b'{"email":"a@example.com"}'] * 900) + b"]"
    requests = [
        lead_request(gzip.compress(NESTS), GZIP, target=b"/in/open"),
        lead_request(new_labels, target=b"/in/open"),
        lead_request(b"email=" + b"%41a" * 5_000, FORM, target=b"/in/open/wrong"),
        lead_request(leads, target=b"/in/secret"),
    ]
    with siege.of(server, rows, "64 connections that send laborious bodies to sources"), ExitStack() as attack:
        for request in requests:
            attack.enter_context(flood(server, ATTACKERS // len(requests), request))
        siege.wait_acknowledged(int(20 * ATTACK_S))
    assert server.client.metric("leadcrm_postponed_rows_total") > 0
    assert not rows.select("SELECT id FROM leads_raw WHERE state = 'failed' AND source = 'secret'")


def test_a_few_bytes_that_hold_a_megabyte_fill_neither_the_disk_nor_the_memory(
    start_server: StartServer, database: str, rows: Rows, siege: Siege
) -> None:
    server = start_server(database, environment=ENVIRONMENT)
    bomb = gzip.compress(gzip.compress(b'{"marker":"bomb","description":"' + b"a" * 1_000_000 + b'"}'))
    request = lead_request(bomb, (b"Content-Encoding", b"gzip, gzip"))
    with siege.of(server, rows, "10 studios and 300 bombs of gzip"), ExitStack() as stack:
        for _ in range(STUDIOS):
            studio = stack.enter_context(Conversation(server.client))
            studio.send(request_head("/api/leads/stream"))
            studio.wait_for(b": listening")
        sender = stack.enter_context(Conversation(server.client, timeout_s=30))
        for _ in range(BOMBS):
            sender.send(request)
            assert sender.answer().status == 201
        siege.wait_acknowledged()
        page = server.client.get("/api/leads?limit=500", headers=[BEARER])
        assert len(page.body) < 2_000_000
    bombs = "SELECT count(*) AS n, max(length(description)) AS longest FROM leads WHERE marker = 'bomb'"
    found = wait_until(lambda: row if (row := rows.select(bombs)[0])["n"] else None, what="some of the bombs' leads")
    assert found["longest"] == 1_024
