"""The database refuses a lead, or even its raw row: it is kept elsewhere, and the rest of the batch is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import StartServer
from tests.support.client import Answer
from tests.support.conversation import Conversation, lead_request
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

POISON = "a-poison-no-log-may-hold"

REFUSE_BY_CONSTRAINT = {
    "sqlite": [
        f"CREATE TRIGGER refuse BEFORE INSERT ON leads WHEN NEW.marker = '{POISON}' "
        "BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
    ],
    "postgres": [f"ALTER TABLE leads ADD CONSTRAINT refuse CHECK (marker <> '{POISON}')"],
}
REFUSE_BY_TRIGGER = {
    "sqlite": REFUSE_BY_CONSTRAINT["sqlite"],
    "postgres": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF NEW.marker = '{POISON}' THEN RAISE EXCEPTION 'refused: %%', NEW.marker; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}
REFUSE_RAW_ROW = {
    "sqlite": [
        "CREATE TRIGGER refuse BEFORE INSERT ON leads_raw WHEN NEW.target LIKE '%refused%' "
        "BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
    ],
    "postgres": ["ALTER TABLE leads_raw ADD CONSTRAINT refuse CHECK (target NOT LIKE '%%refused%%')"],
}


def refuse(rows: Rows, statements: dict[str, list[str]]) -> None:
    for statement in statements["sqlite" if rows.is_sqlite else "postgres"]:
        rows.execute(statement if rows.is_sqlite else statement.replace("%%", "%"))


@pytest.fixture(params=[REFUSE_BY_CONSTRAINT, REFUSE_BY_TRIGGER], ids=["constraint", "trigger"])
def poisoned(request: pytest.FixtureRequest, server: Server, rows: Rows) -> Iterator[Server]:
    """A server whose database refuses leads with one marker, and whose log never quotes the marker."""
    refuse(rows, request.param)
    yield server
    log = server.stdout_path.read_text(encoding="utf-8") + server.stderr_path.read_text(encoding="utf-8")
    assert POISON not in log


def poison(number: int) -> bytes:
    return b'{"email":"poison %d","marker":"%s"}' % (number, POISON.encode())


def in_one_batch(server: Server, rows: Rows, requests: list[bytes]) -> list[Answer]:
    """Send requests so that they wait for the database together, and return their answers."""
    with ExitStack() as stack:
        connections = [stack.enter_context(Conversation(server.client)) for _ in requests]
        received = server.client.metric("leadcrm_received_bytes_total")
        sizes = [len(request.partition(b"\r\n\r\n")[2]) for request in requests]
        with rows.writes_blocked():
            for connection, request in zip(connections, requests, strict=True):
                connection.send(request)
            wait_until(lambda: server.client.metric("leadcrm_received_bytes_total") == received + sum(sizes))
        return [connection.answer() for connection in connections]


def test_refused_leads_are_kept_as_failed_and_answered_201_and_the_rest_is_stored(poisoned: Server, rows: Rows) -> None:
    requests = [
        lead_request(poison(number)) if number % 10 == 3 else lead_request(b'{"email":"healthy %d"}' % number)
        for number in range(60)
    ]
    answers = in_one_batch(poisoned, rows, requests)
    assert [answer.status for answer in answers] == [201] * 60
    assert {answer.receipt.stored for answer in answers if answer.receipt} == {"database"}
    leads = {row["id"]: row["email"] for row in rows.leads()}
    for number, answer in enumerate(answers):
        row = rows.raw_row(answer.json()["lead_id"])
        if number % 10 == 3:
            assert (row["state"], row["body"]) == ("failed", poison(number))
            assert row["error"]
            assert POISON not in row["error"]
            assert row["id"] not in leads
        else:
            assert (row["state"], leads[row["id"]]) == ("stored", f"healthy {number}")


def test_the_key_of_a_failed_row_is_taken(poisoned: Server, rows: Rows) -> None:
    first = poisoned.client.post_lead(poison(1), key="failed")
    assert rows.raw_row(first.json()["lead_id"])["state"] == "failed"
    repeat = poisoned.client.post_lead(poison(1), key="failed")
    conflict = poisoned.client.post_lead(b'{"email":"healthy"}', key="failed")
    assert [first.status, repeat.status, conflict.status] == [201, 409, 409]
    assert len({answer.json()["lead_id"] for answer in (first, repeat, conflict)}) == 1
    assert sorted(row["state"] for row in rows.raw()) == ["conflict", "failed", "repeat"]
    assert rows.leads() == []


def test_a_refused_lead_repeated_within_a_batch_is_one_failed_row(poisoned: Server, rows: Rows) -> None:
    requests = [lead_request(poison(1), key=b"poison") for _ in range(5)]
    requests += [lead_request(b"{}", key=b"healthy") for _ in range(5)]
    answers = in_one_batch(poisoned, rows, requests)
    for of_key in (answers[:5], answers[5:]):
        assert sorted(answer.status for answer in of_key) == [201, 409, 409, 409, 409]
        assert len({answer.json()["lead_id"] for answer in of_key}) == 1
    assert sorted(row["state"] for row in rows.raw()) == ["failed"] + ["repeat"] * 8 + ["stored"]


def test_a_raw_row_that_the_database_refuses_is_kept_in_the_spool(start_server: StartServer, database: str) -> None:
    server, rows = start_server(database), Rows(database)
    refuse(rows, REFUSE_RAW_ROW)
    requests = [
        lead_request(b'{"email":"%d"}' % number, key=b"key %d" % number, target=target)
        for number, target in enumerate([b"/api/lead", b"/api/lead?refused", b"/api/lead"])
    ]
    answers = in_one_batch(server, rows, requests)
    assert [answer.status for answer in answers] == [201] * 3
    assert [answer.receipt and answer.receipt.stored for answer in answers] == ["database", "spool", "database"]
    assert [lead["email"] for lead in rows.leads()] == ["0", "2"]

    def waits_in_the_spool() -> bool:
        spool = server.client.get("/ready").json()["spool"]
        return (spool["rows"], spool["refused"]) == (1, 1)

    wait_until(waits_in_the_spool)
    repeat = server.client.post_lead(b'{"email":"1"}', key="key 1")
    assert (repeat.status, repeat.json()["lead_id"]) == (409, answers[1].json()["lead_id"])
    assert server.client.post_lead({}).receipt.stored == "database"  # type: ignore[union-attr]


def test_without_a_spool_only_the_refused_raw_row_is_answered_503(start_server: StartServer, database: str) -> None:
    server, rows = start_server(database, environment={"SPOOL": "off"}), Rows(database)
    refuse(rows, REFUSE_RAW_ROW)
    requests = [lead_request(b"{}", target=target) for target in (b"/api/lead", b"/api/lead?refused", b"/api/lead?x")]
    answers = in_one_batch(server, rows, requests)
    assert [answer.status for answer in answers] == [201, 503, 201]
    assert len(rows.leads()) == 2
