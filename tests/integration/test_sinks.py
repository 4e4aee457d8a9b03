"""Sinks against real receivers: what arrives, what is tried again, and what happens beside one that misbehaves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from standardwebhooks import Webhook

from tests.conftest import StartServer, new_database, server_starter
from tests.support.command import leadcrm
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.ports import free_port
from tests.support.receiver import Receiver, answer, endless, trickle
from tests.support.server import Server
from tests.support.texts import replace_text
from tests.support.waiting import wait_until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW_SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"

TEXT = f"""
[sink.crm]
url = "RECEIVER/crm?x=1"
secret = ["{SECRET}", "{NEW_SECRET}"]
allow_private = true
[sink.latvia]
url = "RECEIVER/latvia"
only = {{ country = ["LV"] }}
payload = "thin"
events = ["lead.created"]
allow_private = true
[sink.slack]
kind = "slack"
url = "RECEIVER/slack"
text = "{{firstName}} & {{missing}}"
allow_private = true
[sink.telegram]
kind = "telegram"
url = "RECEIVER/?chat_id=-5"
secret = "1:a"
allow_private = true
[sink.bitrix]
kind = "bitrix24"
url = "RECEIVER/rest/1/a/"
allow_private = true
[sink.private]
url = "https://localhost:9/"
[sink.refused]
url = "http://127.0.0.1:CLOSED/"
allow_private = true
""".replace("{missing}", "{lastName}")

for name in ("stalls", "trickles", "fails", "gone", "busy", "redirects", "endless"):
    TEXT += f"""
[sink.{name}]
url = "RECEIVER/{name}"
events = ["lead.created"]
allow_private = true
"""


class Scene(NamedTuple):
    """A server with sinks, its receiver and its database."""

    crm: Crm
    receiver: Receiver
    file: Path

    def post(self, **fields: str) -> str:
        """Send a lead and return its id."""
        lead_id: str = self.crm.server.client.post_lead(fields).json()["lead_id"]
        return lead_id

    def ready(self) -> Any:
        """Return what /ready says."""
        return self.crm.server.client.get("/ready").json()

    def deliveries(self, sink: str) -> list[dict[str, Any]]:
        """Return the deliveries of a sink that have not arrived."""
        return self.crm.rows.select("SELECT * FROM leads_deliveries WHERE sink = %s ORDER BY seq", sink)

    def command(self, *words: str) -> Any:
        """Run a command beside the server."""
        server = self.crm.server
        return leadcrm(server.directory, *words, **server.environment)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """The receiver of all tests of the module."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def scene(
    request: pytest.FixtureRequest, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """A server for all tests of the module."""
    folder = tmp_path_factory.mktemp("sinks")
    file = folder / "sinks.toml"
    file.write_text(TEXT.replace("RECEIVER", receiver.url).replace("CLOSED", str(free_port())))
    receiver.forget()
    receiver.handlers = {
        "/stalls": receiver.stall,
        "/trickles": trickle,
        "/fails": answer(500, b"out of \0order" + b"x" * 5_000),
        "/gone": answer(410),
        "/busy": answer(429, Retry_After="77"),
        "/redirects": answer(302, Location=f"{receiver.url}/elsewhere"),
        "/endless": endless,
    }
    for database in new_database(request.param, request, tmp_path_factory.mktemp("database")):
        for start in server_starter(request.node, folder):
            server = start(database, environment={**ENVIRONMENT, "SINKS_FILE": str(file)})
            yield Scene(Crm(server, database), receiver, file)


def test_what_becomes_true_of_a_lead_arrives_signed_and_filtered_in_the_form_of_each_kind(scene: Scene) -> None:
    received = scene.receiver.received
    lead_id = scene.post(email="a@example.com", firstName="Ann <3", country="LV")
    other = scene.post(email="b@example.com", country="EE", description="long " * 1_000)
    scene.crm.ask("PATCH", f"/api/leads/{lead_id}", {"status": "called"})
    first, second, changed = wait_until(lambda: received["/crm?x=1"][2:] and received["/crm?x=1"][:3])
    for request in (first, second, changed):
        for secret in (SECRET, NEW_SECRET):
            assert Webhook(secret).verify(request.body, request.headers) == request.document
    # A receiver hears of a lead as it is by then; the order is not promised.
    by_type = {(request.document["type"], request.document["leadId"]) for request in (first, second, changed)}
    assert by_type == {("lead.created", lead_id), ("lead.created", other), ("lead.changed", lead_id)}
    assert len({request.id for request in (first, second, changed)}) == 3
    (whole,) = (one.document["lead"] for one in (first, second, changed) if one.document["leadId"] == other)
    assert whole["description"] == "long " * 1_000
    feed = {event["seq"]: event for event in scene.crm.get("/api/feed")["events"]}
    assert all(feed[request.document["seq"]].keys() == request.document.keys() for request in (first, second, changed))
    wait_until(lambda: received["/rest/1/a/crm.lead.add.json"][1:])
    (thin,) = wait_until(lambda: received["/latvia"])
    assert thin.document.keys() == {"seq", "type", "at", "leadId"}
    texts = {request.document["text"] for request in wait_until(lambda: received["/slack"][1:] and received["/slack"])}
    assert texts == {"Ann &lt;3 &amp; ", " &amp; "}
    telegram = wait_until(lambda: received["/bot1:a/sendMessage"][1:] and received["/bot1:a/sendMessage"])
    assert {request.document["chat_id"] for request in telegram} == {"-5"}
    bitrix = {request.document["fields"]["ORIGIN_ID"] for request in received["/rest/1/a/crm.lead.add.json"]}
    assert bitrix == {lead_id, other}


def test_a_receiver_that_misbehaves_delays_no_other_and_what_it_did_not_take_is_kept(scene: Scene) -> None:
    started = time.monotonic()
    lead_id = scene.post(email="c@example.com")
    wait_until(lambda: lead_id in scene.receiver.lead_ids("/crm?x=1"))
    assert time.monotonic() - started < 2
    said = {
        "fails": (500, "out of order"),
        "gone": (410, ""),
        "busy": (429, ""),
        "redirects": (302, "a redirect, which is not followed; "),
        "refused": (None, "it refused the connection"),
        "private": (None, "localhost is in a private network, which needs allow_private = true"),
    }
    for name, (status, text) in said.items():
        row = wait_until(lambda name=name: scene.deliveries(name))[0]  # type: ignore[misc]
        assert row["status"] == status, name
        assert row["answer"].startswith(text), name
        assert len(row["answer"]) <= 1024
    assert "/elsewhere" not in scene.receiver.received
    # The status counts, whatever becomes of the body.
    wait_until(lambda: scene.crm.rows.select("SELECT 1 FROM leads_sinks WHERE name = 'endless' AND delivered > 0"))
    pause = "extract(epoch FROM next_at - last_at)" if not scene.crm.rows.is_sqlite else (
        "(julianday(next_at) - julianday(last_at)) * 86400"
    )  # fmt: skip
    (busy,) = scene.crm.rows.select(f"SELECT min({pause}) AS pause FROM leads_deliveries WHERE sink = 'busy'")
    assert 76 < busy["pause"] < 78
    (failed,) = scene.crm.rows.select(
        f"SELECT min({pause}) AS pause FROM leads_deliveries WHERE sink = 'fails' AND attempts = 1"
    )
    assert 4.9 < failed["pause"] < 6.1


def test_a_sink_whose_receiver_answers_410_is_disabled_until_its_receiver_takes_a_test(scene: Scene) -> None:
    wait_until(lambda: "the sink gone is disabled: its receiver answered 410" in (scene.ready()["fault"] or ""))
    assert scene.crm.server.client.get("/ready").status == 200
    assert any(record["msg"].startswith("a sink is disabled") for record in scene.crm.server.log_records())
    lead_id = scene.post(email="d@example.com")
    wait_until(lambda: lead_id in scene.receiver.lead_ids("/crm?x=1"))
    assert lead_id not in scene.receiver.lead_ids("/gone")
    assert scene.command("sinks", "test", "gone").returncode == 1
    scene.receiver.handlers["/gone"] = answer(200, b"welcome")
    tested = scene.command("sinks", "test", "gone", "--json")
    scene.receiver.handlers["/gone"] = answer(204)
    assert (tested.returncode, '"enabled": true' in tested.stdout) == (0, True)
    wait_until(lambda: lead_id in scene.receiver.lead_ids("/gone"))
    wait_until(lambda: not scene.deliveries("gone"))
    scene.receiver.handlers["/gone"] = answer(410)


def test_a_delivery_that_is_dead_waits_for_a_person_who_retries_or_drops_it(scene: Scene) -> None:
    scene.post(email="e@example.com", country="LT")
    row = wait_until(lambda: scene.deliveries("fails"))[0]
    lead_id = scene.receiver.received["/fails"][0].document["leadId"]
    ids = {request.id for request in scene.receiver.received["/fails"]}
    # As if it were days later.
    scene.crm.rows.execute(
        "UPDATE leads_deliveries SET attempts = 9, next_at = event_at WHERE sink = 'fails' AND seq = %s", row["seq"]
    )
    wait_until(lambda: [one["seq"] for one in scene.deliveries("fails") if one["state"] == "dead"], timeout_s=20)
    listed = scene.command("deliveries", "list", "--sink", "fails", "--state", "dead", "--json").stdout
    assert [(one["seq"], one["nextAt"]) for one in json.loads(listed)] == [(row["seq"], None)]
    assert scene.command("verify").returncode == 0
    scene.receiver.handlers["/fails"] = answer(201)
    arrived = len(scene.receiver.received["/fails"])
    assert scene.command("deliveries", "retry", "--sink", "fails").returncode == 0
    wait_until(lambda: not scene.deliveries("fails"), timeout_s=20)
    again = scene.receiver.received["/fails"][arrived:]
    assert lead_id in {request.document["leadId"] for request in again}
    assert {request.id for request in again if request.document["leadId"] == lead_id} <= ids
    dropped = scene.deliveries("refused")
    assert scene.command("deliveries", "drop", "--sink", "refused").returncode == 0
    assert not {row["seq"] for row in dropped} & {row["seq"] for row in scene.deliveries("refused")}
    assert scene.command("verify").returncode == 0
    scene.crm.rows.execute("DELETE FROM leads_deliveries WHERE sink = 'busy'")
    verified = scene.command("verify")
    assert (verified.returncode, "sink busy" in verified.stdout) == (1, True)
    assert scene.crm.server.client.metric("leadcrm_delivery_oldest_seconds", sink="crm") == 0
    wait_until(lambda: scene.crm.server.client.metric("leadcrm_deliveries_total", sink="fails", outcome="delivered"))


def test_a_changed_file_is_taken_in_and_a_faulty_one_refused(scene: Scene) -> None:
    text = scene.file.read_text()
    replace_text(scene.file, f"{text}\n[sink.late]\nurl = 'https://127.0.0.1/'\n")
    wait_until(lambda: "SINKS_FILE has a fault" in (scene.ready()["fault"] or ""))
    checked = scene.command("sinks", "check")
    assert (checked.returncode, "private address" in checked.stdout) == (78, True)
    late = f"[sink.late]\nurl = '{scene.receiver.url}/late'\nallow_private = true\n"
    late += f"[sink.rare]\nurl = '{scene.receiver.url}/rare'\nrate = '2/h'\nallow_private = true\n"
    rare = [scene.post(), scene.post()]
    replace_text(scene.file, f"{text}\n{late}")
    lead_id = (
        wait_until(lambda: scene.crm.rows.select("SELECT 1 FROM leads_sinks WHERE name = 'late'")) and scene.post()
    )
    wait_until(lambda: lead_id in scene.receiver.lead_ids("/late"))
    wait_until(lambda: "SINKS_FILE" not in (scene.ready()["fault"] or ""))
    # What a rate has let through is kept, however long the next one waits.
    wait_until(lambda: scene.crm.rows.select("SELECT 1 FROM leads_sinks WHERE name = 'rare' AND delivered > 0"))
    assert not set(rare) <= set(scene.receiver.lead_ids("/rare"))


def test_what_is_not_sent_because_of_the_file_is_said(scene: Scene) -> None:
    text = scene.file.read_text()
    scene.post()
    wait_until(lambda: scene.deliveries("refused"))
    renamed = text.replace("[sink.refused]", "[sink.renamed]")
    replace_text(scene.file, renamed.replace("[sink.private]", "[sink.private]\nenabled = false"))
    wait_until(lambda: "the sink refused is not in SINKS_FILE any more: " in (scene.ready()["fault"] or ""))
    told = scene.command("deliveries", "retry", "--state", "waiting").stderr
    assert "nothing is sent to refused: SINKS_FILE has no such sink any more\n" in told
    assert "nothing is sent to private: it has enabled = false\n" in told
    assert scene.command("deliveries", "drop", "--sink", "refused").returncode == 0
    wait_until(lambda: "the sink refused" not in (scene.ready()["fault"] or ""))
    # A text that the server does not take is not called good.
    empty = scene.file.with_name("empty.toml")
    empty.write_text("\n")
    checked = scene.command("sinks", "check", str(empty))
    assert (checked.returncode, "it is empty; a comment" in checked.stdout) == (78, True)
    replace_text(scene.file, text)


def test_each_text_that_takes_effect_has_a_number(scene: Scene) -> None:
    def version() -> Any:
        return scene.crm.get("/api/sinks")["version"]

    text = scene.file.read_text()
    first = wait_until(version)
    replace_text(scene.file, text.replace(NEW_SECRET, "whsec_BAECAwQFBgcICQoLDA0ODxAREhMUFRYX"))
    second = wait_until(lambda: (number := version()) != first and number)
    assert second > first
    told = scene.command("sinks", "list").stdout
    assert f"version {second}, first in force at 2" in told
    # It was in force before, whatever its comments say.
    replace_text(scene.file, f"# As before.\n{text}")
    assert f"version {first}, " in scene.command("sinks", "list").stdout
    wait_until(lambda: version() == first)
    kept = scene.crm.rows.select("SELECT version, text FROM sink_versions")
    assert {first, second} <= {row["version"] for row in kept}
    for secret in (SECRET, "BAECAwQ", "x=1", "/rest/1/a"):
        assert secret not in str(kept)
    other = scene.file.with_name("other.toml")
    other.write_text(text.replace("[sink.latvia]", "[sink.lithuania]"))
    server = scene.crm.server
    told = leadcrm(server.directory, "sinks", "list", **{**server.environment, "SINKS_FILE": str(other)}).stdout
    assert "no server has taken these sinks yet" in told
    replace_text(scene.file, text)


def sinks_file(folder: Path, receiver: Receiver) -> str:
    path = folder / "one.toml"
    path.write_text(f'[sink.crm]\nurl = "{receiver.url}/crm"\nsecret = "{SECRET}"\nallow_private = true\n')
    return str(path)


def dispatcher_of(server: Server) -> Any:
    """Return the process that delivers, which alone has a higher niceness than the others."""

    def find() -> Any:
        *others, nicest = sorted(server.processes(), key=lambda process: process.nice())
        return nicest if others and nicest.nice() > others[-1].nice() else None

    return wait_until(find)


def test_a_kill_skips_nothing(database: str, start_server: StartServer, tmp_path: Path) -> None:
    with Receiver() as receiver:
        environment = {"SINKS_FILE": sinks_file(tmp_path, receiver), "WORKERS": "2"}
        server = start_server(database, environment=environment)
        journal: set[str] = set()

        def send_and_wait_for_some() -> None:
            arrived = len(receiver.received["/crm"])
            for number in range(60):
                journal.add(server.client.post_lead({"email": f"{number}@example.com"}).json()["lead_id"])
            wait_until(lambda: len(receiver.received["/crm"]) > arrived)

        for _ in range(3):
            send_and_wait_for_some()
            dispatcher_of(server).kill()
        send_and_wait_for_some()
        server.kill9()
        server.start()
        wait_until(lambda: set(receiver.lead_ids("/crm")) == journal)
        ids = {(request.id, request.document["leadId"]) for request in receiver.received["/crm"]}
        assert len(ids) == len(journal)
        assert server.terminate() == 0


def test_another_node_goes_on_at_once_after_one_that_was_stopped(
    whole_database: str, start_server: StartServer, tmp_path: Path
) -> None:
    with Receiver() as receiver:
        environment = {"SINKS_FILE": sinks_file(tmp_path, receiver)}
        first = start_server(whole_database, environment={**environment, "NODE_NAME": "first"})
        rows = Crm(first, whole_database).rows
        wait_until(lambda: rows.select("SELECT 1 FROM leads_sinks WHERE position(%s in holder) = 1", "first "))
        second = start_server(whole_database, environment={**environment, "NODE_NAME": "second"})
        journal = [node.client.post_lead({"email": "a@example.com"}).json()["lead_id"] for node in (first, second)]
        wait_until(lambda: sorted(receiver.lead_ids("/crm")) == sorted(journal))
        assert first.terminate() == 0
        journal.append(second.client.post_lead({"email": "b@example.com"}).json()["lead_id"])
        wait_until(lambda: sorted(receiver.lead_ids("/crm")) == sorted(journal))
