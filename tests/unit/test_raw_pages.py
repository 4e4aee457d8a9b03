"""Pages of the requests of one source, which no index finds."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from leadcrm.crm import raw
from leadcrm.crm.raw import SpoolReader, list_raw
from leadcrm.crm.states import RAW_STATES
from leadcrm.database.sessions import bind
from tests.support.crm import keep, submission, url_of


def test_the_requests_of_a_source_are_found_page_by_page_however_many_others_there_are(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "SCANNED_ROWS", 4)
    sent = [
        submission(b"{}" if number % 3 else b"bad")._replace(source="ads" if number in (0, 1, 9) else "api")
        for number in range(10)
    ]
    keep(database, sent)
    entities, spool = bind(url_of(database)), SpoolReader(tmp_path)
    found: list[str] = []
    cursors: list[UUID | None] = [None]
    while len(cursors) == 1 or cursors[-1] is not None:
        page = list_raw(entities, spool, RAW_STATES, limit=1, after=cursors[-1], source="ads")
        found += [str(row.id) for row in page.rows]
        cursors.append(page.next)
    assert found == [sent[number].id for number in (9, 1, 0)]
    assert len(cursors) < 8
    everything = list_raw(entities, spool, RAW_STATES, limit=100)
    assert ([str(row.id) for row in everything.rows], everything.next) == ([row.id for row in reversed(sent)], None)
    entities.database.disconnect()
