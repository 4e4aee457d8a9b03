"""The feed: everything that became true of leads, in an order in which nothing ever appears below what was read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import psycopg2
import pytest

from leadcrm.crm.audit import Action, Actor, Via, make_entry, prune_entries, record_entries
from leadcrm.crm.changes import change_lead, change_leads
from leadcrm.crm.feed import Feed, FeedEvent, FeedGone
from leadcrm.crm.raw import SpoolReader
from leadcrm.database import clock
from leadcrm.database.connections import open_connection
from leadcrm.database.entities import Entities
from leadcrm.database.feed_numbers import raise_numbers
from leadcrm.database.migrations import migrate
from leadcrm.database.sessions import bind, session
from leadcrm.feed import horizon, pruning
from leadcrm.feed.pruning import prune_feed
from leadcrm.ingest.replay import replay
from leadcrm.ingest.submission import Submission
from tests.support.crm import MAX_DECODED_BYTES, keep, submission, url_of
from tests.support.postgres import PASSWORD, PostgresServer
from tests.support.rows import Rows


@contextmanager
def bound(database: str) -> Iterator[Entities]:
    migrate(url_of(database))
    entities = bind(url_of(database))
    try:
        yield entities
    finally:
        entities.database.disconnect()


@pytest.fixture
def entities(database: str) -> Iterator[Entities]:
    with bound(database) as entities:
        yield entities


def read_all(feed: Feed, entities: Entities, after: int | None = None, *, limit: int = 3) -> list[FeedEvent]:
    """Read on page by page, as a program does, until nothing more comes."""
    events: list[FeedEvent] = []
    while (page := feed.read(entities, after, limit=limit)).events:
        events += page.events
        after = page.next
    return events


def told(events: Sequence[FeedEvent]) -> list[tuple[str, str]]:
    return [(event.type, str(event.lead_id)) for event in events]


def lead(**fields: str) -> Submission:
    return submission(json.dumps(fields).encode())


def test_whatever_becomes_true_of_a_lead_is_an_event_in_order(
    database: str, entities: Entities, tmp_path: Any, rows: Rows
) -> None:
    first, second = lead(email="a@example.com"), submission(b'{"email":"b@example.com"}', key="k")
    keep(database, [first, submission(b"no lead"), second, submission(b'{"email":"b@example.com"}', key="k")])
    failed = submission(b'{"email":"c@example.com"}', state="failed", error="why")
    keep(database, [failed])
    ids = [UUID(row.id) for row in (first, second)]
    change_leads(entities, ids, {"status": "called", "assigned_to": "anna"}, actor=Actor("boss", Via.TOKEN))
    change_lead(entities, SpoolReader(tmp_path), ids[0], {"status": "called"}, actor=Actor("again", Via.TOKEN))
    replayed = replay(entities, UUID(failed.id), max_decoded_bytes=MAX_DECODED_BYTES)
    assert replayed is not None
    assert replayed.changed
    events = read_all(Feed(), entities)
    assert told(events[:2]) == [("created", first.id), ("created", second.id)]
    assert sorted(told(events[2:6])) == sorted([("changed", str(id)) for id in ids for _ in range(2)])
    assert told(events[6:]) == [("created", failed.id)]
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    changes = {(event.change.lead_id, event.change.field, event.change.to_value) for event in events if event.change}
    assert changes == {(id, *new) for id in ids for new in (("status", "called"), ("assigned_to", "anna"))}
    # Every event has the lead as it is now.
    assert [event.lead and event.lead.status for event in events] == ["called"] * 6 + ["new"]
    assert all(
        abs(event.at - datetime.now(timezone.utc).replace(tzinfo=None)) < timedelta(minutes=1) for event in events
    )
    rows.execute("DELETE FROM leads WHERE email = 'c@example.com'")
    (gone,) = read_all(Feed(), entities, events[5].seq)
    assert (gone.lead_id, gone.lead) == (UUID(failed.id), None)


def test_a_lead_whose_transaction_fails_is_no_event(database: str, entities: Entities) -> None:
    kept = lead(email="a@example.com")
    keep(database, [kept])
    # Nothing is written a second time.
    keep(database, [kept, lead(email="b@example.com")])
    assert len(read_all(Feed(), entities)) == 2


def insert_lead(cursor: Any, database: str) -> str:
    """Insert a lead within an open transaction, as an older program or a person in psql may."""
    made = lead(email="late@example.com")
    cursor.execute(
        "INSERT INTO leads_raw (id, received_at, request_id, method, target, remote_addr, headers, body, body_sha256, "
        "state, node) VALUES (%s, now(), '', 'POST', '/', '', '{}', %s, %s, 'stored', 'a-node')",
        (made.id, made.body, made.body_sha256),
    )
    cursor.execute(
        "INSERT INTO leads (id, status, created_at, updated_at, normalizer_version) "
        "VALUES (%s, 'new', now(), now(), 1)",
        (made.id,),
    )
    return made.id


def test_an_event_that_is_committed_late_still_comes_after_all_that_was_read(
    whole_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(horizon, "SETTLE_S", 0.02)
    with bound(whole_database) as entities, closing(psycopg2.connect(whole_database)) as rival:
        feed, other_node = Feed(), Feed()
        before = lead(email="before@example.com")
        keep(whole_database, [before])
        assert told(read_all(feed, entities)) == told(read_all(other_node, entities)) == [("created", before.id)]
        late = insert_lead(rival.cursor(), whole_database)
        after = [lead(email=f"{number}@example.com") for number in range(5)]
        for row in after:
            keep(whole_database, [row])
            assert told(read_all(feed, entities)) == told(read_all(other_node, entities)) == [("created", before.id)]
        assert feed.horizon.lag_s > 0
        # Who begins meanwhile cannot know which of the numbers is still to come.
        assert read_all(Feed(), entities) == []
        place = feed.read(entities, None, limit=10).next
        rival.commit()
        expected = [("created", late), *(("created", row.id) for row in after)]
        assert told(read_all(feed, entities, place)) == told(read_all(other_node, entities, place)) == expected
        assert feed.horizon.lag_s == 0
        # A transaction that gives up leaves a number without an event.
        insert_lead(rival.cursor(), whole_database)
        last = lead(email="last@example.com")
        keep(whole_database, [last])
        rival.rollback()
        assert told(read_all(feed, entities, place)) == [*expected, ("created", last.id)]


def test_transactions_that_write_no_event_hold_nothing_back(whole_database: str) -> None:
    with bound(whole_database) as entities, closing(psycopg2.connect(whole_database)) as rival:
        cursor = rival.cursor()
        cursor.execute("CREATE TABLE theirs (id integer); INSERT INTO theirs VALUES (1)")
        cursor.execute("UPDATE leadcrm_migrations SET version = version")
        row = lead(email="a@example.com")
        keep(whole_database, [row])
        assert told(read_all(Feed(), entities)) == [("created", row.id)]
        rival.rollback()


def test_a_schema_whose_name_needs_quotes_has_its_own_feed(postgres: PostgresServer, whole_database: str) -> None:
    url = f"{whole_database}?schema=we%22ird%24%27name"
    with bound(url) as entities:
        row = lead(email="a@example.com")
        keep(url, [row])
        assert told(read_all(Feed(), entities)) == [("created", row.id)]


def test_old_events_are_pruned_and_whoever_has_not_read_them_is_told(
    database: str, entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PRUNE_ROWS", 2)
    keep(database, [lead(number=str(number)) for number in range(5)])
    feed = Feed()
    events = read_all(feed, entities)
    assert prune_feed(entities, days=1) == 0
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1, minutes=1)
    assert prune_feed(entities, days=1, now=tomorrow) == 5
    with pytest.raises(FeedGone) as gone:
        feed.read(entities, events[1].seq, limit=5)
    assert gone.value.oldest == events[-1].seq
    # Numbers go on from where they were, even if no event is left.
    later = lead(email="later@example.com")
    keep(database, [later])
    (event,) = read_all(feed, entities, events[-1].seq)
    assert (event.lead_id, event.seq) > (UUID(int=0), 0)
    assert event.seq > events[-1].seq
    assert told(read_all(feed, entities)) == told([event])
    with pytest.raises(FeedGone, match="only"):
        feed.read(entities, event.seq + 1, limit=5)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_node_whose_clock_is_ahead_deletes_nothing_that_others_need(
    database: str, entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, [lead(number="1")])
    with session(entities, writes=True):
        record_entries(entities, [make_entry(Actor("anna", Via.TOKEN), Action.READ)])
    ahead = clock.now_utc() + timedelta(days=40)
    monkeypatch.setattr(clock, "now_utc", lambda: ahead)
    assert prune_feed(entities, days=30) == 0
    assert prune_entries(entities, days=30) == 0


def test_numbers_never_fall_back_where_the_database_does(database: str, entities: Entities) -> None:
    url = url_of(database)
    keep(database, [lead(email="a@example.com")])
    with closing(open_connection(url, timeout_s=5)) as connection:
        raise_numbers(connection, url)
        keep(database, [lead(email="b@example.com")])
        # The database may have gone back by a moment alone, and readers have got as far as the time.
        read_up_to = int(time.time() * 1000)
        raise_numbers(connection, url)
    keep(database, [lead(email="c@example.com")])
    first, second, third = [event.seq for event in read_all(Feed(), entities)]
    assert first == 1
    assert abs(second - time.time() * 1000) < 600_000
    assert third >= read_up_to
    assert second < 2**53, "a program in JavaScript reads it exactly"


def test_whoever_changes_a_lead_of_a_restored_database_first_tells_all_who_had_read_further(
    database: str, entities: Entities
) -> None:
    kept = lead(email="a@example.com")
    keep(database, [kept])
    feed = Feed()
    restored_to = feed.read(entities, None, limit=5).next
    # What a reader of the lost time has read: its numbers were those of the time.
    read_up_to = int(time.time() * 1000)
    assert change_leads(entities, [UUID(kept.id)], {"status": "won"}, actor=Actor("kim", Via.COMMAND))
    assert restored_to < read_up_to
    assert told(feed.read(entities, read_up_to - 1, limit=5).events) == [("changed", kept.id)]


def test_a_role_that_may_not_raise_the_numbers_still_changes_leads(
    whole_database: str, postgres: PostgresServer
) -> None:
    with bound(whole_database) as entities:
        kept = lead(email="a@example.com")
        keep(whole_database, [kept])
        role = f"clerk_{kept.id[-12:]}"
        tables = "ON ALL TABLES IN SCHEMA public"
        postgres.execute(
            f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT, INSERT, UPDATE, DELETE {tables} TO {role}; "
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
            url=whole_database,
        )
        clerk = bind(url_of(whole_database.replace("//postgres:", f"//{role}:")))
        try:
            assert change_leads(clerk, [UUID(kept.id)], {"status": "won"}, actor=Actor("kim", Via.COMMAND))
        finally:
            clerk.database.disconnect()
            postgres.execute(f"DROP OWNED BY {role}; DROP ROLE {role}", url=whole_database)
        assert [event.type for event in read_all(Feed(), entities)] == ["created", "changed"]
