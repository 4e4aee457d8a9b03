"""Correcting a kept request, over HTTP and from a terminal: its lead is what a person says, and its bytes stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import new_database, server_starter
from tests.support.crm import keep, run_command, submission
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.rows import Rows

SOURCES = """
[source.land]
each = "rows"
map.email = ["mail"]
map.offer = ["plan"]
"""


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def crm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    directory = tmp_path_factory.mktemp("crm")
    (directory / "land.toml").write_text(SOURCES)
    environment = {**ENVIRONMENT, "SOURCES_FILE": str(directory / "land.toml")}
    for database in new_database(request.param, request, tmp_path_factory.mktemp("crm-database")):
        for start in server_starter(request.node, directory):
            yield Crm(start(database, environment=environment), database)


def correct(crm: Crm, id: str, document: Any, **headers: str) -> Any:
    return crm.ask("POST", f"/api/raw/{id}/correct", document, **headers).json()


def test_a_correction_makes_the_lead_and_leaves_the_bytes_as_they_came(crm: Crm) -> None:
    content = b'{"email":"a@example.com", "phone":'
    sent = crm.server.client.request("POST", "/api/lead", body=content, headers=[("Content-Type", "application/json")])
    assert sent.status == 400
    row = crm.get("/api/raw", limit=1)["rows"][0]
    id = row["id"]
    wrong = correct(crm, id, {"body": "[]"})
    assert (wrong["state"], wrong["changed"], wrong["leadId"]) == ("invalid", False, None)
    assert wrong["error"] not in (None, row["error"])
    assert crm.get("/api/raw", limit=1)["rows"][0] == row, "what makes no lead changes nothing"

    body = '{"email":"a@example.com", "phone":"+371 26 000 111"}'
    done = correct(crm, id, {"body": body}, X_Actor="anna")
    assert done == {"id": id, "state": "stored", "changed": True, "leadId": id, "error": None}
    found = crm.get(f"/api/leads/{id}")
    assert (found["lead"]["email"], found["lead"]["phone"]) == ("a@example.com", "+371 26 000 111")
    assert [(e["field"], e["from"], e["to"], e["by"]) for e in found["events"]] == [("body", None, body, "anna")]
    raw = crm.get(f"/api/raw/{id}")
    assert (raw["body"], raw["bodySha256"]) == (content.decode(), hashlib.sha256(content).hexdigest())
    entry = crm.get("/api/audit", action="correct", limit=1)["entries"][0]
    assert (entry["leadId"], entry["actor"]) == (id, "anna")
    assert entry["detail"] == {"state": "stored", "changed": True, "corrected": "body"}
    outcomes = crm.get("/api/stats/outcomes", by="offer")["rows"]
    assert sum(row["touched"] for row in outcomes) == 0, "a correction is no call"
    told = [e for e in crm.get("/api/feed", after=0)["events"] if e["leadId"] == id]
    assert [e["type"] for e in told] == ["lead.created", "lead.changed"]
    again = correct(crm, id, {"body": "{}"})
    assert (again["leadId"], again["changed"]) == (id, False)


def test_fields_stand_in_where_no_body_can_be_mended(crm: Crm) -> None:
    empty = submission(b"", state="invalid", error="no payload")
    of_land = submission(b"\xff\xfe", state="invalid", error="no text")._replace(source="land", target="/in/land")
    keep(crm.database, [empty, of_land])
    for row in (empty, of_land):
        done = correct(crm, row.id, {"fields": {"firstName": "J\u0101nis", "phone": "26000222"}})
        assert (done["state"], done["error"]) == ("stored", None)
        lead = crm.get(f"/api/leads/{row.id}")["lead"]
        assert (lead["firstName"], lead["phone"], lead["source"]) == ("J\u0101nis", "26000222", row.source)


def test_a_body_is_read_as_the_requests_own_would_be(crm: Crm) -> None:
    form = submission(b"email", state="invalid", error="no form")
    form = form._replace(content_type="application/x-www-form-urlencoded; charset=iso-8859-1")
    form = form._replace(headers={"content-type": form.content_type or "", "content-encoding": "gzip"})
    land = submission(b"{", state="failed", error="a fault")._replace(source="land", target="/in/land")
    keep(crm.database, [form, land])
    assert correct(crm, form.id, {"body": "email=a%40example.com&firstName=J\u0101nis"})["state"] == "stored"
    assert crm.get(f"/api/leads/{form.id}")["lead"]["firstName"] == "J\u0101nis"
    several = correct(crm, land.id, {"body": '{"rows":[{"mail":"a@example.com"},{"mail":"b@example.com"}]}'})
    assert (several["state"], several["changed"]) == ("failed", False)
    assert "several leads" in several["error"]
    assert correct(crm, land.id, {"body": '{"rows":[{"mail":"a@example.com","plan":"gold"}]}'})["state"] == "stored"
    lead = crm.get(f"/api/leads/{land.id}")["lead"]
    assert (lead["email"], lead["offer"]) == ("a@example.com", "gold")


def test_what_is_no_correction_or_of_no_such_request_is_refused(crm: Crm) -> None:
    unproved = submission(b"{}", state="unverified", error="no signature")._replace(source="land", target="/in/land")
    keep(crm.database, [unproved])
    refused = correct(crm, unproved.id, {"fields": {"email": "a@example.com"}})
    assert (refused["state"], refused["changed"], refused["leadId"]) == ("unverified", False, None)
    assert "cannot be corrected" in refused["error"]
    target = f"/api/raw/{unproved.id}/correct"
    for wrong in (
        {}, [], {"body": ""}, {"body": " "}, {"body": 5}, {"body": "a\x00"}, {"body": "{}", "fields": {"email": "a"}},
        {"fields": {}}, {"fields": {"email": None}}, {"fields": {"mail": "a"}}, {"body": "a" * 65_537},
    ):  # fmt: skip
        assert crm.ask("POST", target, wrong).status == 400, wrong
    unknown = "0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e"
    assert crm.ask("POST", f"/api/raw/{unknown}/correct", {"body": "{}"}).status == 404


def test_a_taken_key_makes_the_corrected_request_a_duplicate_of_its_holder(crm: Crm) -> None:
    holder = submission(b'{"email":"first@example.com"}', key="taken")
    late = submission(b"{", key="taken", state="invalid", error="no JSON")
    keep(crm.database, [holder, late])
    done = correct(crm, late.id, {"body": '{"email":"second@example.com"}'})
    assert (done["state"], done["leadId"]) == ("conflict", holder.id)
    assert crm.get(f"/api/leads/{holder.id}")["events"] == []


def test_the_terminal_corrects_and_mapping_again_reads_the_correction(
    database: str, rows: Rows, tmp_path: Path
) -> None:
    bodies = [submission(b'{"email":"bad', state="invalid", error="no JSON") for _ in range(2)]
    land = submission(b'{"mail":"sent@example.com","plan":"sent"}', state="event", error="no lead")
    land = land._replace(source="land", target="/in/land")
    keep(database, [*bodies, land])
    (tmp_path / "land.toml").write_text('[source.land]\nmap.email = ["mail"]\n')
    sources = f"--sources-file={tmp_path / 'land.toml'}"
    mended = tmp_path / "mended.json"
    mended.write_text('{"email":"good@example.com"}')

    def replay(*words: str) -> Any:
        return run_command(tmp_path, database, "replay", *words)

    assert replay(bodies[0].id, "--body", str(mended)).returncode == 0
    assert replay(bodies[1].id, "--field", "phone=26000333", "--field", "firstName=Anna").returncode == 0
    mended.write_text('{"mail":"right@example.com","plan":"right"}')
    assert json.loads(replay(land.id, "--body", str(mended), "--json", sources).stdout)[0]["state"] == "stored"
    assert replay("--state", "invalid", "--body", str(mended)).returncode == 2
    assert replay(land.id, "--field", "nothing=x").returncode == 2
    assert rows.lead(bodies[0].id)["email"] == "good@example.com"
    assert (rows.lead(bodies[1].id)["phone"], rows.lead(bodies[1].id)["first_name"]) == ("26000333", "Anna")
    assert rows.raw_row(bodies[0].id)["body"] == bodies[0].body

    (tmp_path / "land.toml").write_text('[source.land]\nmap.email = ["mail"]\nmap.offer = ["plan"]\n')
    assert run_command(tmp_path, database, "renormalize", sources).returncode == 0
    lead = rows.lead(land.id)
    assert (lead["email"], lead["offer"]) == ("right@example.com", "right")
    assert run_command(tmp_path, database, "verify").returncode == 0
