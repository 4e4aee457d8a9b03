"""The spool's file: its limits, another file in its place, and a fresh log after a failure."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.errors import SpoolFull, SpoolUnavailable
from leadcrm.ingest.spool import file as file_module
from leadcrm.ingest.spool import spool as spool_module
from leadcrm.ingest.spool.file import SpoolFile, make_spool_file, set_aside_files
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.submission import Submission
from tests.support.crm import submission
from tests.support.writers import spool_in

LIMIT_BYTES = 1_000_000


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """An empty spool."""
    with closing(spool_in(tmp_path)) as spool:
        yield spool


def fill(spool: Spool, rows: Iterable[Submission]) -> list[Submission]:
    """Write row by row until the spool is full, and return the rows that it took."""
    kept = []
    for row in rows:
        try:
            spool.write([row])
        except SpoolFull:
            break
        kept.append(row)
    return kept


def test_a_full_spool_takes_rows_again_once_others_have_left(tmp_path: Path) -> None:
    rows = [submission(b'"%s"' % (b"x" * 100_000)) for _ in range(20)]
    with closing(Spool(tmp_path, max_bytes=LIMIT_BYTES, min_free_bytes=0)) as spool:
        kept = fill(spool, rows[:10])
        assert 5 < len(kept) < 10
        spool.remove([row.id for row in kept[1:]])
        assert fill(spool, rows[10:]) == rows[10 : 9 + len(kept)]
        assert [row.id for row in spool.oldest(20, 2 * LIMIT_BYTES)] == [
            row.id for row in (kept[0], *rows[10 : 9 + len(kept)])
        ]


def test_a_batch_that_would_take_the_spool_over_its_limit_is_refused_whole(tmp_path: Path) -> None:
    with closing(Spool(tmp_path, max_bytes=LIMIT_BYTES, min_free_bytes=0)) as spool:
        with pytest.raises(SpoolFull, match="SPOOL_BYTES"):
            spool.write([submission(b'"%s"' % (b"x" * 100_000)) for _ in range(10)])
        assert spool.is_empty()
        spool.write([submission(b"{}")])


def test_a_glance_sees_that_another_file_is_in_use(spool: Spool) -> None:
    batch = [submission(b"{}", key="k")]
    assert spool.known_at_a_glance(batch) == {}
    make_spool_file(spool.data_dir / "spool-2.db")
    assert spool.known_at_a_glance(batch) is None
    with closing(spool_in(spool.data_dir)) as other:
        other.write(batch)
    assert not spool.is_empty()
    found = spool.known_at_a_glance(batch)
    assert found is not None
    assert list(found) == [batch[0].key_sha256]


def test_a_glance_at_an_empty_spool_sees_what_others_write_then(spool: Spool) -> None:
    assert spool.known_at_a_glance([]) == {}
    with closing(spool_in(spool.data_dir)) as other:
        for key in ("first", "second"):
            batch = [submission(b"{}", key=key)]
            assert spool.known_at_a_glance(batch) == {}
            other.write(batch)
            found = spool.known_at_a_glance(batch)
            assert found is not None
            assert list(found) == [batch[0].key_sha256]
            other.remove([batch[0].id])


def test_a_disk_that_damages_each_spool_gets_no_more_of_them(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "MAX_SET_ASIDE_FILES", 3)
    for _ in range(3):
        SpoolFile(spool.data_dir).set_aside("it was damaged")
    with pytest.raises(SpoolUnavailable, match="it was damaged"):
        SpoolFile(spool.data_dir).set_aside("it was damaged")
    assert [path.name for path in set_aside_files(spool.data_dir)] == ["spool.db", "spool-2.db", "spool-3.db"]


def log_number(path: Path) -> bytes:
    """Return the salts of the log beside a file, which change when the log begins anew."""
    return Path(f"{path}-wal").read_bytes()[16:24]


def test_after_a_failure_the_log_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "BUSY_TIMEOUT_S", 0.1)
    kept = [submission(b"{}") for _ in range(3)]
    with (
        closing(spool_in(tmp_path)) as spool,
        closing(sqlite3.connect(spool.path, isolation_level=None)) as rival,
    ):
        spool.write([kept[0]])
        before = log_number(spool.path)
        spool.write([kept[1]])
        assert log_number(spool.path) == before
        rival.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpoolUnavailable):
            spool.write([kept[2]])
        rival.execute("ROLLBACK")
        spool.write([kept[2]])
        assert log_number(spool.path) != before
        assert [row.id for row in spool.oldest(10, 1000)] == [row.id for row in kept]
