"""Counts of past days that are kept are what counting them anew gives, whatever becomes of their leads."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from leadcrm.configuration.time_zone import UTC, parse_time_zone
from leadcrm.crm import counted_days, day_keeping, past_days
from leadcrm.crm import statistics as statistics_module
from leadcrm.crm.audit import Actor, Via
from leadcrm.crm.changes import change_leads
from leadcrm.crm.day_keeping import DayKeeper
from leadcrm.crm.dialects import Step
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.statistics import Statistics, statistics
from leadcrm.crm.tombstones import erase_rows
from leadcrm.crm.value_counts import count_by_values
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind, session
from leadcrm.database.states import State
from leadcrm.errors import StoreUnavailable
from leadcrm.feed.pruning import prune_feed
from leadcrm.ingest.submission import Submission
from tests.support import crm
from tests.support.crm import keep, run_command, submission, url_of

NOW = datetime.now(timezone.utc)
TODAY = NOW.replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
ANNA = Actor("anna", Via.COMMAND)
CHANCE = random.Random(3)
LEADS_A_DAY = 5
DAYS = 12


def lead(days: float, number: int = 0, **changes: object) -> Submission:
    """Return a lead of so many days ago, whose id begins with its time."""
    at = NOW - timedelta(days=days, minutes=7 * number)
    body = b'{"country":"%s","offer":"offer %d"}' % ((b"LV", b"LT")[number % 2], number)
    return submission(body, received_at=at, lead_id=crm.id_at(at, CHANCE))._replace(**changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see a midnight."""
    for module in (counted_days, day_keeping, past_days):
        monkeypatch.setattr(module, "now", lambda: NOW.replace(tzinfo=None))


@pytest.fixture
def old() -> Submission:
    return lead(6, 30)


@pytest.fixture
def entities(database: str, old: Submission) -> Iterator[Entities]:
    keep(database, [old, *(lead(days, number) for days in range(DAYS) for number in range(LEADS_A_DAY))])
    bound = bind(url_of(database))
    yield bound
    bound.database.disconnect()


def keep_days(entities: Entities, keeper: DayKeeper | None = None) -> set[date]:
    """Let a keeper finish, and return the days that are kept."""
    crm.keep_days(entities, keeper)
    return days_kept(entities)


def days_kept(entities: Entities) -> set[date]:
    with session(entities):
        return {row.day for row in entities.counted_day.select()}


def asked(entities: Entities, *, anew: bool = False, step: Step = "day", zone: str = "UTC") -> Statistics:
    until = NOW.replace(tzinfo=None) + timedelta(minutes=1)
    period = LeadFilter(since=TODAY - timedelta(days=10, hours=3), until=until)
    count = count_by_values if anew else past_days.count_with_days
    with session(entities):
        found = statistics(entities, period, step, UTC if zone == "UTC" else parse_time_zone(zone), count)
    # Values that are as frequent have no order of their own.
    return replace(found, dimensions={name: sorted(values, key=str) for name, values in found.dimensions.items()})


@pytest.mark.parametrize(
    ("step", "zone"), [("day", "UTC"), ("day", "Asia/Kathmandu"), ("day", "Europe/Riga"), ("hour", "America/St_Johns")]
)
def test_days_of_every_zone_are_made_of_what_is_kept(
    entities: Entities, step: Step, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = asked(entities, anew=True, step=step, zone=zone)
    assert asked(entities, step=step, zone=zone) == expected, "nothing is kept yet"
    assert len(keep_days(entities)) >= DAYS - 1
    counted = []

    def spy(*arguments: object) -> past_days.Counts:
        counted.append(arguments)
        return count_by_values(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(past_days, "count_by_values", spy)
    assert asked(entities, step=step, zone=zone) == expected
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
    database: str, entities: Entities, old: Submission, tmp_path: Path, happen: Callable[[str, Path, str], None]
) -> None:
    keeper = DayKeeper()
    all_days = keep_days(entities, keeper)
    before = asked(entities)
    happen(database, tmp_path, old.id)
    after = asked(entities)
    assert after == asked(entities, anew=True)
    assert after.dimensions != before.dimensions
    # What is pruned leaves no days before it.
    assert keep_days(entities, keeper) <= all_days
    assert asked(entities) == after


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_requests_that_are_no_leads_are_counted_some_at_a_time(
    database: str, entities: Entities, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(statistics_module, "IDS_AT_ONCE", at_once)
    kept = [lead(days, 3 * number) for days in (2, 3, 5) for number in range(days)]
    keep(database, [row._replace(state=State.INVALID, fields=None, error="none") for row in kept])
    found = asked(entities, zone="Asia/Kathmandu").outcomes["invalid"]
    zone = parse_time_zone("Asia/Kathmandu").rules
    days = Counter(row.received_at.astimezone(zone).date() for row in kept)
    assert {at.replace(tzinfo=timezone.utc).astimezone(zone).date(): n for at, n in found.items() if n} == days


def test_no_step_of_anybody_makes_a_count_wrong(database: str, entities: Entities) -> None:
    chance = random.Random(7)
    keepers = [DayKeeper(), DayKeeper()]
    for _ in range(60):
        with session(entities):
            ids = [row.raw.id for row in entities.lead.select()]
        step = chance.randrange(4)
        if step == 0:
            keep(database, [lead(chance.randrange(DAYS), chance.randrange(60)) for _ in range(3)])
        elif step == 1:
            status = {"status": chance.choice(("won", "lost"))}
            change_leads(entities, sorted(chance.sample(ids, 3)), status, actor=ANNA)
        elif step == 2 and len(ids) > 2 * DAYS:
            erase_rows(entities, [chance.choice(ids)], "erased")
        else:
            chance.choice(keepers).keep(entities)
        assert asked(entities) == asked(entities, anew=True)


def test_nodes_whose_clocks_differ_count_every_lead_around_midnight(
    database: str, entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_clock(at: datetime) -> None:
        for module in (counted_days, day_keeping, past_days):
            monkeypatch.setattr(module, "now", lambda: at)

    monkeypatch.setattr(day_keeping, "EVENTS_BEHIND", 0)
    before, after = TODAY - timedelta(minutes=2), TODAY + timedelta(minutes=2)
    set_clock(after)
    keep_days(entities)
    set_clock(before)
    keep(database, [lead((NOW.replace(tzinfo=None) - before) / timedelta(days=1))])
    keep_days(entities)
    set_clock(after)
    assert asked(entities) == asked(entities, anew=True)


def test_what_an_earlier_version_did_not_keep_is_added_at_once(entities: Entities) -> None:
    days = keep_days(entities)
    with session(entities):
        for row in entities.counted_day.select():
            row.set(click_ids=None, touches=None)
    keeper = DayKeeper()
    for _ in days:
        keeper.keep(entities)
    with session(entities):
        assert {row.day for row in entities.counted_day.select() if row.touches and row.click_ids} == days


def test_what_is_erased_leaves_the_counts_with_its_lead(database: str, entities: Entities, old: Submission) -> None:
    day = old.received_at.date()
    assert day in keep_days(entities)
    erase_rows(entities, [UUID(old.id)], "erased")
    assert day not in days_kept(entities)


def test_what_was_counted_before_a_change_was_seen_is_not_kept(
    database: str, entities: Entities, old: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = day_keeping.count_day

    def hear_of_a_change() -> None:
        change(database, Path(), old.id)
        bound = bind(url_of(database))
        monkeypatch.setattr(day_keeping, "EVENTS_BEHIND", 0)
        DayKeeper().keep(bound)
        bound.database.disconnect()

    def change_meanwhile(entities: Entities, day: date) -> counted_days.DayRecord:
        counts = count(entities, day)
        if day == old.received_at.date():
            monkeypatch.setattr(day_keeping, "count_day", count)
            thread = threading.Thread(target=hear_of_a_change)
            thread.start()
            thread.join()
        return counts

    monkeypatch.setattr(day_keeping, "count_day", change_meanwhile)
    keep_days(entities)
    assert asked(entities) == asked(entities, anew=True)


def test_a_change_that_makes_no_event_is_counted_after_a_while(
    entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = DayKeeper()
    keep_days(entities, keeper)
    before = asked(entities)
    with session(entities, writes=True):
        entities.database.execute("UPDATE leads SET status = 'won'")
    assert asked(entities) != asked(entities, anew=True)
    assert asked(entities).leads == before.leads
    monkeypatch.setattr(day_keeping, "COMPARE_S", 0.0)
    monkeypatch.setattr(day_keeping, "WORK_S", 60.0)
    keeper.keep(entities)
    assert asked(entities) == asked(entities, anew=True)


def test_days_that_nobody_asks_for_are_counted_a_few_at_a_time(
    entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_keeping, "WORK_S", 0.0)
    keeper = DayKeeper()
    assert keeper.keep(entities)
    assert days_kept(entities) == {(TODAY - timedelta(days=1)).date()}, "the newest first"
    assert asked(entities) == asked(entities, anew=True)


def test_a_day_that_cannot_be_counted_is_told_of_and_holds_up_no_other(
    database: str, entities: Entities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    count = day_keeping.count_day
    faulty = (TODAY - timedelta(days=3)).date()
    tries = []

    def count_others(entities: Entities, day: date) -> counted_days.DayRecord:
        if day == faulty:
            tries.append(day)
            raise StoreUnavailable("the statement took too long")
        return count(entities, day)

    monkeypatch.setattr(day_keeping, "count_day", count_others)
    keeper = DayKeeper()
    assert faulty not in keep_days(entities, keeper)
    assert (len(tries), "cannot be counted" in caplog.text) == (1, False), "it is tried again some seconds later"
    monkeypatch.setattr(day_keeping, "HICCUP_S", 0.0)
    keep_days(entities, keeper)
    assert len(days_kept(entities)) >= DAYS - 2
    told = f"the leads of {faulty} cannot be counted ahead"
    assert told in caplog.text
    assert told in run_command(tmp_path, database, "check").stdout
    tries.clear()
    keep_days(entities)
    assert not tries, "it is left in peace for a while"

    with session(entities, writes=True):
        entities.day_fault[faulty].at -= day_keeping.FAULT_PAUSE
    monkeypatch.setattr(day_keeping, "count_day", count)
    assert faulty in keep_days(entities)
    assert told not in run_command(tmp_path, database, "check").stdout


def test_nobody_is_told_of_a_day_whose_leads_are_gone(
    database: str, entities: Entities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stays = ((TODAY - timedelta(days=days)).date() for days in (DAYS - 1, 3))
    with session(entities, writes=True):
        for day in (gone, stays):
            entities.day_fault(day=day, at=NOW.replace(tzinfo=None), error="it took too long")
    keep_days(entities)
    assert f"{stays} and 1 other days" in run_command(tmp_path, database, "check").stdout
    prune(database, tmp_path, "")
    keep_days(entities)
    told = run_command(tmp_path, database, "check").stdout
    assert (f"the leads of {stays} cannot be" in told, str(gone) in told) == (True, False)


def test_a_feed_that_went_on_by_much_is_not_looked_through(entities: Entities, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_days(entities)
    monkeypatch.setattr(counted_days, "MAX_EVENTS", 2)
    with session(entities):
        ids = [row.raw.id for row in entities.lead.select()]
    change_leads(entities, ids, {"status": "won"}, actor=ANNA)
    assert asked(entities) == asked(entities, anew=True)
    keep_days(entities)
    assert asked(entities) == asked(entities, anew=True)
