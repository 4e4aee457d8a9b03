"""SQLite's index of a log (`-shm`), as far as it says what checkpoints did, read through SQLite's own descriptor.

SQLite's locks end when the process closes any descriptor of the locked file, also one that SQLite did not open
(https://www.sqlite.org/howtocorrupt.html, 2.2). So this module opens neither the index nor the database.

Source: https://www.sqlite.org/walformat.html (2.1 the index's header).
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

_MAGIC = b"SQLite format 3\0"

_NAMES_LOG = b"\2\2"

_HEAD_BYTES = 96
"""Two copies of the header, which end with its checksums."""


_FIELDS = struct.Struct("=16xI12x4s60xI28xI")
"""The number of pages, the first of the round's salts, which counts up, and how many pages were and are to be moved."""

_INDEX_BYTES = _FIELDS.size


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

    def look(self) -> tuple[Checkpoints, int]:
        """Return how far the pages of the log have been moved, and their number."""
        index = os.pread(self._descriptor, _INDEX_BYTES, 0)
        pages, round, moved, moving = _FIELDS.unpack(index)
        return Checkpoints(int.from_bytes(round, "big"), moved, moving), pages

    def clear(self) -> None:
        """Make every connection read the log anew before its next transaction. The caller holds the write lock."""
        os.pwrite(self._descriptor, bytes(_HEAD_BYTES), 0)


def find_descriptor(file: os.stat_result) -> int | None:
    """Return a descriptor by which this process has the file open, or None."""
    for name in os.listdir("/proc/self/fd"):
        if is_open_as(int(name), file):
            return int(name)
    return None


def is_open_as(descriptor: int, file: os.stat_result) -> bool:
    """Say whether this process has the file open by the descriptor."""
    try:
        opened = os.fstat(descriptor)
    except OSError:
        return False
    return (opened.st_dev, opened.st_ino) == (file.st_dev, file.st_ino)


def is_plausible_successor(head: bytes, before: bytes) -> bool:
    """Say whether the head of a database can have followed another.

    Its counter of changes never decreases, and it does not cease to name a log while that is in use. Backups name none.
    """
    counts_up = int.from_bytes(head[24:28], "big") >= int.from_bytes(before[24:28], "big")
    return head[:16] == _MAGIC and counts_up and (head[18:20] == _NAMES_LOG or before[18:20] != _NAMES_LOG)
