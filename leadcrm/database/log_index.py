"""SQLite's index of a log (`-shm`), as far as it says what checkpoints did, read through SQLite's own descriptor.

Source: https://www.sqlite.org/walformat.html (2.1 the index's header).
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from leadcrm.database.descriptors import find_descriptor

_MAGIC = b"SQLite format 3\0"

NAMES_LOG = b"\2\2"
NAMES_LOG_AT = 18
"""What the head of a database that has a log says, and where."""

_COPY_BYTES = 48
"""The header: a counter of commits, the log's end, salts and checksums."""

_HEAD_BYTES = 2 * _COPY_BYTES
"""Two copies of the header."""


_FIELDS = struct.Struct("=8xI4xI12x4s60xI28xI")
"""The counter of commits, the number of pages, the first of the round's salts, which counts up, and how many pages were
and are to be moved."""

_INDEX_BYTES = _FIELDS.size

_ALL_PAGES = 0xFFFFFFFF


class Checkpoints(NamedTuple):
    """What checkpoints have done with a log.

    Attributes:
        round: A round ends once all pages were moved and the log is begun anew; the next one has the next number.
        moved: The number of this round's pages that are in the file.
        moving: What that number is to become; another one only while a checkpoint writes, or after it was cut off.
    """

    round: int
    moved: int
    moving: int


class LogIndex:
    """The index of an open log; it may be used while a connection to the database is open."""

    def __init__(self, path: str) -> None:
        """Find the descriptor. Raises `OSError`."""
        descriptor = find_descriptor(os.stat(path))
        if descriptor is None:
            raise FileNotFoundError(None, "the index of the log is not open", path)
        # All connections of a process share it.
        self._descriptor = descriptor

    def checkpoints(self) -> Checkpoints:
        """Return how far the pages of the log have been moved."""
        return self.look()[0]

    def look(self) -> tuple[Checkpoints, int, int]:
        """Return how far the pages of the log have been moved, their number, and the counter of commits."""
        return _read(os.pread(self._descriptor, _INDEX_BYTES, 0))

    def commits(self) -> bytes:
        """Return what every commit changes. While it stays the same, so does all that a reader sees."""
        return os.pread(self._descriptor, _COPY_BYTES, 0)

    def clear(self) -> None:
        """Make every connection read the log anew before its next transaction. The caller holds the write lock."""
        os.pwrite(self._descriptor, bytes(_HEAD_BYTES), 0)


def _read(index: bytes) -> tuple[Checkpoints, int, int]:
    commits, pages, round, moved, moving = _FIELDS.unpack(index[:_INDEX_BYTES])
    return Checkpoints(int.from_bytes(round, "big"), moved, moving), pages, commits


def read_index(index: bytes, log_head: bytes) -> Checkpoints:
    """Return what checkpoints have done with a log that no process has open, as far as it is known.

    Args:
        index: The bytes of its index; they count for nothing if they are not whole or another log's.
        log_head: The log's head.
    """
    is_whole = len(index) >= _INDEX_BYTES and index[:_COPY_BYTES] == index[_COPY_BYTES:_HEAD_BYTES] and index[12] == 1
    if is_whole and index[32:40] == log_head[16:24]:
        return _read(index)[0]
    # The pages of this round may be in the file or not.
    return Checkpoints(int.from_bytes(log_head[16:20], "big"), 0, _ALL_PAGES)


def is_head_of_database(head: bytes) -> bool:
    """Say whether a file begins as a database that has a log. Backups have none."""
    return head[:16] == _MAGIC and not names_no_log(head)


def names_no_log(head: bytes) -> bool:
    """Say whether the head of a database says that it is used without a log."""
    return head[:16] == _MAGIC and head[NAMES_LOG_AT : NAMES_LOG_AT + len(NAMES_LOG)] != NAMES_LOG


def is_plausible_successor(head: bytes, before: bytes) -> bool:
    """Say whether the head of a database can have followed another.

    Its counter of changes never decreases, and it does not cease to name a log while that is in use. Backups name none.
    """
    counts_up = int.from_bytes(head[24:28], "big") >= int.from_bytes(before[24:28], "big")
    return head[:16] == _MAGIC and counts_up and (names_no_log(before) or not names_no_log(head))
