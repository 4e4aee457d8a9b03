"""The states of a raw row: the migrations' constraints and indexes agree with the program."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import psycopg2
import pytest

from leadcrm.database.migrations import migrate_spool
from leadcrm.database.states import (
    INBOX_STATES,
    KEY_HOLDING_STATES,
    REPLAYABLE_STATES,
    TALLIES,
    Outcome,
    State,
)
from tests.support.crm import keep, submission
from tests.support.rows import Rows


def literals(sql: str) -> list[str]:
    return re.findall(r"'([a-z]+)'", sql)


def definitions_in(url: str) -> tuple[str, str]:
    """Return the CHECK of the column `state` and the definition of the unique index of keys."""
    rows = Rows(url)
    if url.startswith("sqlite"):
        (table,) = rows.select("SELECT sql AS text FROM sqlite_master WHERE name = 'leads_raw'")
        check = table["text"].partition("CHECK (state")[2].partition("))")[0]
        (index,) = rows.select("SELECT sql AS text FROM sqlite_master WHERE name = 'leads_raw_key'")
    else:
        (constraint,) = rows.select(
            "SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint "
            "WHERE conrelid = 'leads_raw'::regclass AND contype = 'c'"
        )
        check = constraint["text"]
        (index,) = rows.select("SELECT pg_get_indexdef('leads_raw_key'::regclass) AS text")
    return check, index["text"]


def assert_states_in(url: str) -> None:
    check, index = definitions_in(url)
    assert sorted(literals(check)) == sorted(state.value for state in State)
    assert sorted(literals(index)) == sorted(KEY_HOLDING_STATES) == ["failed", "stored"]


def test_the_database_accepts_every_state_and_indexes_those_that_hold_a_key(database: str) -> None:
    keep(database, [])
    assert_states_in(database)


def test_every_state_can_be_stored_and_no_other(database: str) -> None:
    keep(database, [submission(b"{}", state=state.value) for state in State])
    rows = Rows(database)
    assert [row["state"] for row in rows.raw()] == [state.value for state in State]
    with pytest.raises((sqlite3.IntegrityError, psycopg2.IntegrityError)):
        rows.execute("UPDATE leads_raw SET state = 'sold'")


def test_the_spool_accepts_every_state_and_indexes_those_that_hold_a_key(tmp_path: Path) -> None:
    migrate_spool(tmp_path / "spool.db")
    assert_states_in(f"sqlite:///{tmp_path / 'spool.db'}")


def test_a_state_equals_its_text_in_every_form() -> None:
    assert (f"{State.STORED}", str(State.STORED), State("stored"), State.STORED == "stored") == (
        "stored", "stored", State.STORED, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "outcome", "tally", "holds_key", "is_replayable", "in_inbox"),
    [
        ("stored", Outcome.CREATED, "created", True, False, False),
        ("repeat", Outcome.DUPLICATE, "repeats", False, False, True),
        ("conflict", Outcome.CONFLICT, "conflicts", False, True, True),
        ("batch", Outcome.CREATED, "batches", False, False, False),
        ("event", Outcome.CREATED, "events", False, True, False),
        ("unrouted", Outcome.CREATED, "unrouted", False, True, True),
        ("unverified", Outcome.REJECTED, "unverified", False, True, True),
        ("invalid", Outcome.INVALID, "invalid", False, True, True),
        ("failed", Outcome.CREATED, "failed", True, True, True),
    ],
)
def test_a_state_has_its_properties(
    state: str, outcome: Outcome, tally: str, holds_key: bool, is_replayable: bool, in_inbox: bool
) -> None:
    member = State(state)
    assert (member.outcome, member.tally, member.holds_key, member.is_replayable, member.in_inbox) == (
        outcome, tally, holds_key, is_replayable, in_inbox,
    )  # fmt: skip


def test_lists_of_states_have_the_order_that_people_are_shown() -> None:
    assert TALLIES == (
        "created", "batches", "events", "repeats", "conflicts", "unrouted", "unverified", "invalid", "failed",
    )  # fmt: skip
    assert INBOX_STATES == ("failed", "invalid", "unverified", "unrouted", "conflict", "repeat")
    assert REPLAYABLE_STATES == ("failed", "invalid", "unverified", "unrouted", "conflict", "event")
