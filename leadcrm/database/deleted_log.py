"""Whether a SQLite database is open with a log that was deleted, in this process or another one.

A connection that is opened then begins a new log beside the deleted one. Within a process SQLite reads its pages by the
index of the old one, and of two processes each lays its own pages over those of the other: the database is damaged.
(https://www.sqlite.org/howtocorrupt.html, 1.4.)

Whoever has a database open holds a lock on it, and the kernel tells everybody whose locks there are. Which files a
process has open it tells those who may look: the same user, and root. So a command of another user, or in a container
of its own, does not notice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from leadcrm.database.descriptors import is_same_file
from leadcrm.errors import StoreUnavailable


def refuse_beside_deleted_log(path: Path) -> None:
    """Refuse to open a database that is open with a log that was deleted.

    Raises:
        StoreUnavailable: A process has it open so.
    """
    try:
        file = os.stat(path)
    except OSError:
        return  # SQLite tells what is wrong with the file
    if any(_has_deleted_log(process, path, file) for process in ("self", *_processes_with_lock(file))):
        raise StoreUnavailable(f"the log of {path} was deleted while leadcrm ran", hint="restart leadcrm")


def _processes_with_lock(file: os.stat_result) -> Iterator[str]:
    """Yield the numbers of other processes that hold a lock on a file, or on another one with the same number."""
    # https://man7.org/linux/man-pages/man5/proc_locks.5.html
    with suppress(OSError), open("/proc/locks", encoding="ascii", errors="replace") as locks:
        held = [line.split() for line in locks]
        # Whoever waits for a lock has an arrow before its kind.
        found = {words[4] for words in held if len(words) > 5 and words[5].rpartition(":")[2] == str(file.st_ino)}
        yield from found - {str(os.getpid())}


def _has_deleted_log(process: str, path: Path, file: os.stat_result) -> bool:
    """Say whether a process has the file open, and a log that was deleted; False if nobody lets this one look."""
    log = f"{os.path.realpath(path)}-wal (deleted)"
    # Connections of one process share the index, whether it has a name or not.
    deleted = (log,) if process == "self" else (log, f"{os.path.realpath(path)}-shm (deleted)")
    has_file = has_log = False
    with suppress(OSError):
        for descriptor in os.scandir(f"/proc/{process}/fd"):
            with suppress(OSError):
                has_file = has_file or is_same_file(os.stat(descriptor.path), file)
                has_log = has_log or os.readlink(descriptor.path) in deleted
    return has_file and has_log
