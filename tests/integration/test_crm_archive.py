"""Putting requests out of the inbox over HTTP: one, all that are alike, and back again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from leadcrm.crm.statistics import lowest_id
from leadcrm.ingest.submission import Submission
from tests.conftest import new_database, server_starter
from tests.support.crm import keep, submission
from tests.support.crm_client import ENVIRONMENT, Crm


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def crm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    for database in new_database(request.param, request, tmp_path_factory.mktemp("crm-database")):
        for start in server_starter(request.node, tmp_path_factory.mktemp("crm")):
            yield Crm(start(database, environment=ENVIRONMENT), database)


def listed(crm: Crm, **parameters: Any) -> list[str]:
    return [row["id"] for row in crm.get("/api/raw", limit=500, **parameters)["rows"]]


def test_requests_leave_the_inbox_and_come_back_as_they_were(crm: Crm) -> None:
    alike = [submission(b"null", state="invalid", error="no payload") for _ in range(4)]
    other = submission(b"[", state="invalid", error="no JSON")
    lead = submission(b'{"email":"a@example.com"}')
    keep(crm.database, [*alike, other, lead])
    ids = [row.id for row in reversed(alike)]
    before = crm.get(f"/api/raw/{ids[0]}")

    done = crm.ask("POST", "/api/raw/archive", {"ids": [ids[0], lead.id]}, X_Actor="anna").json()
    assert done == {"ids": [ids[0]]}
    assert crm.ask("POST", "/api/raw/archive", {"ids": [ids[0]]}).json() == {"ids": []}
    assert listed(crm) == [other.id, *ids[1:]]
    assert crm.ask("POST", "/api/raw/archive", {"like": ids[2]}).json() == {"ids": ids[1:]}
    assert listed(crm) == [other.id]
    assert listed(crm, archived="only", state="invalid") == ids
    assert listed(crm, archived="include") == [other.id, *ids]
    assert crm.get(f"/api/raw/{ids[0]}") == before

    back = crm.ask("POST", "/api/raw/archive", {"ids": [*ids, other.id], "archived": False}).json()["ids"]
    assert sorted(back) == sorted(ids)
    assert listed(crm) == [other.id, *ids]
    crm.ask("POST", "/api/raw/archive", {"ids": ids[:1]})
    assert crm.ask("POST", f"/api/raw/{ids[0]}/replay").json()["state"] == "invalid", "it can still be replayed"
    for wrong in (
        {},
        {"ids": []},
        {"ids": ids, "like": ids[0]},
        {"like": ids[0], "archived": False},
        {"like": "x"},
        [],
    ):
        assert crm.ask("POST", "/api/raw/archive", wrong).status == 400
    assert crm.ask("POST", "/api/raw/archive", {"like": lead.id}).status == 404


def test_the_requests_of_a_time_are_those_that_the_statistics_count(crm: Crm) -> None:
    def invalid(minute: int) -> Submission:
        at = datetime(2024, 5, 6, 12) + timedelta(minutes=minute)
        arrived = at.replace(tzinfo=timezone.utc)
        return submission(b"null", state="invalid", error="of noon", lead_id=str(lowest_id(at)), received_at=arrived)

    rows = [invalid(minute) for minute in (-1, 0, 30, 59, 60)]
    keep(crm.database, rows)
    period = {"from": "2024-05-06T12:00:00Z", "to": "2024-05-06T13:00:00Z"}
    assert crm.get("/api/stats", **period)["outcomes"]["invalid"] == 3
    expected = [rows[number].id for number in (3, 2, 1)]
    assert listed(crm, state="invalid", **period) == expected
    assert listed(crm, state="invalid", source="api", **period) == expected
    day = {"from": "2024-05-06", "to": "2024-05-06", "zone": "+14:00"}
    assert listed(crm, state="invalid", **day) == []
    assert listed(crm, state="invalid", **{**day, "zone": "-12:00"}) == [row.id for row in reversed(rows[1:])]
    first = crm.get("/api/raw", state="invalid", limit=2, **period)
    assert [row["id"] for row in first["rows"]] == expected[:2]
    rest = crm.get("/api/raw", state="invalid", limit=2, cursor=first["next"], **period)
    assert ([row["id"] for row in rest["rows"]], rest["next"]) == (expected[2:], None)
    crm.ask("POST", "/api/raw/archive", {"ids": expected[:1]})
    assert listed(crm, state="invalid", **period) == expected[1:]
    assert listed(crm, state="invalid", archived="include", **period) == expected
