"""SQLite's index of a log (`-shm`), as far as it says what checkpoints did, read through SQLite's own descriptor.

SQLite's locks end when the process closes any descriptor of the locked file, also one that SQLite did not open
(https://www.sqlite.org/howtocorrupt.html, 2.2). So this module opens neither the index nor the database.

Source: https://www.sqlite.org/walformat.html (2.1 the index's header).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

_MAGIC = b"SQLite format 3\0"

_HEAD_BYTES = 96
"""Two copies of the header, which end with its checksums."""


class Checkpoints(NamedTuple):
    """What checkpoints have done with a log.

    Attributes:
        salts: Another value in each round; a round ends once all pages were moved and the log is begun anew.
        moved: The number of this round's pages that are in the file.
        moving: What that number is to become; another one only while a checkpoint writes, or after it was cut off.
    """

    salts: bytes
    moved: bytes
    moving: bytes


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
        index = os.pread(self._descriptor, 136, 0)
        return Checkpoints(index[32:40], index[_HEAD_BYTES : _HEAD_BYTES + 4], index[128:132])

    def clear(self) -> None:
        """Make every connection read the log anew before its next transaction. The caller holds the write lock."""
        os.pwrite(self._descriptor, bytes(_HEAD_BYTES), 0)


def find_descriptor(file: os.stat_result) -> int | None:
    """Return a descriptor by which this process has the file open, or None."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            opened = os.fstat(int(name))
            if (opened.st_dev, opened.st_ino) == (file.st_dev, file.st_ino):
                return int(name)
    return None


def is_plausible_successor(head: bytes, before: bytes) -> bool:
    """Say whether the head of a database can have followed another: its counter of changes never decreases."""
    return head[:16] == _MAGIC and int.from_bytes(head[24:28], "big") >= int.from_bytes(before[24:28], "big")


def read_head(file: os.stat_result) -> bytes:
    """Return the head of a database that this process has open; empty if it cannot be read."""
    with suppress(OSError):
        descriptor = find_descriptor(file)
        if descriptor is not None:
            head = os.pread(descriptor, 100, 0)
            # The connection may have been closed meanwhile, and its number given to another file.
            if os.fstat(descriptor).st_ino == file.st_ino:
                return head
    return b""
