"""A replay finds its rows by an index of SQLite: it holds the lock that all leads need, however many rows there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pony.orm.dbproviders.sqlite import SQLiteProvider

from leadcrm.database.sessions import bind
from leadcrm.ingest.replay import replay, replay_failed, replay_postponed, replayable_ids
from leadcrm.ingest.submission import POSTPONED
from tests.support.crm import MAX_DECODED_BYTES, keep, submission, url_of

GOOD = b'{"phone":"+37120000001"}'


def test_a_replay_reads_no_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = f"sqlite:///{tmp_path / 'leads.db'}"
    rows = [
        submission(GOOD, state="failed", error="a fault of ours"),
        submission(GOOD, state="failed", error=POSTPONED),
        submission(GOOD, key="invalid before", state="invalid", error="no payload"),
    ]
    keep(database, rows)
    entities = bind(url_of(database))
    plans: list[tuple[str, str]] = []
    execute = SQLiteProvider.execute

    def explain(provider: Any, cursor: Any, sql: str, values: Any = None, returning_id: bool = False) -> Any:
        if sql.startswith("SELECT") and "leads_raw" in sql:
            # With the values apart, as the statement has them: a plan for literals may be better.
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {sql}", values or ())
            plans.extend((detail, sql) for *_, detail in plan)
        return execute(provider, cursor, sql, values, returning_id)

    monkeypatch.setattr(SQLiteProvider, "execute", explain)
    works: list[Callable[[], object]] = [
        lambda: replay_failed(entities, max_decoded_bytes=MAX_DECODED_BYTES),
        lambda: replay_postponed(entities, max_decoded_bytes=MAX_DECODED_BYTES).leads,
        lambda: [str(id) for id in replayable_ids(entities, ("invalid",))],
        lambda: replay(entities, UUID(rows[2].id), max_decoded_bytes=MAX_DECODED_BYTES),
    ]
    results = [work() for work in works]
    entities.database.disconnect()
    assert results[:3] == [1, 1, [rows[2].id]]
    assert len(plans) > len(works)
    assert not [(detail, sql) for detail, sql in plans if detail.startswith("SCAN") or detail.endswith("(id>?)")]
