"""The Pony entities match the migrations' columns and read the values that the batch insert wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import pytest
from pony.orm import Database, db_session

from leadcrm.database.entities import FIELD_COLUMNS, FIELDS, LEAD_COLUMNS, RAW_COLUMNS, define_entities
from leadcrm.database.migrations import migrate, migrate_spool
from leadcrm.database.sessions import bind
from leadcrm.ingest.normalize import NORMALIZER_VERSION
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.submission import Submission
from tests.support.crm import keep, submission, url_of
from tests.support.rows import Rows

TYPES = {
    UUID: {"uuid", "blob"},
    datetime: {"timestamp without time zone", "text"},
    str: {"text"},
    bytes: {"bytea", "blob"},
    int: {"integer", "bigint"},
    bool: {"boolean"},
}


def columns_in(database: str, table: str) -> dict[str, tuple[str, bool]]:
    """Return the type and the nullability of a table's columns, from the database's catalogue."""
    rows = Rows(database)
    if rows.is_sqlite:
        columns = rows.select(f"PRAGMA table_info({table})")
        return {row["name"]: (row["type"].lower(), not row["notnull"]) for row in columns}
    columns = rows.select(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND table_name = %s",
        table,
    )
    return {row["column_name"]: (row["data_type"], row["is_nullable"] == "YES") for row in columns}


def columns_of(entity: Any) -> dict[str, tuple[type, bool]]:
    """Return the Python type and the nullability of an entity's columns."""
    columns = {}
    for attribute in entity._attrs_:
        if not attribute.columns or (attribute.reverse and attribute.column is None):
            continue
        kind = UUID if attribute.reverse else attribute.py_type
        columns[attribute.column] = (kind, bool(attribute.nullable))
    return columns


@pytest.mark.parametrize(
    "table",
    [
        "leads_raw",
        "leads",
        "lead_events",
        "leads_ledger",
        "source_versions",
        "sink_versions",
        "leads_feed",
        "leads_feed_start",
        "leads_sinks",
        "leads_deliveries",
        "leads_delivered",
        "leads_tokens",
        "leads_sessions",
        "leads_audit",
        "leads_days",
        "leads_days_faults",
        "leads_days_until",
    ],
)
def test_the_migrations_create_the_columns_that_the_entities_declare(database: str, table: str) -> None:
    migrate(url_of(database))
    entities = bind(url_of(database))
    names = (table, (url_of(database).schema, table))
    (entity,) = (entity for entity in entities.database.entities.values() if entity._table_ in names)
    declared, made = columns_of(entity), columns_in(database, table)
    assert declared.keys() == made.keys()
    for column, (kind, nullable) in declared.items():
        made_kind, made_nullable = made[column]
        assert made_nullable == nullable, column
        assert made_kind in TYPES.get(kind, {made_kind}), column
    entities.database.disconnect()


def test_every_table_has_a_migration_and_an_entity(database: str) -> None:
    migrate(url_of(database))
    rows = Rows(database)
    if rows.is_sqlite:
        tables = rows.select("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    else:
        tables = rows.select("SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema()")
    unmapped = Database()
    define_entities(unmapped, None)
    declared = {entity._table_ for entity in unmapped.entities.values()}
    assert {row["name"] for row in tables} == declared | {"leadcrm_migrations"}


def test_the_spool_has_the_columns_of_the_raw_rows_and_the_refusal(tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("spool") / "spool.db"
    migrate_spool(path)
    assert columns_in(f"sqlite:///{path}", "leads_raw").keys() == {*RAW_COLUMNS, "refusal"}


def test_submissions_and_entities_have_the_same_columns() -> None:
    assert Submission._fields == (*RAW_COLUMNS, "fields", "is_test", "parts")
    assert RAW_COLUMNS[0] == LEAD_COLUMNS[0] == "id"
    assert set(FIELD_COLUMNS) < set(LEAD_COLUMNS)


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process runs on a host whose time zone is not UTC."""
    monkeypatch.setenv("TZ", "<+0545>-5:45")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def odd_rows() -> list[Submission]:
    texts = {"email": " blanks \t", "firstName": "Jānis \U0001f600", "phone": "", "description": "'\"\\\n\u2028%s"}
    plain = submission(b"{}", key="a")
    return [
        submission(b"{}"),
        submission(b"unreadable \x00\xff"),
        plain._replace(
            request_id="",
            idempotency_key="k" * 6000,
            target="/api/lead?x=%41",
            content_type=None,
            headers={"x": 'a "quoted" \u00e9\u2028', "empty": ""},
            body=bytes(range(256)),
            fields=tuple(texts.get(name) for name in FIELDS),
            received_at=datetime(2024, 1, 15, 10, 30, 0, 1, timezone.utc),
        ),
        submission(b"{}", key="failing", state="failed", error="why"),
        submission(b"{}", received_at=datetime(2024, 1, 15, 10, 30, tzinfo=timezone.utc)),
        submission(b"{}", key="a"),
    ]


@pytest.mark.usefixtures("far_from_utc")
def test_pony_reads_the_values_that_the_batch_insert_wrote(database: str) -> None:
    sent = odd_rows()
    keep(database, sent)
    entities = bind(url_of(database))
    with db_session:
        for row in sent:
            raw = entities.raw_lead[UUID(row.id)]
            is_repeat = row is sent[-1]
            assert raw.received_at == row.received_at.replace(tzinfo=None)
            for name in (
                "request_id",
                "idempotency_key",
                "method",
                "target",
                "remote_addr",
                "content_type",
                "node",
                "source",
            ):
                assert getattr(raw, name) == getattr(row, name), name
            assert dict(raw.headers) == row.headers
            assert (raw.body_sha256, raw.key_sha256) == (row.body_sha256, row.key_sha256)
            assert (raw.state, raw.body) == (("repeat", None) if is_repeat else (row.state, row.body))
            assert raw.duplicate_of == (UUID(sent[2].id) if is_repeat else None)
            assert raw.error == row.error
            if row.fields is None or is_repeat:
                assert raw.lead is None
                continue
            lead = raw.lead
            assert tuple(getattr(lead, column) for column in FIELD_COLUMNS) == row.fields
            assert (lead.status, lead.assigned_to, lead.normalizer_version) == ("new", None, NORMALIZER_VERSION)
            assert lead.created_at == lead.updated_at == raw.received_at
    entities.database.disconnect()


@pytest.mark.usefixtures("far_from_utc")
def test_the_spool_returns_its_rows_unchanged(tmp_path_factory: Any) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"), max_bytes=1 << 30, min_free_bytes=0)
    sent = [row._replace(fields=None) for row in odd_rows()]
    spool.write(sent)
    back = {row.id: row for row in spool.oldest(10, 1 << 30)}
    for row in sent[:-1]:
        assert back[row.id] == row
    repeat = back[sent[-1].id]
    assert (repeat.state, repeat.body, repeat.duplicate_of) == ("repeat", None, sent[2].id)
    spool.close()
