"""Working on leads over HTTP: taking the next one, notes, next calls, numbers of leads, and phones by their digits."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.conftest import new_database, server_starter
from tests.support.crm import keep, submission
from tests.support.crm_client import ENVIRONMENT, Crm

AGENTS = 50
STRANGER = "0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e"


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def crm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    """A server for all tests of the module; each test marks leads of its own, and leaves none unassigned."""
    environment = {**ENVIRONMENT, "WORKERS": "2", "STATUSES": "new, called:open:amber, sold:won, spam:lost"}
    for database in new_database(request.param, request, tmp_path_factory.mktemp("crm-database")):
        for start in server_starter(request.node, tmp_path_factory.mktemp("crm")):
            yield Crm(start(database, environment=environment), database)


def lead(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def sent(crm: Crm, *leads: dict[str, Any]) -> list[str]:
    """Keep leads, the oldest first, and return their ids."""
    rows = [submission(lead(**fields)) for fields in leads]
    keep(crm.database, rows)
    return [row.id for row in rows]


def set_aside(crm: Crm) -> None:
    """Assign all leads that nobody has to somebody."""
    while ids := crm.ids(assignedTo="", limit=500):
        crm.ask("POST", "/api/leads/bulk", {"ids": ids, "assignedTo": "somebody"})


def take(crm: Crm, actor: str) -> Any:
    answer = crm.ask("POST", "/api/leads/next", X_Actor=actor)
    assert answer.status == 200, answer.body
    return answer.json()["lead"]


def test_fifty_agents_who_take_the_next_lead_at_once_get_fifty_different_leads(crm: Crm) -> None:
    set_aside(crm)
    ids = sent(crm, *({"marker": "race"} for _ in range(AGENTS)))
    with ThreadPoolExecutor(AGENTS) as agents:
        taken = list(agents.map(lambda number: take(crm, f"agent-{number}"), range(AGENTS)))
    assert sorted(each["id"] for each in taken) == sorted(ids)
    assert {each["assignedTo"] for each in taken} == {f"agent-{number}" for number in range(AGENTS)}
    assert take(crm, "late") is None


def test_the_next_lead_is_the_oldest_that_is_open_and_waits_for_nobody(crm: Crm) -> None:
    set_aside(crm)
    spam, later, oldest, newest = sent(crm, *({"marker": "next"} for _ in range(4)))
    crm.ask("PATCH", f"/api/leads/{spam}", {"status": "spam"})
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).isoformat()
    crm.ask("PATCH", f"/api/leads/{later}", {"callAt": tomorrow})
    taken = take(crm, "anna%20b")
    assert (taken["id"], taken["assignedTo"]) == (oldest, "anna b")
    (event,) = crm.get(f"/api/leads/{oldest}")["events"]
    assert (event["field"], event["from"], event["to"], event["by"]) == ("assignedTo", None, "anna b", "anna b")
    assert take(crm, "bruno")["id"] == newest
    assert take(crm, "bruno") is None
    assert crm.ask("POST", "/api/leads/next").status == 400


def test_the_choices_are_the_statuses_as_configured_and_the_people_with_leads(crm: Crm) -> None:
    (one,) = sent(crm, {"marker": "choices"})
    crm.ask("PATCH", f"/api/leads/{one}", {"status": "unheard of", "assignedTo": "zoe"})
    choices = crm.get("/api/choices")
    assert choices["statuses"] == [
        {"name": "new", "meaning": "open", "colour": "grey"},
        {"name": "called", "meaning": "open", "colour": "amber"},
        {"name": "sold", "meaning": "won", "colour": "green"},
        {"name": "spam", "meaning": "lost", "colour": "red"},
    ]
    assert "zoe" in choices["people"]
    assert choices["people"] == sorted(choices["people"])
    assert crm.ids(marker="choices", status="unheard of") == [one]


def test_leads_are_counted_by_the_filter_of_the_list(crm: Crm) -> None:
    ids = sent(crm, *({"marker": "counted"} for _ in range(3)))
    crm.ask("PATCH", f"/api/leads/{ids[0]}", {"assignedTo": "anna"})
    assert crm.get("/api/leads/count", marker="counted") == {"leads": 3, "exact": True}
    assert crm.get("/api/leads/count", marker="counted", assignedTo="") == {"leads": 2, "exact": True}
    assert crm.ask("GET", "/api/leads/count?q=counted").status == 400


def test_a_change_of_many_leaves_those_that_have_other_values_than_expected(crm: Crm) -> None:
    ids = sent(crm, *({"marker": "expected"} for _ in range(3)))
    crm.ask("POST", "/api/leads/bulk", {"ids": ids, "status": "spam"})
    crm.ask("PATCH", f"/api/leads/{ids[1]}", {"status": "sold"})
    undone = crm.ask("POST", "/api/leads/bulk", {"ids": ids, "status": "new", "expected": {"status": "spam"}})
    assert undone.json() == {"changed": 2, "unchanged": 0, "missing": [], "stale": 1}
    assert crm.ids(marker="expected", status="sold") == [ids[1]]
    assert crm.ask("POST", "/api/leads/bulk", {"ids": ids, "expected": {"status": "new"}}).status == 400


def test_notes_and_next_calls_are_kept_in_the_history(crm: Crm) -> None:
    (one,) = sent(crm, {"marker": "noted"})
    before = crm.get(f"/api/leads/{one}")["lead"]
    text = "Asked for a call\nafter six: <b>Latvian</b> \u0101"
    answer = crm.ask("POST", f"/api/leads/{one}/notes", {"text": text}, X_Actor="anna")
    assert (answer.status, answer.json()["to"], answer.json()["by"]) == (201, text, "anna")
    assert crm.get(f"/api/leads/{one}")["lead"] == before
    changed = crm.ask("PATCH", f"/api/leads/{one}", {"callAt": "2026-01-02T18:00:00+02:00"}).json()
    assert changed["callAt"].startswith("2026-01-02T16:00:00")
    crm.ask("PATCH", f"/api/leads/{one}", {"callAt": None})
    events = crm.get(f"/api/leads/{one}")["events"]
    assert [(event["field"], event["from"], event["to"]) for event in events] == [
        ("note", None, text),
        ("callAt", None, "2026-01-02T16:00:00Z"),
        ("callAt", "2026-01-02T16:00:00Z", None),
    ]


@pytest.mark.parametrize("text", ["", "  \n", 5, None, "a\0b", "x" * 10_001])
def test_what_is_no_note_is_refused(crm: Crm, text: Any) -> None:
    (one,) = sent(crm, {"marker": "no-note"})
    assert crm.ask("POST", f"/api/leads/{one}/notes", {"text": text}).status == 400
    assert crm.get(f"/api/leads/{one}")["events"] == []
    assert crm.ask("POST", f"/api/leads/{STRANGER}/notes", {"text": "a"}).status == 404


def test_leads_whose_next_call_is_due_are_found(crm: Crm) -> None:
    past, future, none = sent(crm, *({"marker": "due"} for _ in range(3)))
    now = datetime.now(timezone.utc)
    for one, days in ((past, -1), (future, 1)):
        crm.ask("PATCH", f"/api/leads/{one}", {"callAt": (now + timedelta(days=days)).isoformat()})
    assert crm.ids(marker="due", due="now") == [past]
    assert crm.ids(marker="due", due=(now + timedelta(days=2)).isoformat()) == [future, past]
    assert crm.get("/api/leads/count", marker="due", due="now") == {"leads": 1, "exact": True}
    assert none in crm.ids(marker="due")
    for wrong in ("soon", "2026-13-01", 7):
        assert crm.ask("PATCH", f"/api/leads/{none}", {"callAt": wrong}).status == 400


SPELLINGS = ("+371 26 123 456", "+37126123456", "26123456", "00371-2612-3456", "371 (26) 12.34.56", "026123456")
OTHERS = ("+371 26 123 457", "123456", "6123456789", "no phone", "", None)


@pytest.mark.parametrize("asked", SPELLINGS)
def test_a_phone_is_found_by_its_digits_however_it_is_written(crm: Crm, asked: str) -> None:
    marker = f"digits-{asked}"
    ids = sent(crm, *({"marker": marker, "phone": phone} for phone in (*SPELLINGS, *OTHERS)))
    same = ids[: len(SPELLINGS)][::-1]
    assert crm.ids(marker=marker, phone=asked) == same
    assert crm.ids(marker=marker, q=asked) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("8 (916) 123-45-67", "+7 916 123 45 67"),
        ("+44 (0)20 7946 0958", "020 7946 0958"),
        ("p:+37126999888", "26999888"),
    ],
)
def test_a_phone_is_found_with_and_without_what_its_country_puts_before_it(crm: Crm, one: str, other: str) -> None:
    ids = sent(crm, {"marker": other, "phone": one})
    assert crm.ids(marker=other, phone=other) == ids


def test_a_phone_that_is_no_number_is_found_as_it_is(crm: Crm) -> None:
    ids = sent(crm, *({"marker": "unphone", "phone": phone} for phone in ("ask me", "12", "")))
    assert [crm.ids(marker="unphone", phone=phone) for phone in ("ask me", "12", "ask")] == [ids[:1], ids[1:2], []]


def test_an_export_has_the_notes_of_each_lead(crm: Crm) -> None:
    plain, noted, last = sent(crm, *({"marker": "exported", "lastName": name} for name in ("Plain", "Noted", "Last")))
    crm.ask("POST", f"/api/leads/{noted}/notes", {"text": "First,\n=1+1"}, X_Actor="anna")
    crm.ask("POST", f"/api/leads/{noted}/notes", {"text": "Second"}, X_Actor="bob")
    lines = crm.ask("GET", "/api/leads/export?marker=exported&format=ndjson").body.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == [last, noted, plain]
    assert [[(note["by"], note["text"]) for note in row["notes"]] for row in rows] == [
        [],
        [("anna", "First,\n=1+1"), ("bob", "Second")],
        [],
    ]
    text = crm.ask("GET", "/api/leads/export?marker=exported").body.decode("utf-8-sig")
    cells = [row["notes"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    assert [cell.count("\n") for cell in cells] == [0, 2, 0]
    assert " anna: First,\n'=1+1\n" in cells[1]
    crm.ask("POST", "/api/leads/bulk", {"ids": [plain, noted, last], "assignedTo": "somebody"})
