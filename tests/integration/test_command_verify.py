"""`leadcrm verify`: no problem in a whole database, and each fault reported with its row."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg2
import pytest

from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.crm import keep, submission


class Stored(NamedTuple):
    """A database of a known content, and the ids of its rows."""

    url: str
    directory: Path
    created: list[str]
    repeat: str
    conflict: str
    invalid: str


@pytest.fixture
def stored(database: str, tmp_path: Path) -> Stored:
    """Three leads, a repeat and a conflict of the first, and an invalid body."""
    rows = [submission(b'{"email":"%d@example.com"}' % number, key=f"key-{number}") for number in range(3)]
    rows.append(submission(rows[0].body or b"", key="key-0"))
    rows.append(submission(b'{"email":"other@example.com"}', key="key-0"))
    rows.append(submission(b"{", key="key-9"))
    for row in rows:
        keep(database, [row])
    ids = [row.id for row in rows]
    return Stored(database, tmp_path, ids[:3], *ids[3:])


def tamper(stored: Stored, statement: str, *ids: str, body: bytes | None = None) -> None:
    """Change the database without the program; `?` stands for each id, `!` for the body."""
    if stored.url.startswith("sqlite"):
        with closing(sqlite3.connect(stored.url.removeprefix("sqlite:///"))) as connection:
            values: list[Any] = ([body] if body else []) + [UUID(id).bytes for id in ids]
            connection.execute(statement.replace("!", "?"), values)
            connection.commit()
        return
    with closing(psycopg2.connect(stored.url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # foreign keys off, as in a careless restore
        cursor.execute(statement.replace("!", "%s").replace("?", "%s"), ([body] if body else []) + list(ids))
        connection.commit()


def verified(stored: Stored) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the document."""
    done = leadcrm(stored.directory, "verify", "--json", DATABASE_URL=stored.url)
    return done.returncode, json.loads(done.stdout)


def problems(stored: Stored) -> dict[str, str]:
    """Return the problems, by where they are."""
    status, document = verified(stored)
    assert status == 1
    assert not document["ok"]
    return {problem["where"]: problem["what"] for problem in document["problems"]}


def test_a_whole_database_adds_up_by_day(stored: Stored) -> None:
    status, document = verified(stored)

    assert status == 0, document
    (day,) = document["days"]
    del day["day"]
    assert day == {
        "received": 6, "created": 3, "repeats": 1, "conflicts": 1, "invalid": 1, "failed": 0, "spooled": 0,
        "batches": 0, "events": 0, "unrouted": 0, "unverified": 0,
    }  # fmt: skip


def test_a_corrupted_body_is_named(stored: Stored) -> None:
    tamper(stored, "UPDATE leads_raw SET body = ! WHERE id = ?", stored.created[1], body=b'{"email": "x"}')

    assert problems(stored) == {stored.created[1]: "its body does not match its hash"}


def test_a_body_that_is_gone_is_named(stored: Stored) -> None:
    tamper(stored, "UPDATE leads_raw SET body = NULL WHERE id = ?", stored.conflict)

    assert problems(stored) == {stored.conflict: "a conflict row without its body"}


def test_a_deleted_lead_is_named(stored: Stored) -> None:
    tamper(stored, "DELETE FROM leads WHERE id = ?", stored.created[2])

    assert problems(stored) == {stored.created[2]: "a stored row without its lead"}


def test_an_orphaned_lead_is_named_and_the_day_does_not_add_up(stored: Stored) -> None:
    tamper(stored, "DELETE FROM leads_raw WHERE id = ?", stored.created[2])

    found = problems(stored)
    assert found.pop(stored.created[2]) == "a lead without its raw row"
    assert list(found.values()) == ["6 rows were received, 5 are there: missing"]


def test_a_removed_repeat_is_missed_on_its_day(stored: Stored) -> None:
    tamper(stored, "DELETE FROM leads_raw WHERE id = ?", stored.repeat)

    assert list(problems(stored).values()) == ["6 rows were received, 5 are there: missing"]


def test_a_first_row_that_is_gone_is_named_with_its_duplicates(stored: Stored) -> None:
    tamper(stored, "DELETE FROM leads WHERE id = ?", stored.created[0])
    tamper(stored, "DELETE FROM leads_raw WHERE id = ?", stored.created[0])

    found = problems(stored)
    assert found[stored.repeat] == f"a repeat whose first row {stored.created[0]} is gone"
    assert found[stored.conflict] == f"a conflict whose first row {stored.created[0]} is gone"


def test_a_repeat_of_other_bytes_is_named(stored: Stored) -> None:
    other = hashlib.sha256(b"other").digest()
    tamper(stored, "UPDATE leads_raw SET body_sha256 = ! WHERE id = ?", stored.repeat, body=other)

    assert problems(stored) == {stored.repeat: f"a repeat of {stored.created[0]}, whose bytes differ"}


def test_a_key_with_two_leads_is_named(stored: Stored) -> None:
    tamper(stored, "DROP INDEX leads_raw_key")
    tamper(
        stored,
        "UPDATE leads_raw SET key_sha256 = ! WHERE id = ?",
        stored.created[1],
        body=hashlib.sha256(b"key-2").digest(),
    )

    assert problems(stored) == {hashlib.sha256(b"key-2").hexdigest(): "one key (its SHA-256) with 2 leads"}


def test_rows_in_the_spool_count_as_received_and_spooled(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("postgresql://nobody@127.0.0.1:1/nowhere")
    assert server.client.post_lead({"email": "a@example.com"}).status == 201
    server.terminate()
    data_dir = server.data_dir

    assert leadcrm(tmp_path, "migrate", DATA_DIR=str(data_dir)).returncode == 0
    done = leadcrm(tmp_path, "verify", "--json", DATA_DIR=str(data_dir))

    (day,) = json.loads(done.stdout)["days"]
    assert (day["received"], day["spooled"], day["created"]) == (1, 1, 0)
    assert done.returncode == 0
