"""The source of a raw row, which names its reader: in the database, in the spool and after a salvage."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from pony.orm import db_session

from leadcrm.database.migrations import migrations_for
from leadcrm.database.sessions import bind
from leadcrm.ingest.raw_row import sqlite_raw_values
from leadcrm.ingest.replay import replay
from leadcrm.ingest.spool.file import make_spool_file
from leadcrm.ingest.spool.salvage import salvage_all
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.submission import Submission
from tests.support.crm import MAX_DECODED_BYTES, keep, submission, url_of
from tests.support.rows import Rows


def spool_of_the_first_version(data_dir: Path, row: Submission) -> None:
    """Create a spool file of the version before rows had a source, with one row."""
    first = migrations_for("spool")[0]
    values = sqlite_raw_values(row)[:-3]
    with closing(sqlite3.connect(data_dir / "spool.db")) as connection, connection:
        connection.executescript(first.sql)
        connection.execute("CREATE TABLE leadcrm_migrations (version integer PRIMARY KEY, name text, applied_at text)")
        connection.execute("INSERT INTO leadcrm_migrations VALUES (1, 'spool', '')")
        connection.execute(f"INSERT INTO leads_raw VALUES ({', '.join('?' * len(values))}, NULL)", values)


def spool_in(data_dir: Path) -> Spool:
    return Spool(data_dir, max_bytes=1 << 30, min_free_bytes=0)


def test_rows_in_an_upgraded_spool_have_the_source_api(tmp_path: Path) -> None:
    old, new = submission(b'{"email":"old"}'), submission(b'{"email":"new"}')
    spool_of_the_first_version(tmp_path, old)
    spool = spool_in(tmp_path)
    spool.write([new])
    assert spool.oldest(10, 1 << 20) == [row._replace(fields=None) for row in (old, new)]
    spool.close()


@pytest.mark.parametrize("is_upgraded", [False, True])
def test_rows_of_an_older_spool_are_salvaged(tmp_path: Path, is_upgraded: bool) -> None:
    old, new = submission(b'{"email":"old"}'), submission(b'{"email":"new"}')
    spool_of_the_first_version(tmp_path, old)
    kept = [old]
    if is_upgraded:
        with closing(spool_in(tmp_path)) as before:
            before.write([new])
        kept.append(new)
    make_spool_file(tmp_path / "spool-2.db")
    spool = spool_in(tmp_path)
    salvage_all(spool)
    assert spool.oldest(10, 1 << 20) == [row._replace(fields=None) for row in kept]
    spool.close()


def test_a_row_of_an_unknown_source_stays_failed(database: str, rows: Rows) -> None:
    row = submission(b"{}", state="failed", error="why")._replace(source="of-tomorrow")
    keep(database, [row])
    entities = bind(url_of(database))
    replay(entities, UUID(row.id), max_decoded_bytes=MAX_DECODED_BYTES)
    with db_session:
        raw = entities.raw_lead[UUID(row.id)]
        assert (raw.source, raw.state, raw.error) == (
            "of-tomorrow", "failed", "this version knows no source 'of-tomorrow'",
        )  # fmt: skip
    entities.database.disconnect()
    assert rows.leads() == []
