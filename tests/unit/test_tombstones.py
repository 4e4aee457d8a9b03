"""Tombstones: nothing gives an erased row content again, and verification sees through what is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from leadcrm.configuration.config import load
from leadcrm.crm.scrubbing import erase_files
from leadcrm.crm.tombstones import Counts, erase_rows, trace_of
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind
from leadcrm.ingest.replay import replay, replay_failed
from leadcrm.ingest.spool.file import make_spool_file, mark_salvaged
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.submission import Submission
from leadcrm.operations.verification import verify
from tests.support.crm import MAX_DECODED_BYTES, keep, submission, url_of
from tests.support.rows import Rows

TRACE = trace_of("kim")


@pytest.fixture
def entities(database: str) -> Iterator[Entities]:
    """A bound database with a lead, its repeat and its conflict, and a failed row."""
    keep(database, ROWS)
    entities = bind(url_of(database))
    yield entities
    entities.database.disconnect()


LEAD = submission(b'{"email":"a@example.com"}', key="a")
CONFLICT = submission(b'{"email":"b@example.com"}', key="a")
FAILED = submission(b'{"email":"c@example.com"}', key="c", state="failed", error="our fault")
ROWS = [LEAD, submission(LEAD.body or b"", key="a"), CONFLICT, FAILED]


def erase(entities: Entities, *rows: Submission) -> Counts:
    return erase_rows(entities, [UUID(row.id) for row in rows], TRACE)


def problems(entities: Entities) -> list[str]:
    return [problem.what for problem in verify(entities, None).problems]


def test_a_row_is_erased_once_and_its_replay_or_its_copy_elsewhere_brings_nothing_back(
    database: str, entities: Entities, rows: Rows
) -> None:
    assert erase(entities, *ROWS) == Counts(rows=4, leads=1)
    assert erase(entities, *ROWS) == Counts()
    before = rows.raw()
    assert {row["error"] for row in before} == {TRACE}
    for row in ROWS:
        replayed = replay(entities, UUID(row.id), max_decoded_bytes=MAX_DECODED_BYTES)
        assert replayed is not None
        assert not replayed.changed
    assert replay(entities, UUID(LEAD.id), max_decoded_bytes=MAX_DECODED_BYTES).lead_id is None  # type: ignore[union-attr]
    assert replay_failed(entities, max_decoded_bytes=MAX_DECODED_BYTES) == 0
    # As another node's spool drains them.
    keep(database, [*ROWS, submission(b"{}", key="a")])
    assert [row for row in rows.raw() if row["error"] == TRACE] == before
    assert rows.leads() == []
    assert rows.raw()[-1]["duplicate_of"] == LEAD.id
    assert problems(entities) == []


@pytest.mark.parametrize("row", [FAILED, CONFLICT], ids=["failed", "conflict"])
def test_a_replay_that_has_read_the_body_before_the_erasure_makes_no_lead(
    entities: Entities, rows: Rows, monkeypatch: pytest.MonkeyPatch, row: Submission
) -> None:
    read = Submission.reprocessed

    def read_and_erase(kept: Submission, **given: Any) -> Submission:
        result = read(kept, **given)
        assert erase(entities, row).rows == 1
        return result

    monkeypatch.setattr(Submission, "reprocessed", read_and_erase)
    replayed = replay(entities, UUID(row.id), max_decoded_bytes=MAX_DECODED_BYTES)
    assert replayed is not None
    assert not replayed.changed
    assert [lead["id"] for lead in rows.leads()] == [LEAD.id]
    assert rows.raw_row(row.id)["body"] is None


def test_verification_names_what_only_looks_like_a_tombstone(entities: Entities, rows: Rows) -> None:
    erase(entities, FAILED)
    assert problems(entities) == []
    rows.execute("UPDATE leads_raw SET body = body_sha256 WHERE id = %s", rows.as_id(FAILED.id))
    rows.execute("UPDATE leads_raw SET error = %s WHERE id = %s", TRACE, rows.as_id(LEAD.id))
    assert sorted(problems(entities)) == ["a lead of a row that was erased", *["an erased row that has a body"] * 2]
    rows.execute("UPDATE leads_raw SET body = NULL, error = NULL")
    assert "a stored row without its body" in problems(entities)


def test_a_file_that_was_set_aside_goes_with_an_erased_row_unless_only_there_are_damaged_ones(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1 << 30, min_free_bytes=0)
    spool.write([LEAD])
    spool.close()
    first, damaged = tmp_path / "spool.db", tmp_path / "spool-2.db"
    damaged.write_bytes(first.read_bytes())
    make_spool_file(tmp_path / "spool-3.db")
    mark_salvaged(first, f"1 rows were salvaged from {first}, 0 are damaged")
    config = load({}, {"DATA_DIR": str(tmp_path)}, tmp_path)
    assert erase_files(config, {UUID(FAILED.id)}, lambda text: "nobody" in text)[0] == []
    deleted, left = erase_files(config, {UUID(LEAD.id)}, None)
    assert (deleted, first.exists()) == ([str(first)], False)
    assert [str(damaged) in sentence and "spool drain" in sentence for sentence in left] == [True]
    mark_salvaged(damaged, f"1 rows were salvaged from {damaged}, 1 are damaged: {LEAD.id}")
    deleted, left = erase_files(config, set(), lambda text: "a@example.com" in text)
    assert (deleted, damaged.exists(), len(left)) == ([], True, 1)
