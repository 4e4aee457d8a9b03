"""A body that takes long to read is kept and answered like any other, and its lead is made in a quiet moment."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import StartServer
from tests.support.client import parse_receipt
from tests.support.conversation import lead_request
from tests.support.exchange import exchange_all
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

LABORIOUS = b'{"email":1.10,"x":[' + b",".join([b"[" * 500 + b"]" * 500] * 150) + b"]}"
"""It takes some tens of milliseconds: too long for many of them to be read before they are answered."""


def raw_ids(bodies: list[bytes], server: Server) -> list[str]:
    ids = []
    for answer in exchange_all(server, [lead_request(body) for body in bodies]):
        assert answer.status == 201
        receipt = parse_receipt({name.lower(): value for name, value in answer.headers}["lead-receipt"])
        assert receipt is not None
        ids.append(receipt.raw_id)
    return ids


def test_many_laborious_bodies_become_leads_in_the_end(start_server: StartServer, database: str, rows: Rows) -> None:
    server = start_server(database)
    assert server.client.post_lead(LABORIOUS).status == 201
    assert [lead["email"] for lead in rows.leads()] == ["1.10"], "a lone one is read before it is answered"
    ids = raw_ids([LABORIOUS] * 16, server)
    assert server.client.metric("leadcrm_postponed_rows_total") > 0
    assert server.client.get("/ready").json()["fault"] is None
    wait_until(lambda: all(rows.raw_row(id)["state"] == "stored" for id in ids), timeout_s=20, what="their leads")
    assert [rows.lead(id)["email"] for id in ids] == ["1.10"] * len(ids)
    assert {rows.raw_row(id)["error"] for id in ids} == {None}


def test_a_laborious_body_in_the_spool_becomes_a_lead(start_server: StartServer, database: str, rows: Rows) -> None:
    server = start_server(database)
    with rows.writes_blocked():
        ids = raw_ids([LABORIOUS] * 8, server)
    wait_until(lambda: len(rows.leads()) == len(ids), timeout_s=20, what="their leads")
    assert {rows.raw_row(id)["state"] for id in ids} == {"stored"}


def test_laborious_bodies_of_a_source_become_its_leads_under_the_keys_within(
    start_server: StartServer, database: str, rows: Rows, tmp_path: Path
) -> None:
    file = tmp_path / "sources.toml"
    file.write_text('[source.tool]\npreset = "zapier"\n')
    server = start_server(database, environment={"SOURCES_FILE": str(file)})
    answers = ",".join(f'"answer {number}":"a"' for number in range(20_000))
    bodies = [f'{{"email":"a@example.com","lead_id":"{number % 8 + 1}",{answers}}}'.encode() for number in range(24)]
    many = b"[" + b",".join([b'{"email":"b@example.com"}'] * 1_000) + b"]"
    requests = [lead_request(body, target=b"/in/tool") for body in [*bodies, many]]
    assert {answer.status for answer in exchange_all(server, requests)} == {200}
    assert server.client.metric("leadcrm_postponed_rows_total") > 0
    # A busy machine keeps some of them in the spool first.
    server.wait_drained()
    wait_until(lambda: not any(row["state"] == "failed" for row in rows.raw()), timeout_s=20, what="their leads")
    assert [lead["email"] for lead in rows.leads()].count("a@example.com") == 8
    assert len(rows.leads()) == 8 + 1_000
