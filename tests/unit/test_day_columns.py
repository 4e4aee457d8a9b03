"""What filters let through of the packed columns of past days is what the database lets through."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson
import pytest
from pony.orm import select

from leadcrm.crm import counting, day_columns, past_days
from leadcrm.crm.audit import Actor, Via
from leadcrm.crm.changes import change_leads
from leadcrm.crm.counted_days import DAY
from leadcrm.crm.counting import Count, count_leads
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.outcomes import Outcome, outcomes_by
from leadcrm.crm.past_days import count_with_days, number_with_days
from leadcrm.crm.queries import narrow
from leadcrm.crm.statistics import moment_of
from leadcrm.crm.touches import pack_touches
from leadcrm.crm.value_counts import count_by_values
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind, session
from tests.support.crm import id_at, keep, keep_days, submission, url_of
from tests.support.postgres import PostgresServer

NOW = datetime.now(timezone.utc)
SINCE = NOW.replace(tzinfo=None) - timedelta(days=5, hours=2)
DAYS = 8
ANNA = Actor("anna", Via.COMMAND)
VALUES = {
    "country": ["LV", "lv", "LT", "", None, "\u0100da"],
    "offer": ["Casino 7", "CASINO 7", "Loan", "100%", "a_b", None],
    "marker": [f"marker-{number}" for number in range(300)],
    "creo": ["banner", None],
    "domain": ["one.example", "two.example"],
    "lang": ["en", "lv", None],
    "sourcetype": ["web"],
}
FILTERS: dict[str, dict[str, Any]] = {
    "a value": {"values": (("country", ("LV",)),)},
    "several values": {"values": (("country", ("LV", "LT")),)},
    "empty": {"values": (("country", ("",)),)},
    "empty or a value": {"values": (("offer", ("", "Loan")),)},
    "a value that nobody has": {"values": (("offer", ("none",)),)},
    "more values than a byte counts": {"values": (("marker", ("marker-3", "marker-299")),)},
    "two columns": {"values": (("country", ("LV", "LT")), ("offer", ("Loan",)))},
    "a part in any case": {"contains": (("offer", ("casino",)),)},
    "a part with signs": {"contains": (("offer", ("0%", "_")),)},
    "a part of other letters": {"contains": (("country", ("\u0101D",)),)},
    "a part of nothing": {"contains": (("country", ("",)),)},
    "a part and a value": {"contains": (("domain", ("ONE",)),), "values": (("lang", ("en",)),)},
    "an agent": {"values": (("assigned_to", ("anna",)),)},
    "nobody": {"values": (("assigned_to", ("",)),)},
    "a status": {"values": (("status", ("won",)),)},
    "test leads": {"tests": "only"},
    "test leads too": {"tests": "include", "values": (("country", ("LV",)),)},
    "another column": {"contains": (("email", ("ann",)),)},
    "a click id": {"values": (("click_id", ("c-1",)),)},
    "a click id of few days": {"values": (("click_id", ("rare",)),)},
    "no click id": {"values": (("click_id", ("",)),)},
    "a click id that nobody has": {"values": (("click_id", ("none",)),)},
}


@pytest.fixture
def entities(database: str) -> Iterator[Entities]:
    chance = random.Random(5)
    rows = []
    for number in range(400):
        at = NOW - timedelta(minutes=chance.randrange(DAYS * 24 * 60))
        fields = {name: chance.choice(values) for name, values in VALUES.items()}
        click_id = "rare" if number in (50, 150) else f"c-{number % 9}" if number % 10 else None
        body = orjson.dumps({**fields, "click_id": click_id, "email": f"ann{number % 3}@example.com"})
        rows.append(submission(body, received_at=at, lead_id=id_at(at, chance))._replace(is_test=number % 7 == 0))
    keep(database, rows)
    bound = bind(url_of(database))
    some = sorted(UUID(row.id) for row in rows[::5])
    change_leads(bound, some, {"status": "won", "assigned_to": "anna"}, actor=ANNA)
    yield bound
    bound.database.disconnect()


def number_by_rows(entities: Entities, lead_filter: LeadFilter) -> int:
    with session(entities):
        return int(narrow(entities, select(lead for lead in entities.lead), lead_filter).count())


def by_moment(steps: Counter[str]) -> Counter[datetime]:
    found: Counter[datetime] = Counter()
    for text, leads in steps.items():
        found[moment_of(str(text))] += leads
    return found


def test_every_filter_lets_the_same_leads_through(entities: Entities, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_days(entities)
    for name, parts in FILTERS.items():
        period = LeadFilter(since=SINCE, until=NOW.replace(tzinfo=None) + timedelta(minutes=1), **parts)
        with session(entities):
            assert count_with_days(entities, period, "quarter") == count_by_values(entities, period, "quarter"), name
            for unit in ("hour", "day"):
                kept, anew = (count(entities, period, unit) for count in (count_with_days, count_by_values))
                # The texts of an hour differ in their length.
                assert by_moment(kept.pop("step")) == by_moment(anew.pop("step")), name
                assert kept == anew, name
        for lead_filter in (LeadFilter(**parts), LeadFilter(since=SINCE, **parts)):
            assert count_leads(entities, lead_filter) == Count(number_by_rows(entities, lead_filter), True), name
    # However many there are, what past days tell is exact.
    monkeypatch.setattr(counting, "MAX_COUNTED", 1)
    country = LeadFilter(values=(("country", ("LV",)),))
    assert count_leads(entities, country) == Count(number_by_rows(entities, country), True)
    monkeypatch.setattr(counting, "LOOKED_THROUGH", 10)
    casinos = LeadFilter(values=(("assigned_to", ("anna",)),), contains=(("offer", ("casino",)),))
    assert count_leads(entities, casinos) == Count(number_by_rows(entities, casinos), True)


def outcomes_of(entities: Entities) -> dict[tuple[str, str], list[Outcome]]:
    found = {}
    for name, parts in FILTERS.items():
        period = LeadFilter(since=SINCE, until=NOW.replace(tzinfo=None) + timedelta(minutes=1), **parts)
        for column in ("assigned_to", "marker"):
            with session(entities):
                found[name, column] = sorted(outcomes_by(entities, period, column), key=str)
    return found


def test_outcomes_are_the_same_of_what_is_kept(entities: Entities, monkeypatch: pytest.MonkeyPatch) -> None:
    anew = outcomes_of(entities)
    assert sum(outcome.touched for outcome in anew["a value", "assigned_to"]) > 3
    assert {outcome.touched for outcome in anew["nobody", "assigned_to"]} == {0}
    keep_days(entities)
    monkeypatch.setattr(past_days, "_WEEK", timedelta(hours=7))
    assert outcomes_of(entities) == anew
    with session(entities):
        select(row for row in entities.counted_day).delete(bulk=True)
    assert outcomes_of(entities) == anew, "week by week"


def test_touches_of_other_leads_are_not_taken_for_those_of_a_day(entities: Entities) -> None:
    anew = outcomes_of(entities)
    keep_days(entities)
    with session(entities, writes=True):
        for row in entities.counted_day.select():
            row.touches = pack_touches([1] * 999)
    assert outcomes_of(entities) == anew


def test_a_touch_within_the_second_counts_as_none_or_one(database: str) -> None:
    now = datetime.now(timezone.utc)
    keep(database, [submission(b'{"country":"LV"}', received_at=now - timedelta(seconds=at)) for at in (0, 600)])
    bound = bind(url_of(database))
    with session(bound):
        ids = sorted(row.raw.id for row in bound.lead.select())
    change_leads(bound, ids, {"status": "called"}, actor=ANNA)
    with session(bound):
        (outcome,) = outcomes_by(bound, LeadFilter(since=SINCE, until=now.replace(tzinfo=None) + DAY), "country")
    bound.database.disconnect()
    assert (outcome.leads, outcome.touched, outcome.statuses) == (2, 2, {"called": 2})
    assert outcome.first_touch_s is not None
    assert 0 <= outcome.first_touch_s < 300, "of an even number the lower one"


def test_times_are_those_of_the_leads_that_a_filter_lets_through(
    entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_days(entities)
    click, country = (
        LeadFilter(values=((name, (value,)),)) for name, value in (("click_id", "c-1"), ("country", "LV"))
    )
    with session(entities):
        assert past_days.stretches_of(entities, LeadFilter(email="ann1@example.com")) is None
        quarters = past_days.stretches_of(entities, country) or []
        monkeypatch.setattr(day_columns, "MANY", 1)
        days = past_days.stretches_of(entities, country) or []
        of_click = past_days.stretches_of(entities, click) or []
        monkeypatch.setattr(past_days, "MAX_OTHERS", 5)
        assert past_days.stretches_of(entities, country) is None, "today has more"
    assert len(of_click) > 4
    assert len(quarters) > 3 * len(days) > 15
    assert sum(each.hits for each in quarters) == sum(each.hits for each in days) > 20
    assert sum(each.leads for each in quarters) * 3 < sum(each.leads for each in days)
    for stretches in (quarters, days, of_click):
        assert stretches == sorted(stretches, key=lambda each: each.since or datetime.min)  # noqa: DTZ901
    assert count_leads(entities, click) == Count(number_by_rows(entities, click), True)


@pytest.mark.parametrize(
    ("encoding", "locale", "offers", "parts"),
    [
        (
            "UTF8",
            "C.UTF-8",
            ("\u212aredit", "\u0130stanbul", "KREDIT", "istanbul", "\u0100K", None),
            (("kred", 2), ("IST", 2), ("k", 3)),
        ),
        ("LATIN1", "C", ("KREDIT", "kredit", "istanbul", "Zo\u00eb", None), (("kred", 2), ("IST", 1), ("zo", 1))),
        ("LATIN5", "C", ("KREDIT", "\u0130stanbul", "istanbul", None), (("kred", 1), ("IST", 1), ("stan", 2))),
    ],
)
def test_parts_are_found_in_any_case_of_the_databases_locale(
    whole_database: str,
    postgres: PostgresServer,
    encoding: str,
    locale: str,
    offers: tuple[str | None, ...],
    parts: tuple[tuple[str, int], ...],
) -> None:
    url, name = whole_database + "_of_a_locale", urlsplit(whole_database).path.lstrip("/") + "_of_a_locale"
    postgres.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE '{locale}'"
    )
    try:
        at = NOW - timedelta(days=3)
        keep(url, [submission(orjson.dumps({"offer": offer}), received_at=at) for offer in offers])
        bound = bind(url_of(url))
        keep_days(bound)
        for part, leads in parts:
            lead_filter = LeadFilter(contains=(("offer", (part,)),))
            assert number_by_rows(bound, lead_filter) == leads, part
            assert count_leads(bound, lead_filter) == Count(leads, True), part
        bound.database.disconnect()
    finally:
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_days_with_too_many_leads_or_too_long_values_are_counted_by_the_database(
    database: str, entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, [submission(orjson.dumps({"offer": "o" * 300}), received_at=NOW - timedelta(days=3))])
    monkeypatch.setattr(day_columns, "MAX_LEADS", 45)
    keep_days(entities)
    with session(entities):
        packed = [row.columns is not None for row in entities.counted_day.select()]
    assert True in packed
    assert False in packed
    for text in ("o" * 300, "o" * 256, "Loan"):
        lead_filter = LeadFilter(values=(("offer", (text,)),))
        assert count_leads(entities, lead_filter).leads == number_by_rows(entities, lead_filter)
    monkeypatch.setattr("leadcrm.crm.past_days.MAX_OTHERS", 100)
    period = LeadFilter(since=SINCE)
    with session(entities):
        number = number_with_days(entities, period)
    assert number == number_by_rows(entities, period), "no other counts are needed for all leads"


def test_leads_are_not_all_counted_for_a_number_while_days_lack(
    database: str, entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadcrm.crm.past_days.MAX_OTHERS", 100)
    with session(entities):
        assert number_with_days(entities, LeadFilter(contains=(("offer", ("casino",)),))) is None
    keep_days(entities)
    with session(entities):
        assert number_with_days(entities, LeadFilter(contains=(("offer", ("casino",)),))) is not None
