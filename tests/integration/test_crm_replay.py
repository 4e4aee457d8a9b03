"""Replay: a kept request that is no lead becomes one, under its first id and never twice."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

import pytest
from uuid_utils import uuid7

from leadcrm.crm.lookup import follow
from leadcrm.crm.raw import SpoolReader
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind
from leadcrm.database.states import State
from leadcrm.ingest import replay as replay_module
from leadcrm.ingest.normalize import FIELDS
from leadcrm.ingest.replay import Replay, replay, replay_failed, replay_postponed, replayable_ids
from leadcrm.ingest.submission import POSTPONED, Submission, process
from leadcrm.operations.verification import verify
from tests.conftest import StartServer
from tests.support.crm import MAX_DECODED_BYTES, keep, run_command, submission, url_of
from tests.support.rows import Rows
from tests.support.waiting import wait_until

GOOD = b'{"email":"a@example.com","phone":1.10}'


def replayed(entities: Entities, identifier: str) -> Replay:
    done = replay(entities, UUID(identifier), max_decoded_bytes=MAX_DECODED_BYTES)
    assert done is not None
    return done


@pytest.mark.parametrize("state", ["failed", "invalid"])
def test_a_mended_row_becomes_a_lead_under_its_first_id(
    database: str, rows: Rows, entities: Entities, state: str
) -> None:
    row = submission(GOOD, key="k", state=state, error="a fault of ours")
    keep(database, [row])
    assert replayed(entities, row.id) == Replay(row.id, "stored", True, row.id, None)
    raw, lead = rows.raw_row(row.id), rows.lead(row.id)
    assert (raw["state"], raw["error"], raw["body"]) == ("stored", None, GOOD)
    assert (lead["email"], lead["phone"], lead["status"]) == ("a@example.com", "1.10", "new")
    assert lead["created_at"] == raw["received_at"]


def test_a_second_replay_changes_nothing(database: str, rows: Rows, entities: Entities) -> None:
    row = submission(GOOD, state="failed", error="a fault of ours")
    keep(database, [row])
    replayed(entities, row.id)
    before = rows.raw(), rows.leads()
    assert replayed(entities, row.id) == Replay(row.id, "stored", False, row.id, None)
    assert (rows.raw(), rows.leads()) == before


def test_a_body_that_is_still_unreadable_stays_with_its_reason(database: str, rows: Rows, entities: Entities) -> None:
    row = submission(b"hello", state="invalid", error="an older reason")
    keep(database, [row])
    done = replayed(entities, row.id)
    assert (done.state, done.changed, done.lead_id) == ("invalid", False, None)
    assert rows.raw_row(row.id)["error"] == done.error != "an older reason"
    assert rows.leads() == []


def test_a_failed_row_keeps_its_key_though_its_body_is_unreadable(
    database: str, rows: Rows, entities: Entities
) -> None:
    row = submission(b"hello", key="k", state="failed", error="a fault of ours")
    keep(database, [row])
    assert replayed(entities, row.id).state == "failed"
    later = submission(GOOD, key="k")
    keep(database, [later])
    assert rows.raw_row(later.id)["duplicate_of"] == row.id


@pytest.mark.parametrize(("body", "state"), [(GOOD, "repeat"), (b'{"email":"b@example.com"}', "conflict")])
def test_an_invalid_row_whose_key_was_taken_leads_to_the_lead_that_took_it(
    database: str, rows: Rows, entities: Entities, body: bytes, state: str
) -> None:
    row = submission(body, key="k", state="invalid", error="a fault of ours")
    taker = submission(GOOD, key="k")
    keep(database, [row, taker])
    assert replayed(entities, row.id) == Replay(row.id, state, True, taker.id, None)
    raw = rows.raw_row(row.id)
    assert (raw["state"], raw["duplicate_of"], raw["body"]) == (state, taker.id, body)
    assert [lead["id"] for lead in rows.leads()] == [taker.id]
    if state == "repeat":
        assert replayed(entities, row.id) == Replay(row.id, state, False, taker.id, None)


def test_a_conflict_becomes_a_lead_of_its_own_and_its_key_stays_the_first_leads(
    database: str, rows: Rows, entities: Entities, tmp_path: Path
) -> None:
    first, conflict = submission(b'{"email":"poison"}', key="order-1"), submission(GOOD, key="order-1")
    keep(database, [first, conflict])
    assert rows.raw_row(conflict.id)["state"] == "conflict"
    made = replayed(entities, conflict.id)
    assert made == Replay(conflict.id, "stored", True, conflict.id, None)
    assert rows.lead(conflict.id)["email"] == "a@example.com"
    raw = rows.raw_row(conflict.id)
    assert (raw["state"], raw["duplicate_of"], raw["idempotency_key"]) == ("stored", first.id, "order-1")
    assert replayed(entities, conflict.id) == Replay(conflict.id, "stored", False, conflict.id, None)
    assert len(rows.leads()) == 2
    again, other = submission(b'{"email":"poison"}', key="order-1"), submission(b"{}", key="order-1")
    keep(database, [again, other])
    for row, state in ((again, "repeat"), (other, "conflict")):
        assert (rows.raw_row(row.id)["state"], rows.raw_row(row.id)["duplicate_of"]) == (state, first.id)
    destination = follow(entities, SpoolReader(tmp_path), UUID(conflict.id))
    assert destination is not None
    assert destination.lead is not None
    assert str(destination.lead.id) == conflict.id
    assert verify(entities, None).problems == []
    replays = run_command(tmp_path / "command", database, "replay", "--state", "conflict", "--json")
    assert [done["id"] for done in json.loads(replays.stdout)] == [other.id], replays.stderr
    assert len(rows.leads()) == 3
    rows.execute("UPDATE leads_raw SET duplicate_of = %s WHERE id = %s", rows.as_id(other.id), rows.as_id(first.id))
    assert [problem.what for problem in verify(entities, None).problems] == ["a stored row that points at another"]


def test_a_conflict_that_cannot_be_read_stays_one(database: str, rows: Rows, entities: Entities) -> None:
    first, conflict = submission(GOOD, key="k"), submission(b"hello", key="k", state="failed", error="a fault of ours")
    keep(database, [first, conflict])
    done = replayed(entities, conflict.id)
    assert (done.state, done.changed, done.lead_id) == ("conflict", False, first.id)
    assert done.error == rows.raw_row(conflict.id)["error"] == "the body is no JSON object"
    assert len(rows.leads()) == 1


def test_an_unknown_id_is_none(entities: Entities) -> None:
    assert replay(entities, UUID(int=1), max_decoded_bytes=MAX_DECODED_BYTES) is None


def test_replays_that_race_make_one_lead(database: str, rows: Rows, entities: Entities) -> None:
    for number in range(10):
        key = f"key {number}"
        row = submission(GOOD, key=key, state="invalid", error="a fault of ours")
        keep(database, [row])
        live = submission(GOOD, key=key)
        start = threading.Barrier(3)
        results: list[Replay] = []

        def race(identifier: str, start: threading.Barrier = start, results: list[Replay] = results) -> None:
            start.wait()
            results.append(replayed(entities, identifier))
            entities.database.disconnect()

        rivals = [threading.Thread(target=race, args=(row.id,)) for _ in range(2)]
        for rival in rivals:
            rival.start()
        start.wait()
        keep(database, [live])
        for rival in rivals:
            rival.join()
        assert sorted(result.changed for result in results) == [False, True]
        raw = {found["id"]: found for found in rows.raw() if found["idempotency_key"] == key}
        leads = [lead["id"] for lead in rows.leads() if lead["id"] in raw]
        assert len(leads) == 1
        (other,) = raw.keys() - set(leads)
        assert (raw[other]["state"], raw[other]["duplicate_of"]) == ("repeat", leads[0])
        assert {result.lead_id for result in results if result.changed} == set(leads)


def test_a_row_whose_key_is_taken_in_the_middle_of_its_replay_leads_to_the_lead_that_took_it(
    whole_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite nobody can take it: the replay has the write lock."""
    row, taker = submission(GOOD, key="k", state="invalid", error="a fault of ours"), submission(GOOD, key="k")
    keep(whole_database, [row])
    find_holder = replay_module._find_holder

    def find_too_early(entities: Entities, kept: Submission) -> object:
        holder = find_holder(entities, kept)
        if holder is None:
            keep(whole_database, [taker])
        return holder

    monkeypatch.setattr(replay_module, "_find_holder", find_too_early)
    entities = bind(url_of(whole_database))
    assert replayed(entities, row.id) == Replay(row.id, "repeat", True, taker.id, None)
    entities.database.disconnect()
    assert [lead["id"] for lead in Rows(whole_database).leads()] == [taker.id]


def test_all_failed_rows_are_replayed_and_no_others(database: str, rows: Rows, entities: Entities) -> None:
    failed = [submission(GOOD, state="failed", error="a fault of ours") for _ in range(3)]
    invalid = submission(GOOD, state="invalid", error="a fault of ours")
    hopeless = submission(b"hello", state="failed", error="a fault of ours")
    keep(database, [*failed, invalid, hopeless])
    assert replay_failed(entities, max_decoded_bytes=MAX_DECODED_BYTES) == 3
    assert {lead["id"] for lead in rows.leads()} == {row.id for row in failed}
    assert rows.raw_row(invalid.id)["state"] == "invalid"


def test_more_rows_than_a_page_holds_are_all_replayed(
    database: str, rows: Rows, entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "PAGE_ROWS", 2)
    states = ["failed", None, None, "invalid"] * 5
    kept = [submission(GOOD, state=state, error="a fault of ours") for state in states]
    keep(database, kept)

    def in_state(*wanted: str) -> list[str]:
        return [row.id for row, state in zip(kept, states, strict=True) if state in wanted]

    both = [str(id) for id in replayable_ids(entities, ("failed", "invalid"))]
    assert both == in_state("failed", "invalid")
    assert replay_failed(entities, max_decoded_bytes=MAX_DECODED_BYTES) == 5
    assert set(in_state("failed")) < {lead["id"] for lead in rows.leads()}
    assert [str(id) for id in replayable_ids(entities, ("failed", "invalid"))] == in_state("invalid")


@pytest.mark.parametrize("error", ["a fault of ours", POSTPONED])
def test_a_row_that_cannot_be_changed_keeps_none_behind_it_waiting(
    database: str, rows: Rows, entities: Entities, error: str
) -> None:
    failed = [submission(GOOD, state="failed", error=error) for _ in range(3)]
    keep(database, failed)
    first = failed[0].id
    if rows.is_sqlite:
        when = f"hex(NEW.id) = '{first.replace('-', '').upper()}'"
        rows.execute(f"CREATE TRIGGER no BEFORE UPDATE ON leads_raw WHEN {when} BEGIN SELECT RAISE(ABORT, 'no'); END")
    else:
        body = f"BEGIN IF NEW.id = '{first}' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END"
        rows.execute(f"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
        rows.execute("CREATE TRIGGER no BEFORE UPDATE ON leads_raw FOR EACH ROW EXECUTE FUNCTION no()")
    if error == POSTPONED:
        assert replay_postponed(entities, max_decoded_bytes=MAX_DECODED_BYTES).leads == 2
    else:
        assert replay_failed(entities, max_decoded_bytes=MAX_DECODED_BYTES) == 2
    assert {lead["id"] for lead in rows.leads()} == {row.id for row in failed[1:]}


def test_a_replay_that_is_to_stop_stops_between_two_rows(database: str, rows: Rows, entities: Entities) -> None:
    keep(database, [submission(GOOD, state="failed", error="a fault of ours") for _ in range(3)])
    answers = iter([False, False, True])
    done = replay_failed(entities, max_decoded_bytes=MAX_DECODED_BYTES, is_stopping=lambda: next(answers))
    assert done == len(rows.leads()) == 2


@pytest.mark.parametrize("state", ["failed", "invalid"])
def test_a_replayed_lead_is_the_lead_that_it_would_have_been(
    database: str, rows: Rows, entities: Entities, state: str
) -> None:
    texts = {name: f" {name} \t\n" for name in FIELDS} | {"phone": "", "lang": "\u2028\u0101'\\%s"}
    plain = json.dumps(texts).encode()
    form = urlencode(texts).encode()
    requests = [
        (plain, {"content-type": "application/json"}),
        (b'{"phone":1.10,"email":null,"ip":true,"creo":{"a":[1e999]}}', {}),
        (b"{}", {}),
        (form, {"content-type": "application/x-www-form-urlencoded"}),
        (gzip.compress(plain), {"content-encoding": "gzip"}),
        (gzip.compress(form), {"content-type": "application/x-www-form-urlencoded", "content-encoding": "gzip"}),
    ]
    lived, replayed_later = [], []
    for body, headers in requests:
        content_type = headers.get("content-type", "")
        coding = headers.get("content-encoding", "")
        made = process(body, content_type=content_type, content_encoding=coding, max_decoded_bytes=MAX_DECODED_BYTES)
        assert made.state is State.STORED
        row = submission(body)._replace(content_type=content_type, headers=headers)
        lived.append(row._replace(state=State.STORED, error=None, fields=made.fields))
        replayed_later.append(row._replace(id=str(uuid7()), state=State(state), error="a fault of ours", fields=None))
    keep(database, [*lived, *replayed_later])
    for one, other in zip(lived, replayed_later, strict=True):
        assert replayed(entities, other.id).changed
        assert {**rows.lead(other.id), "id": one.id} == rows.lead(one.id)
        assert {**rows.raw_row(other.id), "id": one.id} == rows.raw_row(one.id)


def test_a_lead_that_the_database_refuses_stays_with_the_reason(database: str, rows: Rows, entities: Entities) -> None:
    row = submission(GOOD, key="k", state="failed", error="a fault of ours")
    keep(database, [row])
    rows.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON leads BEGIN SELECT RAISE(ABORT, 'no'); END"
        if rows.is_sqlite
        else "ALTER TABLE leads ADD CONSTRAINT refuse CHECK (email IS NULL)"
    )
    done = replayed(entities, row.id)
    assert (done.state, done.changed, done.lead_id) == ("failed", False, None)
    assert "the database refused the lead" in (done.error or "")
    assert rows.raw_row(row.id)["error"] == done.error
    assert rows.leads() == []


def test_failed_rows_are_tried_again_when_the_server_starts(
    database: str, rows: Rows, start_server: StartServer
) -> None:
    row = submission(GOOD, key="k", state="failed", error="a fault of ours")
    keep(database, [row])
    server = start_server(database, environment={"WORKERS": "2"})
    wait_until(rows.leads, what="the failed row to become a lead")
    assert server.client.post_lead(GOOD, key="k").json()["lead_id"] == row.id
