"""A backup of more pages than one step copies, beside a writer that goes on."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.configuration.config import load
from leadcrm.ingest.driving import block
from leadcrm.ingest.spool.drain import drain_batch
from leadcrm.operations import backup as backup_module
from leadcrm.operations.backup import back_up
from tests.support.crm import MAX_DECODED_BYTES, submission
from tests.support.rows import Rows
from tests.support.stores import store_on
from tests.support.writers import spool_in


def test_a_backup_is_of_one_moment_whatever_is_committed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_module, "_PAGES_A_STEP", 4)
    database = f"sqlite:///{tmp_path / 'leads.db'}"
    config = load({}, {"DATABASE_URL": database, "DATA_DIR": str(tmp_path), "PATH": os.defpath}, tmp_path)
    before = [submission(b'"%s"' % (b"x" * 3000)) for _ in range(40)]
    with store_on(database) as store:
        block(store.write(before))
        steps: list[tuple[int, int]] = []

        def on_progress(done: int, in_all: int) -> None:
            steps.append((done, in_all))
            if len(steps) < 200:
                block(store.write([submission(b"{}")]))

        done = back_up(config, tmp_path / "copy.db", on_progress)
    # Begun anew with each commit, it would take many more.
    assert 8 < len(steps) < 60
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    copied = {row["id"] for row in Rows(f"sqlite:///{tmp_path / 'copy.db'}").raw()}
    assert copied == {row.id for row in before}
    assert done.rows == len(before)


def test_a_row_that_is_drained_during_a_backup_is_in_it(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'leads.db'}"
    config = load({}, {"DATABASE_URL": database, "DATA_DIR": str(tmp_path), "PATH": os.defpath}, tmp_path)
    row = submission(b'{"email":"drained@example.com"}')
    with store_on(database) as store, closing(spool_in(tmp_path)) as spool:
        spool.write([row])

        def on_progress(_done: int, _in_all: int) -> None:
            drain_batch(spool, store, max_decoded_bytes=MAX_DECODED_BYTES)

        done = back_up(config, tmp_path / "copy.db", on_progress)
        assert spool.is_empty()
    assert [lead["id"] for lead in Rows(f"sqlite:///{tmp_path / 'copy.db'}").leads()] == [row.id]
    assert done.rows == 1
