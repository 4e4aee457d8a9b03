"""Correcting what was sent of a person, over HTTP: the lead changes, and everything that came stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import new_database, server_starter
from tests.support.crm_client import ENVIRONMENT, Crm


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def crm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    for database in new_database(request.param, request, tmp_path_factory.mktemp("crm-database")):
        for start in server_starter(request.node, tmp_path_factory.mktemp("crm")):
            yield Crm(start(database, environment=ENVIRONMENT), database)


SENT = {
    "phone": "26123",
    "email": "old@exmaple.com",
    "firstName": "Jon",
    "lastName": "Wrongname",
    "country": "LT",
    "lang": "lt",
    "offer": "Gold",
}
RIGHT = {
    "phone": "+371 26 777 888",
    "email": "right@example.com",
    "firstName": "J\u0101nis",
    "lastName": "Rightname",
    "country": "LV",
    "lang": None,
}


def post(crm: Crm, **fields: Any) -> str:
    return str(crm.server.client.post_lead(fields).json()["lead_id"])


def test_a_corrected_lead_is_found_and_told_by_what_is_right_and_keeps_what_came(crm: Crm) -> None:
    id = post(crm, **SENT)
    after = crm.get("/api/feed", limit=500)["next"]
    before = crm.get(f"/api/leads/{id}")["raw"]
    answer = crm.ask("PATCH", f"/api/leads/{id}", {**RIGHT, "lang": ""}, X_Actor="anna")
    lead = {name: answer.json()[name] for name in SENT}
    assert (answer.status, lead) == (200, {**RIGHT, "offer": "Gold"})
    history = crm.get(f"/api/leads/{id}")
    assert history["raw"] == before
    assert json.loads(before["body"]) == SENT
    told = {(event["field"], event["from"], event["to"], event["by"]) for event in history["events"]}
    assert told == {(name, SENT[name], RIGHT[name], "anna") for name in RIGHT}

    for found in ({"phone": "26777888"}, {"q": "37126777888"}, {"q": "rightn"}, {"email": "RIGHT@example.com"}):
        assert crm.ids(**found) == [id]
    for gone in ({"phone": "26123"}, {"q": "wrongname"}, {"q": "old@exm"}):
        assert crm.ids(**gone) == []

    events = crm.get("/api/feed", after=after, limit=500)["events"]
    assert {event["change"]["field"] for event in events if event["leadId"] == id} == set(RIGHT)
    assert all(event["lead"]["phone"] == RIGHT["phone"] for event in events if event["leadId"] == id)
    assert crm.ask("POST", f"/api/raw/{id}/replay").json()["changed"] is False
    assert crm.get(f"/api/leads/{id}")["lead"] == answer.json()


def test_only_one_leads_person_is_corrected_and_only_by_people(crm: Crm) -> None:
    id = post(crm, phone="1")
    assert crm.ask("POST", "/api/leads/bulk", {"ids": [id], "phone": "2"}).status == 400
    assert crm.ask("PATCH", f"/api/leads/{id}", {"phone": "2", "offer": "x"}).status == 400
    assert crm.ask("PATCH", f"/api/leads/{id}", {"phone": "2"}, X_Actor="mapping%20v1").status == 400
    assert crm.ask("PATCH", f"/api/leads/{id}", {"phone": "1"}).status == 200
    assert crm.get(f"/api/leads/{id}")["events"] == []
