"""Pages of every order and filter are those of a model in plain Python, however leads are looked for."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import orjson
import pytest

from leadcrm.crm import day_columns, looking, past_days, sorting
from leadcrm.crm.audit import Actor, Via
from leadcrm.crm.changes import change_leads
from leadcrm.crm.leads import Lead, LeadFilter
from leadcrm.crm.queries import select_leads, to_leads
from leadcrm.crm.sorting import SORTS, list_sorted
from leadcrm.crm.tombstones import erase_rows
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind, session
from leadcrm.ingest.submission import Submission
from tests.support.crm import id_at, keep, keep_days, submission, url_of

NOW = datetime.now(timezone.utc)
ANNA = Actor("anna", Via.COMMAND)
STATUSES = ("new", "won", "lost")
DAYS = 6
LEADS = 160
VALUES: dict[str, list[str | None]] = {
    "country": ["LV", "lv", "LT", "", None],
    "offer": ["Casino 7", "CASINO 7", "Loan", None],
    "marker": [f"m{number}" for number in range(30)],
    "click_id": [None, "", *(f"c-{number}" for number in range(9))],
}
POOLS = {
    **{name: [value or "" for value in values] + ["none"] for name, values in VALUES.items()},
    "status": [*STATUSES],
    "assigned_to": ["anna", "bob", ""],
}


def lead_at(at: datetime, chance: random.Random, **fields: str | None) -> Submission:
    return submission(orjson.dumps(fields), received_at=at, lead_id=id_at(at, chance))


def some_lead(chance: random.Random) -> Submission:
    at = NOW - timedelta(minutes=chance.randrange(DAYS * 24 * 60), microseconds=chance.randrange(10**6))
    # Several at one moment, and at the borders of quarters and days.
    border = at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)
    at = chance.choice([at, border, border.replace(hour=chance.choice([0, 12]), minute=0)])
    row = lead_at(at, chance, email="ann@example.com", **{name: chance.choice(pool) for name, pool in VALUES.items()})
    return row if chance.randrange(7) else row._replace(is_test=True, source="meta")


def some_filter(chance: random.Random, rows: list[Lead]) -> LeadFilter:
    parts: dict[str, Any] = {}
    names = [name for name in POOLS if chance.randrange(4) == 0]
    chance.shuffle(names)
    if names:
        parts["values"] = tuple(
            (name, tuple(chance.sample(POOLS[name], chance.randrange(1, min(4, len(POOLS[name])))))) for name in names
        )
    if chance.randrange(4) == 0:
        parts["contains"] = (("offer", (chance.choice(["casino", "o", "zz"]),)),)
    for name in ("since", "until"):
        if chance.randrange(4) == 0:
            at = chance.choice(rows).created_at
            midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
            parts[name] = chance.choice([at, midnight, at + timedelta(microseconds=1)])
    if chance.randrange(4) == 0:
        parts["tests"] = chance.choice(["only", "include"])
    return LeadFilter(**parts)


def is_wanted(lead: Lead, wanted: LeadFilter) -> bool:
    return (
        all((getattr(lead, name) or "") in texts for name, texts in wanted.values)
        and all(any(t in (getattr(lead, name) or "").lower() for t in texts) for name, texts in wanted.contains)
        and (wanted.tests == "include" or lead.is_test == (wanted.tests == "only"))
        and (wanted.since is None or lead.created_at >= wanted.since)
        and (wanted.until is None or lead.created_at < wanted.until)
    )


def in_order(rows: list[Lead], sort: str) -> list[UUID]:
    is_descending, name = sort.startswith("-"), sort.removeprefix("-")
    newest_first = sorted(rows, key=lambda lead: (lead.created_at, lead.id), reverse=True)
    if name == "status":
        direction = -1 if is_descending else 1
        found = sorted(newest_first, key=lambda lead: direction * STATUSES.index(lead.status))
    elif name == "callAt":
        called = [lead for lead in rows if lead.call_at]
        found = sorted(called, key=lambda lead: (lead.call_at or NOW, lead.id), reverse=is_descending)
        found += [lead for lead in newest_first if not lead.call_at]
    else:
        column = {"arrived": "created_at", "updated": "updated_at"}[name]
        found = sorted(rows, key=lambda lead: (getattr(lead, column), lead.id), reverse=is_descending)
    return [lead.id for lead in found]


def listed(entities: Entities, lead_filter: LeadFilter, sort: str, limit: int) -> list[UUID]:
    ids: list[UUID] = []
    after: Any = None
    while True:
        page = list_sorted(entities, lead_filter, sort, STATUSES, limit=limit, after=after)
        ids += [lead.id for lead in page.leads]
        if (after := page.next) is None:
            return ids


def all_leads(entities: Entities) -> list[Lead]:
    with session(entities):
        return list(to_leads(select_leads(entities, are_whole=True)[:]))


def change_some(database: str, entities: Entities, chance: random.Random) -> None:
    some = sorted(lead.id for lead in chance.sample(all_leads(entities), 8))
    change_leads(entities, some, {"status": chance.choice(STATUSES[1:])}, actor=ANNA)
    change_leads(entities, some[:4], {"assigned_to": chance.choice(["anna", "bob"])}, actor=ANNA)
    call_at = NOW.replace(tzinfo=None, microsecond=0) + timedelta(hours=chance.randrange(-50, 50))
    change_leads(entities, some[2:6], {"call_at": call_at}, actor=ANNA)
    erase_rows(entities, some[7:], "erased")
    keep(database, [some_lead(chance) for _ in range(2)])


@pytest.fixture
def chance() -> random.Random:
    return random.Random(11)


_MODULES = {"MANY": day_columns, "MAX_OTHERS": past_days}


def be_small(monkeypatch: pytest.MonkeyPatch, **numbers: int) -> None:
    """Let a few leads be many."""
    monkeypatch.setattr(sorting, "LOOKED_AT_FIRST", 2)
    for name, leads in {"LOOKED_AT_FIRST": 2, "LOOKED_AT_NEXT": 5, "FEW": 0, **numbers}.items():
        monkeypatch.setattr(_MODULES.get(name, looking), name, leads)


def test_pages_are_those_of_a_model(
    database: str, entities: Entities, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, [some_lead(chance) for _ in range(LEADS)])
    by_times = 0

    def spy(*arguments: Any) -> Any:
        nonlocal by_times
        by_times += 1
        return past_days.in_stretches(*arguments)

    monkeypatch.setattr(looking, "in_stretches", spy)
    for turn in range(12):
        if turn % 3:
            change_some(database, entities, chance)
        if turn % 4 != 2:
            keep_days(entities)
        rows = all_leads(entities)
        few_of_days = chance.choice([0, 30, 60, 10**6])
        be_small(
            monkeypatch,
            FEW_OF_DAYS=few_of_days,
            MANY=chance.choice([1, 3, 50]),
            MAX_OTHERS=chance.choice([10, 100, 10**6]),
        )
        for number, sort in enumerate(SORTS):
            wanted = some_filter(chance, rows)
            limit = chance.choice([3, 9, 20])
            expected = in_order([lead for lead in rows if is_wanted(lead, wanted)], sort)
            assert listed(entities, wanted, sort, limit) == expected, (turn, number, few_of_days, limit, sort, wanted)
    assert by_times > 40


@pytest.fixture
def quarters(database: str, chance: random.Random) -> list[UUID]:
    """Ten leads in each of eight hours of a past day, the newest first."""
    day = (NOW - timedelta(days=3)).replace(hour=10, minute=0, second=0, microsecond=0)
    moments = [day + timedelta(hours=hour, seconds=second) for hour in range(8) for second in range(10)]
    rows = [lead_at(at, chance, country="LV") for at in moments]
    keep(database, rows)
    return [UUID(row.id) for row in rows][::-1]


def test_a_lead_that_changes_while_it_is_looked_for_ends_no_list(
    database: str, entities: Entities, quarters: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_days(entities)
    be_small(monkeypatch, FEW_OF_DAYS=12, MANY=1_000)
    others = bind(url_of(database))
    changed: list[object] = []

    def change_the_newest(*arguments: Any) -> Any:
        # Beside a read SQLite shows it its own snapshot.
        changed.extend(changed or change_leads(others, quarters[:1], {"status": "won"}, actor=ANNA))
        return past_days.in_stretches(*arguments)

    monkeypatch.setattr(looking, "in_stretches", change_the_newest)
    wanted = LeadFilter(values=(("country", ("LV",)), ("status", ("new",))))
    found = listed(entities, wanted, "-arrived", 9)
    others.database.disconnect()
    assert changed
    assert found[-79:] == quarters[1:]


def test_a_change_past_the_program_ends_no_list(
    entities: Entities, quarters: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_days(entities)
    be_small(monkeypatch, FEW_OF_DAYS=12, MANY=1_000)
    newest = quarters[0]
    with session(entities, writes=True):
        entities.lead[newest].country = "LT"
    assert listed(entities, LeadFilter(values=(("country", ("LV",)),)), "-arrived", 9) == quarters[1:]


def test_the_only_lead_of_today_is_listed_with_those_of_past_days(
    database: str, entities: Entities, quarters: list[UUID], chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, [today := lead_at(NOW, chance, country="LV")])
    keep_days(entities)
    be_small(monkeypatch, MANY=1_000)
    wanted = LeadFilter(values=(("country", ("LV",)),))
    assert listed(entities, wanted, "-arrived", 100) == [UUID(today.id), *quarters]
