"""The audit trail and the keyring: what grows is bounded, and what is known holds for a while."""

from __future__ import annotations

import argparse
import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from leadcrm.cli import main
from leadcrm.cli.crm import add_filter
from leadcrm.cli.who import find_actor, record_reading
from leadcrm.configuration.time_zone import parse_time_zone
from leadcrm.crm.audit import (
    PRUNE_ROWS,
    Action,
    Actor,
    AuditFilter,
    Via,
    describe_filter,
    list_entries,
    make_entry,
    prune_entries,
    record_entries,
)
from leadcrm.crm.times import now
from leadcrm.crm.tokens import Keys, Role, Token, add_token, digest, read_keys, revoke_token
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind, session
from leadcrm.errors import StoreUnavailable, SubmissionRefused
from leadcrm.web.crm import keyring
from leadcrm.web.crm import trail as trail_module
from leadcrm.web.crm.keyring import HOLDS_S, Keyring
from leadcrm.web.crm.trail import MAX_LISTS, Trail
from tests.support.crm import keep, url_of
from tests.support.rows import Rows
from tests.support.writers import until

ANNA = Actor("anna", Via.TOKEN)


class InLoop:
    """Does the readers' work in the event loop's thread, or says that the database is away."""

    def __init__(self, entities: Entities) -> None:
        self.entities = entities
        self.is_away = False
        self.jobs = 0

    async def run(self, work: Any) -> Any:
        self.jobs += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return work(self.entities)


def test_entries_are_pruned_by_their_age_and_found_by_their_time(entities: Entities) -> None:
    with session(entities, writes=True):
        record_entries(entities, [make_entry(ANNA, Action.READ) for _ in range(PRUNE_ROWS + 1)])
        entries = [make_entry(ANNA, Action.READ), make_entry(ANNA, Action.EXPORT)]
        record_entries(entities, entries)
        record_entries(entities, entries)  # after a commit in doubt
    later = now() + timedelta(days=10)
    assert prune_entries(entities, days=11, at=later) == 0
    (export,), following = list_entries(entities, AuditFilter(action="export", since=now() - timedelta(1)), limit=5)
    assert (export.id, following) == (entries[1].id, None)
    assert list_entries(entities, AuditFilter(until=now() - timedelta(1)), limit=5) == ([], None)
    assert prune_entries(entities, days=9, at=later) == PRUNE_ROWS + 3
    assert list_entries(entities, AuditFilter(), limit=5) == ([], None)


def test_a_filter_is_described_without_what_may_be_a_persons() -> None:
    given = {"q": ["kalnins"], "phone": ["1"], "email": ["a@b"], "id": ["1", "2"], "country": ["LV", "x" * 500]}
    described = describe_filter({**given, **{f"n{number}": ["1"] for number in range(100)}})
    assert [described[name] for name in ("q", "phone", "email", "id")] == ["\u2026"] * 4
    assert described["country"] == ["LV", "x" * 100]
    assert len(described) == 30


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_client_that_asks_for_ever_new_lists_does_not_fill_the_disk(entities: Entities) -> None:
    async def ask() -> None:
        readers: Any = InLoop(entities)
        trail = Trail(readers, 365)
        for number in range(MAX_LISTS * 3):
            trail.note(ANNA, Action.LIST, None, {"country": [str(number)]})
            trail.note(Actor("anna", Via.TOKEN, f"somebody {number}"), Action.FEED)
        trail.note(Actor("bruno", Via.TOKEN), Action.LIST, None, {"country": ["LV"]})
        await trail.close()
        await trail.close()

    asyncio.run(ask())
    entries, _ = list_entries(entities, AuditFilter(), limit=1000)
    assert [entry.action for entry in entries].count("feed") == 1
    assert len(entries) == MAX_LISTS + 3
    assert [entry.detail for entry in entries[:2]] == [{"country": ["LV"]}, {"many": True}]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_cannot_be_written_waits_until_it_can(entities: Entities) -> None:
    async def note() -> int:
        readers: Any = InLoop(entities)
        trail = Trail(readers, 365)
        readers.is_away = True
        trail.note(ANNA, Action.READ, UUID(int=1))
        await trail.close()
        readers.is_away = False
        await trail.close()
        return int(readers.jobs)

    assert asyncio.run(note()) == 2
    entries, _ = list_entries(entities, AuditFilter(lead_id=UUID(int=1)), limit=5)
    assert len(entries) == 1


def test_entries_are_written_though_old_ones_cannot_be_deleted(
    entities: Entities, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_module, "GATHER_S", 0.01)
    at = now() - timedelta(days=400)
    old = make_entry(ANNA, Action.READ)._replace(id=UUID(int=1), at=at)
    with session(entities, writes=True):
        record_entries(entities, [old])
    if entities.database.provider.dialect == "SQLite":
        rows.execute("CREATE TRIGGER keep BEFORE DELETE ON leads_audit BEGIN SELECT RAISE(ABORT, 'kept'); END")
    else:
        rows.execute(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'kept'; END $$"
        )
        rows.execute("CREATE TRIGGER keep BEFORE DELETE ON leads_audit FOR EACH ROW EXECUTE FUNCTION keep()")

    async def note() -> None:
        readers: Any = InLoop(entities)
        trail = Trail(readers, 365)
        trail.note(ANNA, Action.READ, UUID(int=2))
        await until(lambda: readers.jobs == 2, "the entry and what is old")
        await asyncio.sleep(0.1)
        assert readers.jobs == 2, "nothing is written again"
        trail.note(ANNA, Action.READ, UUID(int=3))
        await until(lambda: readers.jobs == 3, "the next entry")

    asyncio.run(note())
    entries, _ = list_entries(entities, AuditFilter(), limit=5)
    assert [entry.lead_id for entry in entries] == [UUID(int=3), UUID(int=2), None]


def test_an_entry_that_the_database_refuses_keeps_no_other_waiting(latin1: str) -> None:
    keep(latin1, [])
    entities = bind(url_of(latin1))
    Rows(latin1).execute("ALTER TABLE leads_audit ADD CHECK (actor <> 'mallory')")
    bruno = Actor("bruno", Via.TOKEN, "Зоя")

    async def note() -> None:
        readers: Any = InLoop(entities)
        trail = Trail(readers, 365)
        for actor in (Actor("Zoë", Via.TOKEN), bruno, Actor("mallory", Via.TOKEN), ANNA):
            trail.note(actor, Action.READ, UUID(int=1))
        await trail.close()
        await trail.close()
        assert readers.jobs == 1, "nothing waits any more"
        await trail.record(bruno, Action.EXPORT, {})
        with pytest.raises(SubmissionRefused):
            await trail.record(Actor("mallory", Via.TOKEN), Action.EXPORT, {})

    asyncio.run(note())
    entries, _ = list_entries(entities, AuditFilter(), limit=9)
    entities.database.disconnect()
    claimed = r"\u0417\u043e\u044f"
    kept = [("bruno", claimed), ("anna", None), ("bruno", claimed), ("Zoë", None)]
    assert [(entry.actor, entry.claimed) for entry in entries] == kept


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_unforeseen_error_does_not_end_the_writing(entities: Entities, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail_module, "GATHER_S", 0.01)

    async def note() -> None:
        readers: Any = InLoop(entities)
        run = readers.run

        async def fail(work: Any) -> Any:
            readers.run = run
            raise RuntimeError("unforeseen")

        readers.run = fail
        Trail(readers, 365).note(ANNA, Action.READ, UUID(int=1))
        await until(lambda: readers.jobs > 0, "another attempt")

    asyncio.run(note())


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_there_was_no_room_for_is_recorded_when_it_is_read_again(
    entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_module, "MAX_WAITING", 1)

    async def note() -> None:
        readers: Any = InLoop(entities)
        trail = Trail(readers, 365)
        for number in (1, 2):
            trail.note(ANNA, Action.READ, UUID(int=number))
        await trail.close()
        trail.note(ANNA, Action.READ, UUID(int=2))
        await trail.close()

    asyncio.run(note())
    entries, _ = list_entries(entities, AuditFilter(), limit=5)
    assert [entry.lead_id for entry in entries] == [UUID(int=2), UUID(int=1)]


def test_a_known_token_holds_while_the_database_is_away_but_not_for_ever(
    entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, secret = add_token(entities, "anna", Role.AGENT, None, actor=ANNA)
    clock = [10_000.0]
    monkeypatch.setattr(keyring, "monotonic", lambda: clock[0])
    monkeypatch.setattr(keyring, "LEAST_INTERVAL_S", 0.0)

    async def use() -> None:
        readers: Any = InLoop(entities)
        ring = Keyring(readers)
        found = await ring.find_token(secret)
        assert found == token
        jobs = readers.jobs
        for _ in range(100):
            assert await ring.find_token(secret) == token
        assert readers.jobs == jobs, "a token that is known costs no look at the database"
        readers.is_away = True
        clock[0] += HOLDS_S - 1
        assert await ring.find_token(secret) == token
        with pytest.raises(StoreUnavailable):
            await ring.find_token("lcrm_unknown")
        clock[0] += 2
        with pytest.raises(StoreUnavailable):
            await ring.find_token(secret)
        readers.is_away = False
        revoke_token(entities, name="anna", actor=ANNA)
        revoked = await ring.find_token(secret)
        assert revoked is not None
        assert revoked.state_at(now()) == "revoked"

    asyncio.run(use())


def test_only_the_hash_of_a_token_is_stored(entities: Entities) -> None:
    token, secret = add_token(entities, "anna", Role.LEAD, now() + timedelta(days=1), actor=ANNA)
    keys = read_keys(entities)
    assert keys == Keys({digest(secret): token}, {})
    assert isinstance(token, Token)
    assert secret not in repr(token)


def test_every_filter_of_a_command_is_in_its_entry_and_a_time_is_the_moment_it_means(entities: Entities) -> None:
    parser = argparse.ArgumentParser()
    add_filter(parser)
    words = [word for flag in parser._option_string_actions for word in GIVEN.get(flag, (flag, "1"))]
    arguments = parser.parse_args(words)
    crm: Any = SimpleNamespace(entities=entities, zone=parse_time_zone("+02:00"))
    record_reading(crm, Action.LIST, arguments)
    ((*_, detail),), _ = list_entries(entities, AuditFilter(), limit=5)
    given = {name for name, value in vars(arguments).items() if value}
    assert len(detail) == len(given)
    assert (detail["contains"], detail["due"]) == ("\u2026", ["2026-01-31T22:00:00Z"])
    assert (detail["from"], detail["to"]) == (["2025-12-31T22:00:00Z"], ["2026-01-31T22:00:00Z"])


GIVEN: dict[str, tuple[str, ...]] = {
    "-h": (),
    "--help": (),
    "--contains": ("--contains", "offer:gold"),
    "--from": ("--from", "2026-01-01"),
    "--to": ("--to", "2026-01-31"),
    "--due": ("--due", "2026-01-31"),
    "--tests": ("--tests", "only"),
}
"""What a flag of a filter takes, where that is not any text."""


@pytest.mark.parametrize("name", ["mapping v1", "normalizer v12", "", "a" * 201, "a\nb"])
def test_no_command_acts_in_a_name_that_stands_for_the_program_or_is_none(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("leads", "next"), ("erase", str(UUID(int=1))), ("prune", "--older-than", "4d")):
        with pytest.raises(SystemExit) as ended:
            main([*words, f"--actor={name}"])
        assert ended.value.code == 2
        assert "--actor" in capsys.readouterr().err


def test_who_became_root_is_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "anna")
    assert find_actor() == Actor("anna", Via.COMMAND)
    assert find_actor("bruno").name == "bruno"
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert find_actor() == Actor("uid 54321", Via.COMMAND)
