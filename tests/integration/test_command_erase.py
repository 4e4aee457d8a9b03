"""`leadcrm erase`: a person leaves every store beside a running server, and keys, ids and counts go on to hold."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from leadcrm.crm.tombstones import erase_rows, trace_of
from leadcrm.database.sessions import bind
from tests.conftest import StartServer, new_database, server_starter
from tests.support.command import leadcrm
from tests.support.crm import url_of
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.receiver import Receiver, answer
from tests.support.rows import Rows, sqlite_path
from tests.support.server import Server, command
from tests.support.waiting import wait_until

SINKS = """
[sink.crm]
url = "RECEIVER/crm"
allow_private = true
[sink.down]
url = "RECEIVER/down"
allow_private = true
"""

NAME = "Zyxanna"
EMAIL = "Zyxanna.K@example.com"
PERSON = {"email": EMAIL, "phone": "+371 26 123 456", "lastName": NAME, "user": f"{NAME} herself"}
TABLES = (
    "leads_raw leads lead_events leads_ledger source_versions leads_feed leads_feed_start "
    "sink_versions leads_sinks leads_deliveries leads_delivered leads_days"
)


def erase(server: Server, *words: str) -> tuple[int, Any]:
    """Erase without asking, and return the exit status and the receipt."""
    done = leadcrm(server.directory, "erase", *words, "--json", **server.environment)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def dump(rows: Rows) -> str:
    """Return every value of every table as text, and of SQLite the bytes of its files too."""
    text = ""
    for table in TABLES.split():
        for row in rows.select(f"SELECT * FROM {table}"):
            for value in row.values():
                text += f"{value.decode(errors='replace') if isinstance(value, bytes) else value}\n"
    if rows.is_sqlite:
        path = sqlite_path(rows.database_url)
        for file in (path, Path(f"{path}-wal")):
            text += file.read_bytes().decode("latin-1")
    return text


class Scene(NamedTuple):
    """A server with a source and sinks."""

    crm: Crm
    receiver: Receiver

    def post(self, document: dict[str, Any], **given: Any) -> str:
        """Send a lead and return its id."""
        lead_id: str = self.crm.server.client.post_lead(document, **given).json()["lead_id"]
        return lead_id


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A server for all tests of the module."""
    folder = tmp_path_factory.mktemp("erase")
    (folder / "sources.toml").write_text("[source.list]\n")
    with Receiver() as receiver:
        (folder / "sinks.toml").write_text(SINKS.replace("RECEIVER", receiver.url))

        def quote(request: BaseHTTPRequestHandler) -> None:
            answer(500, receiver.received["/down"][-1].body)(request)

        receiver.handlers["/down"] = quote
        environment = {
            **ENVIRONMENT,
            "SINKS_FILE": str(folder / "sinks.toml"),
            "SOURCES_FILE": str(folder / "sources.toml"),
        }
        for database in new_database(request.param, request, tmp_path_factory.mktemp("database")):
            for start in server_starter(request.node, folder):
                yield Scene(Crm(start(database, environment=environment), database), receiver)


def test_a_person_leaves_database_history_feed_and_deliveries_and_what_holds_goes_on_to_hold(scene: Scene) -> None:
    crm, client = scene.crm, scene.crm.server.client
    first = scene.post(PERSON, key=EMAIL, target=f"/api/lead?from={NAME}", headers=[("Referer", f"https://x/{NAME}")])
    for _ in range(2):
        assert scene.post(PERSON, key=EMAIL) == first
    assert scene.post({**PERSON, "phone": "another"}, key=EMAIL) == first
    spelled = [json.dumps({"email": EMAIL.upper()}), "{broken=zyxanna.k%40example.com", '{"tel":"(371)26-123-456"']
    invalid = [client.post_lead(body.encode(), content_type="text/csv").receipt for body in spelled[1:]]
    alone = client.post_lead(spelled[0].encode()).json()["lead_id"]
    friend = scene.post({"email": "friend@example.com", "description": f"Ask {EMAIL.lower()}, she knows"})
    listed = [{"email": "Other.Zyx@example.com", "lastName": "Other"}, PERSON]
    batch = client.request(
        "POST", "/in/list", body=json.dumps(listed).encode(), headers=[("Content-Type", "application/json")]
    )
    other, hers = (row["id"] for row in crm.rows.raw() if row["part_of"] is not None)
    assert batch.receipt is not None
    assert crm.rows.raw_row(batch.receipt.raw_id)["state"] == "batch"
    crm.ask("PATCH", f"/api/leads/{first}", {"status": "called", "assignedTo": f"friend of {NAME}"})
    crm.ask("POST", f"/api/leads/{first}/notes", {"text": f"{NAME} likes tea"})
    waits = "SELECT 1 FROM leads_deliveries WHERE sink = 'down' AND answer LIKE %s"
    wait_until(lambda: crm.rows.select(waits, f"%{NAME}%"))
    wait_until(lambda: hers in scene.receiver.lead_ids("/crm"))
    rows = len(crm.rows.raw())

    told = json.loads(leadcrm(crm.server.directory, "person", "--email", EMAIL, **crm.server.environment).stdout)
    assert [one["lead"]["id"] for one in told["leads"]] == [first, alone, hers]
    assert [len(one["repeats"]) for one in told["leads"]] == [2, 0, 0]
    assert (json.loads(told["leads"][0]["request"]["body"]), json.loads(told["leads"][2]["request"]["body"])) == (
        PERSON,
        PERSON,
    )
    assert {event["field"] for event in told["leads"][0]["history"]} == {"status", "assignedTo", "note"}
    went = {(one["sink"], one["type"], one["state"]) for one in told["leads"][0]["deliveries"]}
    assert ("crm", "lead.created", "delivered") in went
    assert ("down", "lead.created", "waiting") in went
    assert {one["state"] for one in told["requests"]} == {"invalid", "conflict"}
    assert (told["mentions"], told["batches"]) == ([friend], [batch.receipt.raw_id])
    assert "Other.Zyx" not in json.dumps(told)

    if not crm.rows.is_sqlite:
        crm.rows.execute("CREATE TABLE original_leads_raw (id text)")
    planned = leadcrm(crm.server.directory, "erase", "--email", EMAIL, "--dry-run", **crm.server.environment)
    assert planned.returncode == 0
    assert "raw rows" in planned.stdout
    assert len(crm.rows.leads()) == 5
    status, receipt = erase(crm.server, "--email", EMAIL.title(), "--phone", "26123456", "--yes", "--actor", "kim")
    assert status == 0
    conflicts = {row["id"] for row in crm.rows.raw() if row["state"] in ("conflict", "repeat")}
    assert all(one is not None for one in invalid)
    assert set(receipt["ids"]) == {
        first,
        alone,
        hers,
        batch.receipt.raw_id,
        *(one.raw_id for one in invalid if one),
        *conflicts,
    }
    assert (receipt["rows"], receipt["leads"], receipt["notes"], receipt["changes"]) == (9, 3, 1, 2)
    assert receipt["deliveries"] >= 1
    assert receipt["mentions"] == [friend]
    assert any("backups" in sentence for sentence in receipt["left"])
    assert any("original_leads_raw" in sentence for sentence in receipt["left"]) != crm.rows.is_sqlite

    # What a sender, the CRM and a receiver see of it.
    assert client.post_lead({**PERSON, "lastName": "x"}, key=EMAIL).json() == {
        "ok": True,
        "lead_id": first,
        "deduplicated": True,
    }
    document = crm.get(f"/api/leads/{first}")
    assert document["lead"] is None
    assert document["raw"]["erased"]
    assert document["events"] == []
    assert document["raw"]["error"].startswith("erased 2")
    assert document["raw"]["error"].endswith("Z by kim")
    assert {lead["id"] for lead in crm.get("/api/leads")["leads"]} == {friend, other}
    assert {row["id"] for row in crm.get("/api/raw")["rows"]}.isdisjoint(receipt["ids"])
    assert crm.ask("POST", f"/api/raw/{invalid[0].raw_id if invalid[0] else ''}/replay").json()["changed"] is False
    wait_until(
        lambda: (
            first
            in [
                one.document["leadId"]
                for one in scene.receiver.received["/crm"]
                if one.document["type"] == "lead.erased"
            ]
        )
    )
    events = [event for event in crm.get("/api/feed")["events"] if event["leadId"] == first]
    assert [event["type"] for event in events] == [
        "lead.created",
        "lead.changed",
        "lead.changed",
        "lead.noted",
        "lead.erased",
    ]
    assert {(event["lead"], event["change"]) for event in events} == {(None, None)}
    verified = leadcrm(crm.server.directory, "verify", "--json", **crm.server.environment)
    assert verified.returncode == 0, verified.stdout
    assert len(crm.rows.raw()) == rows + 1

    # The sender's next request was new, and her friend's names her: then nothing does any more.
    assert erase(crm.server, first, friend, "--yes")[0] == 0
    assert NAME.lower() not in dump(crm.rows).lower()


def test_an_id_of_a_repeat_means_its_lead_and_what_cannot_be_erased_is_told(scene: Scene) -> None:
    crm = scene.crm
    lead = scene.post({"email": "repeated@example.com"}, key="again")
    scene.post({"email": "repeated@example.com"}, key="again")
    scene.post({"email": "somebody.else@example.com"}, key="again")
    (repeat,) = crm.rows.select(
        "SELECT id FROM leads_raw WHERE state = 'repeat' AND duplicate_of = %s", crm.rows.as_id(lead)
    )
    (conflict,) = crm.rows.select(
        "SELECT id FROM leads_raw WHERE state = 'conflict' AND duplicate_of = %s", crm.rows.as_id(lead)
    )
    assert crm.ask("POST", f"/api/raw/{conflict['id']}/replay").json()["state"] == "stored"
    unknown = str(uuid4())
    status, receipt = erase(crm.server, repeat["id"], unknown, "--yes")
    assert (status, receipt["unknown"]) == (1, [unknown])
    assert set(receipt["ids"]) == {lead, repeat["id"]}
    assert receipt["stays"] == [conflict["id"]]
    assert crm.get(f"/api/leads/{conflict['id']}")["lead"]["email"] == "somebody.else@example.com"
    assert erase(crm.server, lead, "--yes")[1]["erasedBefore"] == [lead]
    for words in ((), (lead, "--email", EMAIL), ("--phone", "123"), ("--email", "")):
        assert leadcrm(crm.server.directory, "erase", *words, "--yes", **crm.server.environment).returncode == 2


def test_it_asks_on_a_terminal_and_erases_nothing_without_one_or_without_a_yes(scene: Scene) -> None:
    crm = scene.crm
    lead = scene.post({"email": "asked@example.com"})
    refused = leadcrm(crm.server.directory, "erase", lead, **crm.server.environment)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--yes" in refused.stderr
    for typed, leads in ((b"n\n", 1), (b"\n", 1), (b"yes\n", 0)):
        controller, terminal = os.openpty()
        os.write(controller, typed)
        line = [*command(), "erase", lead]
        done = subprocess.run(
            line, cwd=crm.server.directory, env=crm.server.environment, stdin=terminal, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        os.close(terminal)
        os.close(controller)
        assert "1 raw rows" in done.stderr
        assert "[y/N]" in done.stderr
        assert done.returncode == (1 if leads else 0)
        assert len([row for row in crm.rows.leads() if row["id"] == lead]) == leads


def test_rows_that_wait_in_the_spool_reach_the_database_as_tombstones(
    start_server: StartServer, database: str, rows: Rows
) -> None:
    server = start_server(database)
    first = server.client.post_lead({"email": "kept@example.com"}, key="hers").json()["lead_id"]
    with rows.writes_blocked():
        spooled = server.client.post_lead(PERSON, key="spooled")
        conflict = server.client.post_lead({**PERSON, "email": "x"}, key="hers")
        bystander = server.client.post_lead({"email": "bystander@example.com", "description": f"not {NAME}"})
        assert all(one.receipt is not None and one.receipt.stored == "spool" for one in (spooled, conflict, bystander))
        server.kill9()
    status, receipt = erase(server, "--email", EMAIL, "--yes")
    assert (status, receipt["ids"], receipt["spooled"]) == (0, [spooled.json()["lead_id"]], 1)
    # The conflict of a lead goes with it, though only its key says yet that it is one.
    assert erase(server, first, "--yes")[1]["spooled"] == 1
    files = b"".join(path.read_bytes() for path in server.data_dir.glob("spool*"))
    assert (files.count(NAME.encode()), files.count(b"bystander@")) == (1, 1)
    server.start()
    server.wait_drained()
    for one in (spooled, conflict):
        assert rows.raw_row(one.receipt.raw_id if one.receipt else "")["body"] is None
    assert [lead["email"] for lead in rows.leads()] == ["bystander@example.com"]
    assert server.client.post_lead(PERSON, key="spooled").json()["lead_id"] == spooled.json()["lead_id"]
    assert leadcrm(server.directory, "verify", **server.environment).returncode == 0


def test_a_sink_that_is_slow_delivers_nothing_of_a_lead_that_is_erased_before_its_turn(
    start_server: StartServer, tmp_path: Path
) -> None:
    with Receiver() as receiver:
        file = tmp_path / "sinks.toml"
        file.write_text(f'[sink.slow]\nurl = "{receiver.url}/slow"\nrate = "1/s"\nallow_private = true\n')
        database = f"sqlite:///{tmp_path / 'leads.db'}"
        server = start_server(database, environment={"SINKS_FILE": str(file)})
        wait_until(lambda: Rows(database).select("SELECT 1 FROM leads_sinks"))
        ids = [server.client.post_lead({"email": f"{NAME}@example.com"}).json()["lead_id"] for _ in range(3)]
        wait_until(lambda: receiver.lead_ids("/slow"))
        entities = bind(url_of(database))
        erase_rows(entities, map(UUID, ids), trace_of("kim"))
        entities.database.disconnect()
        told = wait_until(lambda: len(receiver.lead_ids("/slow")) == len(ids) and receiver.received["/slow"])
    assert [NAME in one.body.decode() for one in told[: len(ids)]] == [True, False, False]
