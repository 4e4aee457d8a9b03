"""Counts of past days that are held are what counting them anew gives, whatever becomes of their leads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from leadcrm.configuration.time_zone import UTC, parse_time_zone
from leadcrm.crm import past_days as module
from leadcrm.crm.audit import Actor, Via
from leadcrm.crm.changes import change_leads
from leadcrm.crm.dialects import Step
from leadcrm.crm.feed import Feed
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.past_days import PastDays
from leadcrm.crm.statistics import Statistics, statistics
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind, session
from leadcrm.feed.pruning import prune_feed
from leadcrm.ingest.submission import Submission
from tests.support.crm import keep, run_command, submission, url_of

NOW = datetime.now(timezone.utc)
TODAY = NOW.replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
ANNA = Actor("anna", Via.COMMAND)
LEADS_A_DAY = 5


def lead(days: float, number: int = 0, **changes: object) -> Submission:
    """Return a lead of so many days ago, whose id begins with its time."""
    at = NOW - timedelta(days=days, minutes=7 * number)
    milliseconds = int(at.timestamp() * 1000)
    id = UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | (uuid4().int & ((1 << 60) - 1)))
    body = b'{"country":"%s","offer":"offer %d"}' % ((b"LV", b"LT")[number % 2], number)
    return submission(body, received_at=at, lead_id=str(id))._replace(**changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see a midnight."""
    monkeypatch.setattr(module, "now", lambda: NOW.replace(tzinfo=None))


@pytest.fixture
def entities(database: str) -> Iterator[Entities]:
    keep(database, [lead(days, number) for days in range(12) for number in range(LEADS_A_DAY)])
    bound = bind(url_of(database))
    yield bound
    bound.database.disconnect()


def asked(entities: Entities, days: PastDays | None, step: Step = "day", zone: str = "UTC") -> Statistics:
    until = datetime.now(timezone.utc).replace(tzinfo=None)
    period = LeadFilter(since=TODAY - timedelta(days=10, hours=3), until=until)
    count_leads = () if days is None else (days.look(entities).count,)
    with session(entities):
        found = statistics(entities, period, step, UTC if zone == "UTC" else parse_time_zone(zone), *count_leads)
    # Values that are as frequent have no order of their own.
    dimensions = {name: tuple(sorted(values, key=str)) for name, values in found.dimensions.items()}
    return Statistics(
        found.since, NOW.replace(tzinfo=None), found.step, found.zone, found.leads, found.steps, dimensions, {}
    )


@pytest.mark.parametrize(("step", "zone"), [("day", "UTC"), ("day", "Asia/Kathmandu"), ("hour", "America/St_Johns")])
def test_days_of_every_zone_are_made_of_what_is_held(entities: Entities, step: Step, zone: str) -> None:
    days = PastDays(Feed())
    for _ in range(2):
        assert asked(entities, days, step, zone) == asked(entities, None, step, zone)
    assert len(days) == 10


def test_what_is_held_is_not_counted_anew(entities: Entities, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    count = module.count_by_values

    def spy(entities: Entities, lead_filter: LeadFilter, unit: module.Unit) -> module.Counts:
        counted.append(lead_filter)
        return count(entities, lead_filter, unit)

    monkeypatch.setattr(module, "count_by_values", spy)
    days = PastDays(Feed())
    asked(entities, days)
    assert len(counted) == 12
    counted.clear()
    asked(entities, days)
    assert len(counted) == 2, "the rest of the first day, and today"


def erase(database: str, directory: Path, id: str) -> None:
    done = run_command(directory, database, "erase", id, "--yes")
    assert done.returncode == 0, done.stderr


def prune(database: str, directory: Path, _: str) -> None:
    done = run_command(directory, database, "prune", "--older-than", "9d", "--yes")
    assert done.returncode == 0, done.stderr


def change(database: str, _: Path, id: str) -> None:
    bound = bind(url_of(database))
    change_leads(bound, [UUID(id)], {"status": "won", "assigned_to": "anna"}, actor=ANNA)
    bound.database.disconnect()


def arrive_late(database: str, _: Path, id: str) -> None:
    keep(database, [lead(4, 40), lead(7, 41)])


def arrive_from_elsewhere(database: str, directory: Path, id: str) -> None:
    """Keep a lead whose id does not begin with its time, and change it."""
    row = lead(5, 50)._replace(id=str(uuid4()))
    keep(database, [row])
    change(database, directory, row.id)


def prune_feed_events(database: str, directory: Path, id: str) -> None:
    change(database, directory, id)
    bound = bind(url_of(database))
    assert prune_feed(bound, days=0, now=datetime.now(timezone.utc) + timedelta(hours=2))
    bound.database.disconnect()


@pytest.mark.parametrize(
    "happen",
    [erase, prune, change, arrive_late, arrive_from_elsewhere, prune_feed_events],
    ids=lambda each: each.__name__,
)
def test_whatever_becomes_of_an_old_lead_is_counted_at_once(
    database: str, tmp_path: Path, happen: Callable[[str, Path, str], None]
) -> None:
    old = lead(6, 30)
    keep(database, [old, *(lead(days, number) for days in range(12) for number in range(LEADS_A_DAY))])
    bound = bind(url_of(database))
    days = PastDays(Feed())
    before = asked(bound, days)
    happen(database, tmp_path, old.id)
    after = asked(bound, days)
    assert after == asked(bound, None)
    assert after.dimensions != before.dimensions
    assert asked(bound, days) == asked(bound, None)
    bound.database.disconnect()


def test_what_was_counted_before_a_change_was_seen_is_not_held(
    database: str, entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = PastDays(Feed())
    count = module.count_by_values
    start, end = TODAY - timedelta(days=6), TODAY - timedelta(days=5)
    whole_day = LeadFilter(since=start, until=end)
    with session(entities):
        of_that_day = entities.lead.select(lambda lead: lead.created_at >= start and lead.created_at < end)
        old: UUID = of_that_day.first().raw.id

    def hear_of_a_change() -> None:
        change(database, Path(), str(old))
        bound = bind(url_of(database))
        days.look(bound)
        bound.database.disconnect()

    def change_meanwhile(entities: Entities, lead_filter: LeadFilter, unit: module.Unit) -> module.Counts:
        monkeypatch.setattr(module, "count_by_values", count)
        thread = threading.Thread(target=hear_of_a_change)
        counts = {part.since: count(entities, part, unit) for part in (lead_filter, whole_day)}
        thread.start()
        thread.join()
        # Of this one day it says what was before the change.
        monkeypatch.setattr(module, "count_by_values", lambda *asked: counts.get(asked[1].since) or count(*asked))
        return counts[lead_filter.since]

    monkeypatch.setattr(module, "count_by_values", change_meanwhile)
    asked(entities, days)
    monkeypatch.setattr(module, "count_by_values", count)
    assert asked(entities, days) == asked(entities, None)


def test_what_is_held_is_bounded(entities: Entities, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 2_000)
    days = PastDays(Feed())
    assert asked(entities, days) == asked(entities, None)
    assert 0 < len(days) < 10
    assert asked(entities, days) == asked(entities, None)


def test_a_change_that_makes_no_event_is_counted_after_a_while(
    entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = PastDays(Feed())
    before = asked(entities, days)
    with session(entities, writes=True):
        entities.database.execute("UPDATE leads SET status = 'won'")
    assert asked(entities, days).dimensions["status"] != asked(entities, None).dimensions["status"]
    assert asked(entities, days).leads == before.leads
    monkeypatch.setattr(module, "HELD_S", 0.0)
    assert asked(entities, days) == asked(entities, None)
