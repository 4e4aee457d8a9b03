"""The numbers of a period over HTTP: in a time zone, by the filter of the list, and what became of leads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import new_database, server_starter
from tests.support.crm import keep, run_command, submission
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.waiting import wait_until


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def crm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    environment = {**ENVIRONMENT, "TIME_ZONE": "Europe/Riga"}
    for database in new_database(request.param, request, tmp_path_factory.mktemp("crm-database")):
        for start in server_starter(request.node, tmp_path_factory.mktemp("crm")):
            yield Crm(start(database, environment=environment), database)


def sent(crm: Crm, at: str, **fields: Any) -> str:
    received_at = datetime.fromisoformat(at).astimezone(timezone.utc)
    row = submission(json.dumps(fields).encode(), received_at=received_at)
    digits = f"{int(received_at.timestamp() * 1000):012x}{row.id.replace('-', '')[12:]}"
    keep(crm.database, [row._replace(id=str(UUID(hex=digits)))])
    return str(UUID(hex=digits))


def days(crm: Crm, **parameters: Any) -> dict[str, int]:
    counted = crm.get("/api/stats", step="day", **parameters)
    return {step["at"][:16]: step["created"] for step in counted["steps"]}


def test_the_server_keeps_the_counts_of_past_days_and_mends_them(crm: Crm) -> None:
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    day = f"{yesterday:%Y-%m-%d}"
    id = sent(crm, yesterday.isoformat(), country="LV")
    packed = "SELECT counts FROM leads_days WHERE day = %s"

    def kept() -> Any:
        return [row["counts"] for row in crm.rows.select(packed, day)]

    before = wait_until(kept)
    period = {"from": day, "to": day, "zone": "UTC"}
    assert crm.get("/api/stats", **period)["by"]["country"] == [{"value": "LV", "leads": 1}]
    assert crm.ask("PATCH", f"/api/leads/{id}", {"country": "LT"}).status == 200
    expected = [{"value": "LT", "leads": 1}]
    # Each with parameters of its own, as no count is told again then.
    assert crm.get("/api/stats", **period, step="day")["by"]["country"] == expected
    wait_until(lambda: kept() not in ([], before))
    assert crm.get("/api/stats", **period, tests="include")["by"]["country"] == expected


def test_days_are_those_of_the_zone_in_numbers_filter_and_export(crm: Crm) -> None:
    # The clocks go forward in Riga on the 31st, which has 23 hours.
    for at in (
        "2024-03-30T23:59:00+02:00",
        "2024-03-31T00:00:00+02:00",
        "2024-03-31T23:59:00+03:00",
        "2024-04-01T00:00+03:00",
    ):
        sent(crm, at, marker="zone")
    period = {"from": "2024-03-30", "to": "2024-04-01", "marker": "zone"}
    assert days(crm, **period) == {"2024-03-29T22:00": 1, "2024-03-30T22:00": 2, "2024-03-31T21:00": 1}
    assert days(crm, **period, zone="UTC") == {"2024-03-30T00:00": 2, "2024-03-31T00:00": 2, "2024-04-01T00:00": 0}
    assert sum(days(crm, **period, zone="Asia/Kolkata").values()) == 4
    assert crm.get("/api/stats", **period)["zone"] == "Europe/Riga"
    hours = crm.get("/api/stats", step="hour", **{**period, "from": "2024-03-31", "to": "2024-03-31"})["steps"]
    assert (len(hours), sum(hour["created"] for hour in hours)) == (23, 2)

    one_day = {"from": "2024-03-31", "to": "2024-03-31", "marker": "zone"}
    assert len(crm.ids(**one_day)) == crm.get("/api/leads/count", **one_day)["leads"] == 2
    assert crm.ids(**one_day, zone="-10:00") != crm.ids(**one_day)
    query = "from=2024-03-31&to=2024-03-31&marker=zone"
    table = csv.DictReader(io.StringIO(crm.ask("GET", f"/api/leads/export?{query}").body.decode("utf-8-sig")))
    assert [row["createdAt"] for row in table] == ["2024-03-31T23:59:00.000+03:00", "2024-03-31T00:00:00.000+02:00"]
    assert crm.get("/api/choices")["timeZone"] == "Europe/Riga"
    for wrong in ("Nowhere/Land", "../x", "+9:00"):
        assert crm.ask("GET", f"/api/choices?zone={wrong.replace('+', '%2B')}").status == 400
    assert crm.ask("GET", "/api/stats?from=0001-01-01T05:00:00Z&to=0001-01-01T06:00:00Z&zone=-12:00").status == 200


def test_the_command_line_means_the_days_of_the_zone(crm: Crm, tmp_path: Any) -> None:
    sent(crm, "2024-06-01T00:30:00+03:00", marker="zoned-command")
    period = ("--marker", "zoned-command", "--from", "2024-06-01", "--to", "2024-06-01")
    for zone, found in (("Europe/Riga", 1), ("UTC", 0)):
        done = run_command(tmp_path, crm.database, "leads", "list", *period, "--json", f"--time-zone={zone}")
        assert len(json.loads(done.stdout)["leads"]) == found, done.stderr
    done = run_command(tmp_path, crm.database, "export", "--format=csv", *period, "--time-zone=Europe/Riga")
    assert "2024-06-01T00:30:00.000+03:00" in done.stdout


def test_numbers_take_the_filter_of_the_list(crm: Crm) -> None:
    for number in range(6):
        sent(
            crm,
            f"2024-05-0{number % 3 + 1}T10:00:00+00:00",
            marker="filtered",
            offer=f"Offer {number % 2}",
            country="LV",
        )
    sent(crm, "2024-05-02T10:00:00+00:00", marker="other", offer="Offer 1")
    period = {"from": "2024-05-01", "to": "2024-05-03"}
    counted = crm.get("/api/stats", marker="filtered", contains="offer:OFFER 1", **period)
    assert counted["outcomes"]["created"] == 3 == len(crm.ids(marker="filtered", contains="offer:OFFER 1", **period))
    assert counted["by"]["offer"] == [{"value": "Offer 1", "leads": 3}]
    assert counted["by"]["assignedTo"] == [{"value": None, "leads": 3}]
    assert crm.ask("GET", "/api/stats?q=x").status == 400
    for nothing in ({"from": "2024-05-03", "to": "2024-05-01"}, {"from": "2999-01-01"}):
        assert crm.get("/api/stats", **nothing)["outcomes"]["created"] == 0
        assert crm.get("/api/stats/outcomes", **nothing)["rows"] == []
    assert {"Offer 0", "Offer 1"} == {entry["value"] for entry in crm.get("/api/stats", **period)["by"]["offer"]}


def test_outcomes_tell_statuses_and_the_time_to_the_first_touch(crm: Crm) -> None:
    now = datetime.now(timezone.utc)
    ids = []
    for minutes in (10, 20, 60, 5):
        at = (now - timedelta(minutes=minutes)).isoformat()
        ids.append(sent(crm, at, marker="outcomes", offer="A" if minutes != 5 else "B"))
    for id, status in zip(ids, ("won", "lost", "won"), strict=False):
        crm.ask("PATCH", f"/api/leads/{id}", {"status": status, "assignedTo": "anna"})
    crm.ask("PATCH", f"/api/leads/{ids[0]}", {"status": "called"})
    asked = {"marker": "outcomes", "from": (now - timedelta(days=1)).isoformat().replace("+00:00", "Z")}
    (anna, nobody) = crm.get("/api/stats/outcomes", **asked)["rows"]
    assert (anna["value"], anna["leads"], anna["statuses"]) == ("anna", 3, {"won": 1, "lost": 1, "called": 1})
    assert anna["touched"] == 3
    assert 20 * 60 <= anna["firstTouchSeconds"] < 22 * 60, "the median"
    assert (nobody["value"], nobody["touched"], nobody["firstTouchSeconds"]) == (None, 0, None)
    by_offer = crm.get("/api/stats/outcomes", by="offer", **asked)
    assert [(row["value"], row["leads"]) for row in by_offer["rows"]] == [("A", 3), ("B", 1)]
    crm.rows.execute("UPDATE lead_events SET actor = 'mapping v3' WHERE lead_id = %s", crm.rows.as_id(ids[1]))
    # A count that took long is shown a while longer.
    wait_until(lambda: crm.get("/api/stats/outcomes", **asked)["rows"][0]["touched"] == 2)
