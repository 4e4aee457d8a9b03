"""Where leads come from and where they go, over the API: sources, trials, sinks, deliveries and each lead's way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from leadcrm.sources.catalogue import presets
from tests.conftest import new_database, server_starter
from tests.support.command import leadcrm
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.receiver import Receiver, answer
from tests.support.waiting import wait_until

SOURCES = """
[source.ads]
preset = "google-ads"
secret = "sesame"
[source.land]
map.offer = ["query:o"]
[source.off]
enabled = false
"""

SINKS = """
[sink.crm]
url = "RECEIVER/crm"
allow_private = true
[sink.latvia]
url = "RECEIVER/latvia"
only = { country = ["LV"] }
allow_private = true
[sink.fails]
url = "RECEIVER/fails"
events = ["lead.created"]
only = { country = ["EE"] }
allow_private = true
"""


class Scene(NamedTuple):
    """A server with sources and sinks, the receiver of the sinks, and the files."""

    crm: Crm
    receiver: Receiver
    folder: Path

    def send(self, source: str, body: bytes, query: str = "") -> str:
        """Send a request to a source and return its id."""
        answer = self.crm.server.client.request("POST", f"/in/{source}{query}", body=body)
        row = self.crm.rows.select("SELECT id FROM leads_raw WHERE part_of IS NULL ORDER BY id DESC LIMIT 1")[0]
        assert answer.status < 500
        return str(row["id"])

    def source(self, name: str) -> Any:
        """Return a source of the list."""
        (found,) = (one for one in self.crm.get("/api/sources")["sources"] if one["source"] == name)
        return found


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A server for all tests of the module."""
    folder = tmp_path_factory.mktemp("places")
    with Receiver() as receiver:
        receiver.handlers["/fails"] = answer(500, b"out of order")
        (folder / "sources.toml").write_text(SOURCES)
        (folder / "sinks.toml").write_text(SINKS.replace("RECEIVER", receiver.url))
        files = {"SOURCES_FILE": str(folder / "sources.toml"), "SINKS_FILE": str(folder / "sinks.toml")}
        for database in new_database(request.param, request, tmp_path_factory.mktemp("database")):
            for start in server_starter(request.node, folder):
                yield Scene(Crm(start(database, environment={**ENVIRONMENT, **files}), database), receiver, folder)


def test_sources_are_listed_with_what_came_in_and_each_has_the_page_of_its_preset(scene: Scene) -> None:
    scene.send("land", b'{"email":"a@example.com"}')
    scene.send("ads", b'{"google_key":"wrong"}')
    scene.send("off", b"{}")
    wait_until(lambda: scene.source("off")["requestsOfDay"])
    listed = {one["source"]: one for one in scene.crm.get("/api/sources")["sources"]}
    assert [(one["enabled"], one["verify"], one["requestsOfDay"]) for one in listed.values()] == [
        (True, "body", {"unverified": 1}),
        (True, "open", {"stored": 1}),
        (False, "open", {"unrouted": 1}),
    ]
    assert listed["land"]["lastLead"] is not None
    shown = scene.crm.get("/api/sources/ads")
    assert (shown["source"], shown["page"]["preset"]) == (listed["ads"], "google-ads")
    assert "https://leads.example.com/in/ads " in shown["page"]["test"]
    assert shown["text"] == '[source.ads]\npreset = "google-ads"\nsecret = "***"'
    assert scene.crm.get("/api/sources/land")["text"] == '[source.land]\nmap.offer = ["query:o"]'
    assert "sesame" not in scene.crm.ask("GET", "/api/sources/ads").body.decode()
    assert {one["preset"] for one in scene.crm.get("/api/presets")["presets"]} == set(presets())
    assert scene.crm.ask("GET", "/api/sources/nothing").status == 404
    file = scene.folder / "sources.toml"
    file.write_text(SOURCES.replace("[source.land]", "[source.other]") + "[source.bad]\npreset = 'x'\n")
    wait_until(lambda: "has a fault" in (scene.crm.get("/api/sources")["fault"] or ""))
    file.write_text(SOURCES.partition("[source.off]")[0])
    wait_until(lambda: scene.source("off")["retired"])
    file.write_text(SOURCES)
    wait_until(lambda: not scene.source("off")["retired"])


def test_a_kept_request_stands_beside_what_a_text_would_make_of_it(scene: Scene) -> None:
    id = scene.send("land", b'[{"Mail adress":"a@example.com","land":"LV"},{"email":"b@example.com"}]', "?o=spring")
    text = '[source.land]\nmap.email = ["email", "\\"Mail adress\\""]\nmap.country = ["land"]\nsecret_file = "/etc/x"\n'

    def attempt(id: str, **asked: str) -> Any:
        answer = scene.crm.ask("POST", f"/api/raw/{id}/try", asked)
        assert answer.status == 200, answer.body
        return answer.json()

    def fields(trial: Any) -> list[Any]:
        return [lead["fields"] for lead in trial["leads"]]

    before = scene.crm.rows.select("SELECT count(*) AS n FROM leads_raw")
    tried = attempt(id, text=text)
    assert (tried["kept"]["state"], tried["faults"]) == ("batch", [])
    assert fields(tried["kept"]) == fields(tried["now"])
    assert fields(tried["now"])[1] == {"email": "b@example.com", "offer": "spring"}
    assert fields(tried["proposed"]) == [{"email": "a@example.com", "country": "LV"}, {"email": "b@example.com"}]
    faulty = attempt(id, text="[source.land]\nmap.emial = 'x'\n[source.b]\npreset = 'y'\n")
    assert faulty["proposed"] is None
    assert [fault.partition(":")[0] for fault in faulty["faults"]] == ["line 2", "line 4"]
    assert attempt(id, text="[source.x]", source="land")["faults"] == ["the text has no source 'land'"]
    assert attempt(id, text=f"a = '{'x' * 600}'")["faults"] == ["line 1: it is longer than 500 characters"]
    # What /api/lead got can be tried with the only source of a text.
    plain = scene.crm.server.client.post_lead({"e": "c@example.com"}).json()["lead_id"]
    tried = attempt(plain, text='[source.shop]\nmap.email = ["e"]\n')
    assert (tried["source"], tried["now"], fields(tried["proposed"])) == ("shop", None, [{"email": "c@example.com"}])
    assert fields(attempt(plain, source="land")["now"]) == [{"email": "c@example.com"}]
    # As much as would hold the event loop up is left to the command.
    many = scene.send("land", b"[" + b",".join([b'{"email":"a@b.co"}'] * 150) + b"]")
    tried = attempt(many)
    assert f"leadcrm sources try land --raw {many}" in tried["now"]["error"]
    assert (len(tried["kept"]["leads"]), tried["kept"]["hasMore"]) == (20, True)
    assert scene.crm.rows.select("SELECT count(*) AS n FROM leads_raw")[0]["n"] == before[0]["n"] + 152
    assert scene.crm.ask("POST", f"/api/raw/{id}/try", {"text": 5}).status == 400
    assert scene.crm.ask("POST", "/api/raw/0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e/try", {}).status == 404


def test_a_lead_tells_where_it_went(scene: Scene) -> None:
    id = scene.crm.server.client.post_lead({"country": "EE"}).json()["lead_id"]

    def told() -> dict[tuple[str, str], Any]:
        deliveries = scene.crm.get(f"/api/leads/{id}")["deliveries"]
        return {(one["sink"], one["type"].removeprefix("lead.")): one for one in deliveries}

    assert {sink for sink, _ in told()} == {"crm", "fails", "latvia"}
    wait_until(
        lambda: (told()["crm", "created"]["state"], told()["fails", "created"]["state"]) == ("delivered", "waiting")
    )
    wait_until(lambda: told()["latvia", "created"]["state"] == "unwanted")
    waiting = told()["fails", "created"]
    assert (waiting["status"], waiting["answer"], waiting["attempts"] >= 1) == (500, "out of order", True)
    assert waiting["since"] <= waiting["at"] < waiting["nextAt"]
    scene.crm.ask("PATCH", f"/api/leads/{id}", {"status": "called"})
    wait_until(lambda: told().get(("crm", "changed"), {}).get("state") == "delivered")
    server = scene.crm.server
    shown = leadcrm(server.directory, "leads", "show", id, **server.environment)
    names = ("crm ", "fails ", "latvia ")
    lines = [line.split()[:3] for line in shown.stdout.splitlines() if line.startswith(names)]
    assert lines == [
        ["crm", "lead.created", "delivered"],
        ["crm", "lead.changed", "delivered"],
        ["fails", "lead.created", "waiting"],
        ["latvia", "lead.created", "unwanted"],
    ]


def test_sinks_tell_how_far_they_are_and_what_did_not_arrive_is_tried_again_or_dropped(scene: Scene) -> None:
    ids = [scene.crm.server.client.post_lead({"country": "EE"}).json()["lead_id"] for _ in range(3)]

    def deliveries(**asked: Any) -> list[Any]:
        found: list[Any] = scene.crm.get("/api/deliveries", sink="fails", **asked)["deliveries"]
        return [one for one in found if one["leadId"] in ids]

    def change(what: str, **chosen: Any) -> Any:
        answer = scene.crm.ask("POST", f"/api/deliveries/{what}", chosen, X_Actor="anna")
        assert answer.status == 200, answer.body
        return answer.json()

    wait_until(lambda: len(deliveries()) == 3, timeout_s=20)

    def sinks() -> dict[str, Any]:
        return {one["sink"]: one for one in scene.crm.get("/api/sinks")["sinks"]}

    wait_until(lambda: sinks()["crm"]["unread"] == 0)
    assert (sinks()["crm"]["state"], sinks()["crm"]["dead"]) == ("delivering", 0)
    assert (sinks()["fails"]["state"], sinks()["fails"]["lastAnswer"]) == ("failing", "500 out of order")
    # As if it were days later.
    scene.crm.rows.execute("UPDATE leads_deliveries SET attempts = 9, next_at = event_at WHERE sink = 'fails'")
    wait_until(lambda: len(deliveries(state="dead")) == 3, timeout_s=30)
    assert deliveries(state="waiting") == []
    assert {(one["nextAt"], one["status"], one["answer"]) for one in deliveries()} == {(None, 500, "out of order")}
    first = deliveries()[0]
    assert change("drop", ids=[first["id"]]) == {"changed": 1, "next": None}
    (told,) = (one for one in scene.crm.get(f"/api/leads/{first['leadId']}")["deliveries"] if one["sink"] == "fails")
    assert (told["state"], told["id"]) == ("dropped", None)
    scene.receiver.handlers["/fails"] = answer(201)
    assert change("retry", sink="fails", state="dead", since="2099-01-01")["changed"] == 0
    assert change("retry", sink="fails", state="dead", since="2024-01-01")["changed"] >= 2
    wait_until(lambda: not deliveries(), timeout_s=20)
    scene.receiver.handlers["/fails"] = answer(500, b"out of order")
    done = [record for record in scene.crm.server.log_records() if record.get("actor") == "anna"]
    assert [record["msg"].partition(":")[0] for record in done][:2] == [
        "deliveries were dropped by a person",
        "deliveries were retried by a person",
    ]
    for refused in ({}, {"ids": []}, {"ids": ["x"]}, {"state": "new"}, {"since": "soon"}, {"sink": 5}, {"a": 1}, []):
        assert scene.crm.ask("POST", "/api/deliveries/drop", refused).status == 400, refused
