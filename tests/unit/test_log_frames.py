"""Reading the frames of a log that others write and cut off."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.database.log_frames import lacks_moved_pages
from leadcrm.database.log_index import Checkpoints

PREAD = os.pread


def test_a_log_that_is_cut_off_while_it_is_read_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "words.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in ("PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0", "CREATE TABLE words (word)"):
            connection.execute(sql)
        for number in range(200):
            connection.execute("INSERT INTO words VALUES (?)", (str(number) * 900,))
        connection.execute("PRAGMA wal_checkpoint")
        log = os.open(f"{path}-wal", os.O_RDWR)
        file = os.open(path, os.O_RDONLY)
        left = 0

        def pread(descriptor: int, size: int, at: int) -> bytes:
            nonlocal left
            left -= 1
            if left == 0:
                os.truncate(log, 0)
            return PREAD(descriptor, size, at)

        frames = (os.fstat(log).st_size - 32) // 4120
        whole = PREAD(log, 2**24, 0)
        round = int.from_bytes(whole[16:20], "big")
        monkeypatch.setattr(os, "pread", pread)
        for reads in (*range(1, 20), 100, 10**6):
            for moved in (frames, frames // 2):
                left = reads
                os.pwrite(log, whole, 0)
                lacks_moved_pages(file, log, Checkpoints(round, moved, moved), at_leisure=True)
        for descriptor in (log, file):
            os.close(descriptor)
