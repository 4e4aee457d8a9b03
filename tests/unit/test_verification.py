"""Verification of more rows than a page and a part hold: every row is looked at, the last ones too."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from pathlib import Path
from uuid import UUID

import psycopg2
import pytest
from pony.orm import select

from leadcrm.crm.audit import Actor, Via
from leadcrm.crm.changes import change_leads
from leadcrm.crm.tombstones import erase_rows, trace_of
from leadcrm.database import migrations
from leadcrm.database.migrations import migrate, migrations_for
from leadcrm.database.sessions import bind, session
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.submission import Submission
from leadcrm.operations import verification
from leadcrm.operations.verification import Verification, verify
from tests.support.crm import keep, submission, url_of
from tests.support.rows import Rows, sqlite_path
from tests.support.writers import spool_in

BODY_BYTES = 40


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows a page, two bodies a part; a larger body is a part of its own."""
    monkeypatch.setattr(verification, "PAGE_ROWS", 3)
    monkeypatch.setattr(verification, "PART_BYTES", 2 * BODY_BYTES)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """An empty spool."""
    with closing(spool_in(tmp_path / "spool")) as spool:
        yield spool


def lead(number: int) -> Submission:
    size = 5 * BODY_BYTES if number % 4 == 3 else BODY_BYTES
    return submission((b'{"phone":"%d"}' % number).ljust(size), key=str(number))


LEADS = 11


@pytest.fixture
def kept(database: str) -> list[Submission]:
    """Leads on four pages, and after them repeats and conflicts of the first and the last one."""
    leads = [lead(number) for number in range(LEADS)]
    behind = [
        submission(body, key=first.idempotency_key)
        for first in (leads[0], leads[-1])
        for body in (first.body or b"", b"{}")
    ]
    keep(database, [*leads, *behind, submission(b"unreadable", key="invalid")])
    return leads


def verified(database: str, spool: Spool | None = None) -> Verification:
    entities = bind(url_of(database))
    try:
        return verify(entities, spool)
    finally:
        entities.database.disconnect()


def problems(database: str, spool: Spool | None = None) -> dict[str, str]:
    """Return what is off, by where; nothing is named twice."""
    found = verified(database, spool).problems
    named = {problem.where: problem.what for problem in found}
    assert len(named) == len(found)
    return named


def tamper(database: str, statement: str, *values: object) -> None:
    """Change the database behind the program's back, foreign keys or not."""
    if database.startswith("sqlite:"):
        with closing(sqlite3.connect(sqlite_path(database), isolation_level=None)) as file:
            file.execute(statement.replace("%s", "?"), values)
        return
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement, values or None)
        connection.commit()


def test_every_row_is_counted_once(database: str, kept: list[Submission]) -> None:
    found = verified(database)
    assert (found.rows, found.problems) == (LEADS + 5, [])
    (day,) = found.days.values()
    assert day.received == LEADS + 5
    assert day.outcomes == {"created": LEADS, "repeats": 2, "conflicts": 2, "invalid": 1}


def test_every_body_and_every_raw_row_that_is_off_or_gone_is_named(database: str, kept: list[Submission]) -> None:
    tamper(database, "UPDATE leads_raw SET body = body_sha256 WHERE state = 'stored'")
    assert problems(database) == {row.id: "its body does not match its hash" for row in kept}
    tamper(database, "UPDATE leads_raw SET body = NULL WHERE state = 'stored'")
    assert problems(database) == {row.id: "a stored row without its body" for row in kept}
    tamper(database, "DELETE FROM leads_raw")
    tamper(database, "DELETE FROM leads_ledger")
    assert problems(database) == {row.id: "a lead without its raw row" for row in kept}


def test_every_missing_lead_is_named(database: str, kept: list[Submission]) -> None:
    tamper(database, "DELETE FROM leads")
    assert problems(database) == {row.id: "a stored row without its lead" for row in kept}


def test_a_lead_that_was_erased_without_telling_and_a_feed_without_its_start_are_named(
    database: str, kept: list[Submission]
) -> None:
    entities = bind(url_of(database))
    erase_rows(entities, [UUID(kept[0].id)], trace_of("somebody"))
    entities.database.disconnect()
    assert problems(database) == {}
    tamper(database, "DELETE FROM leads_feed WHERE type = 'erased'")
    assert problems(database) == {kept[0].id: "a lead was erased without its event in the feed"}
    tamper(database, "DELETE FROM leads_feed_start")
    assert list(problems(database)) == ["feed"]


LINKS = [
    ("state = 'invalid'", "stored", "a lead of a row that is invalid"),
    ("state = 'failed'", "stored", "a lead of a row that is failed"),
    ("duplicate_of = {first}", "stored", "a stored row that points at another"),
    ("duplicate_of = {first}", "invalid", "a invalid row that points at another"),
    ("duplicate_of = NULL", "repeat", "a repeat that points at no first row"),
    ("duplicate_of = NULL", "conflict", "a conflict that points at no first row"),
    ("duplicate_of = {other}", "repeat", "a repeat of {other}, which has another key"),
    ("duplicate_of = {other}", "conflict", "a conflict of {other}, which has another key"),
    ("duplicate_of = {unknown}", "repeat", "a repeat whose first row {unknown} is gone"),
    ("duplicate_of = {unknown}", "conflict", "a conflict whose first row {unknown} is gone"),
]


def test_every_link_that_is_off_is_named(database: str, rows: Rows, kept: list[Submission]) -> None:
    ids = {"first": kept[0].id, "other": kept[5].id, "unknown": str(UUID(int=1))}
    literals = {name: f"x'{UUID(id).hex}'" if rows.is_sqlite else f"'{id}'" for name, id in ids.items()}
    tamper(database, "CREATE TABLE before AS SELECT id, state, duplicate_of FROM leads_raw")
    for change, of_state, what in LINKS:
        named = [row["id"] for row in rows.raw() if row["state"] == of_state]
        tamper(database, f"UPDATE leads_raw SET {change.format(**literals)} WHERE state = '{of_state}'")
        assert problems(database) == dict.fromkeys(named, what.format(**ids)), change
        of_before = "(SELECT {} FROM before WHERE before.id = leads_raw.id)"
        columns = ", ".join(f"{name} = {of_before.format(name)}" for name in ("state", "duplicate_of"))
        tamper(database, f"UPDATE leads_raw SET {columns}")


def test_a_count_that_is_off_is_named_with_its_day_whichever_way(database: str, kept: list[Submission]) -> None:
    for change, what in (("- 1", "more than were counted"), ("+ 2", "missing")):
        tamper(database, f"UPDATE leads_ledger SET received = received {change}")
        (found,) = problems(database).values()
        assert found.endswith(what)


def test_every_event_that_is_missing_or_of_an_unknown_lead_is_named(database: str) -> None:
    keep(database, [])
    kept = [lead(number) for number in range(LEADS)]
    keep(database, [*kept, submission(b"unreadable")])
    entities = bind(url_of(database))
    change_leads(entities, [UUID(row.id) for row in kept[:2]], {"status": "won"}, actor=Actor("anna", Via.TOKEN))
    with session(entities):
        changes = {str(id) for id in select(event.id for event in entities.lead_event)}
    assert problems(database) == {}
    tamper(database, "DELETE FROM leads_feed WHERE type = 'changed'")
    assert problems(database) == dict.fromkeys(changes, "a change of a lead without its event in the feed")
    tamper(database, "DELETE FROM leads_feed")
    silent = {row.id: "a lead without its event in the feed" for row in kept}
    assert problems(database) == {
        **silent,
        **dict.fromkeys(changes, "a change of a lead without its event in the feed"),
    }
    # What was stored before the feed began, or pruned, is no gap.
    tamper(database, "UPDATE leads_feed_start SET since = '2999-01-01 00:00:00.000000'")
    assert problems(database) == {}
    unknown = UUID(int=1)
    tamper(
        database,
        "INSERT INTO leads_feed (type, lead_id) VALUES ('created', %s)",
        unknown.bytes if database.startswith("sqlite:") else str(unknown),
    )
    assert problems(database) == {str(unknown): "an event in the feed of a lead that is unknown"}
    entities.database.disconnect()


def test_leads_from_before_the_feed_are_no_gap(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = url_of(database)
    with monkeypatch.context() as earlier:
        known = migrations_for(url.provider)
        before = [*takewhile(lambda step: step.name != "feed", known)]
        earlier.setattr(migrations, "migrations_for", lambda _: before)
        ahead = datetime.now(timezone.utc) + timedelta(minutes=5)
        keep(database, [lead(1), lead(2)._replace(received_at=ahead)])
    migrate(url)
    assert problems(database) == {}
    keep(database, [lead(3)._replace(received_at=ahead + timedelta(seconds=1))])
    tamper(database, "DELETE FROM leads_feed")
    assert [*problems(database).values()] == ["a lead without its event in the feed"]


def test_all_of_a_spool_is_looked_at(database: str, spool: Spool) -> None:
    keep(database, [])
    waiting = [lead(number) for number in range(LEADS)]
    spool.write(waiting)
    found = verified(database, spool)
    assert (found.rows, found.problems) == (0, [])
    (day,) = found.days.values()
    assert (day.received, day.outcomes["spooled"]) == (LEADS, LEADS)

    Rows(f"sqlite:///{spool.path}").execute("UPDATE leads_raw SET body = body_sha256")
    assert problems(database, spool) == {row.id: "its body does not match its hash" for row in waiting}


def test_a_row_in_both_places_counts_once(database: str, spool: Spool) -> None:
    """As a drain leaves it that was killed between its commit and the removal."""
    leads = [lead(number) for number in range(LEADS)]
    keep(database, leads[:7])
    spool.write(leads[4:])
    found = verified(database, spool)
    assert found.problems == []
    (day,) = found.days.values()
    assert (day.received, day.outcomes) == (LEADS, {"created": 7, "spooled": 4})


def test_a_repeat_whose_first_waits_in_the_spool_is_no_problem(database: str, spool: Spool) -> None:
    first = lead(0)
    spool.write([first])
    repeat = submission(first.body or b"", key=first.idempotency_key)
    keep(database, [repeat.duplicating(first.id, first.body_sha256)])
    assert problems(database, spool) == {}
    Rows(f"sqlite:///{spool.path}").execute("DELETE FROM leads_raw")
    assert problems(database, spool) == {repeat.id: f"a repeat whose first row {first.id} is gone"}
