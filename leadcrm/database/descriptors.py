"""Descriptors of SQLite's files, of which SQLite itself has some open and this program others.

A process's locks on a file end when it closes any descriptor of that file, also one that SQLite did not open
(https://www.sqlite.org/howtocorrupt.html, 2.2). Another process that closes its connection then takes itself for the
last one, and deletes the log under this one. SQLite holds locks on a database and on the index of its log, none on the
log.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

OPENING = threading.RLock()
"""Held while SQLite opens a database, and from the look whether it has one open until our descriptors are closed."""

_ours: set[int] = set()
"""What `open_beside_sqlite` opened."""

_left_open: set[int] = set()
"""Those that could not be closed yet. SQLite does the same with its own."""


def open_beside_sqlite(path: str | os.PathLike[str]) -> int:
    """Open a file of SQLite for reading; close it by `close_beside_sqlite` alone. Raises `OSError`."""
    with OPENING:
        file = os.stat(path)
        if (left := next((left for left in _left_open if is_open_as(left, file)), None)) is not None:
            _left_open.remove(left)
            return left
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _ours.add(descriptor)
        return descriptor


def close_beside_sqlite(descriptor: int) -> None:
    """Close a descriptor as soon as SQLite has the file open no longer: at the latest by a later call."""
    with OPENING:
        _left_open.add(descriptor)
        for left in [*_left_open]:
            if find_descriptor(os.fstat(left)) is None:
                _left_open.remove(left)
                _ours.remove(left)
                os.close(left)


def find_descriptor(file: os.stat_result) -> int | None:
    """Return a descriptor by which SQLite has the file open in this process, or None."""
    return next((descriptor for descriptor in _open_descriptors() if is_open_as(descriptor, file)), None)


def is_open_as(descriptor: int, file: os.stat_result) -> bool:
    """Say whether this process has the file open by the descriptor."""
    try:
        opened = os.fstat(descriptor)
    except OSError:
        return False
    return is_same_file(opened, file)


def is_same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Say whether both are of the same file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _open_descriptors() -> Iterator[int]:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in _ours:
            yield int(name)
