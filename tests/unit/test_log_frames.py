"""Reading the frames of a log that others write and cut off."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.database.log_frames import lacks_moved_pages
from leadcrm.database.log_index import Checkpoints
from leadcrm.database.sqlite import SQLITE_LOG_BYTES

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


def test_a_round_whose_newest_frames_were_cut_off_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in ("PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0", "PRAGMA journal_size_limit = 65536"):
            connection.execute(sql)
        for table in ("words", "others"):
            connection.execute(f"CREATE TABLE {table} (word)")
            connection.execute(f"INSERT INTO {table} VALUES (0)")
        for updates, is_cut_off in ((40, True), (8, False)):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for number in range(updates):
                connection.execute("UPDATE words SET word = ?", (number,))
            connection.execute("PRAGMA wal_checkpoint")
            connection.execute("UPDATE others SET word = ?", (updates,))
            with open(path, "rb") as file, open(f"{path}-wal", "rb") as log, open(tmp_path / "copy", "w+b") as copy:
                assert (os.fstat(log.fileno()).st_size == 65536) == is_cut_off
                checkpoints = Checkpoints(int.from_bytes(log.read(20)[16:], "big"), 0, 0)
                assert not lacks_moved_pages(file.fileno(), log.fileno(), checkpoints, at_leisure=True)
                # A content of another time differs in the newest pages.
                copy.write(file.read().replace(b"\x01%c" % (updates - 1), b"\x01%c" % (updates - 2)))
                copy.flush()
                is_foreign = lacks_moved_pages(copy.fileno(), log.fileno(), checkpoints, at_leisure=True)
                assert is_foreign != is_cut_off


def test_pages_that_a_vacuum_cut_off_are_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in ("PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0", "CREATE TABLE words (word)"):
            connection.execute(sql)
        for _ in range(200):
            connection.execute("INSERT INTO words VALUES (?)", ("word" * 9000,))
        for sql in ("PRAGMA wal_checkpoint", "DELETE FROM words WHERE rowid % 2", "VACUUM"):
            connection.execute(sql)
        with open(path, "rb") as file, open(f"{path}-wal", "rb") as log:
            for _ in range(2):
                (_, frames, moved) = connection.execute("PRAGMA wal_checkpoint").fetchone()
                assert frames == moved
                checkpoints = Checkpoints(int.from_bytes(os.pread(log.fileno(), 4, 16), "big"), moved, moved)
                assert not lacks_moved_pages(file.fileno(), log.fileno(), checkpoints, at_leisure=True)
                # The round goes on, and the file grows again.
                connection.execute("INSERT INTO words VALUES (?)", ("word" * 9000,))


def test_a_log_that_is_cut_off_at_its_limit_ends_within_a_frame() -> None:
    assert all((SQLITE_LOG_BYTES - 32) % ((512 << shift) + 24) for shift in range(8))
