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
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep

from leadcrm.database.descriptors import OPENING, is_same_file
from leadcrm.database.driver_errors import DAMAGE_HINT
from leadcrm.database.kept_before_restore import find_taken_log
from leadcrm.errors import StoreDamaged, StoreUnavailable

CLOSING_S = 0.05
"""Between two looks: what is lost is the same file at both."""


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Hold what all ways of opening a database hold, unless one may not be opened since it has lost its log.

    Raises:
        StoreDamaged: A restore was cut off that has taken the log away.
        StoreUnavailable: A process has it open so.
    """
    with OPENING:
        refuse_without_log(path)
        yield


def refuse_without_log(path: Path) -> None:
    """Refuse to open a database that lacks its log: it is open with one that was deleted, or a restore was cut off.

    Raises:
        StoreDamaged: A restore was cut off that has taken the log away.
        StoreUnavailable: A process has it open so.
    """
    try:
        file = os.stat(path)
    except OSError:
        return  # SQLite tells what is wrong with the file
    if kept := find_taken_log(path):
        text = f"{path} lacks its log, which lies beside {kept.name}: a restore was cut off"
        raise StoreDamaged(text, hint=DAMAGE_HINT)
    if lost := _lost_files(path, file):
        # Whoever closes the last connection deletes the index, and lets go of it a moment later.
        sleep(CLOSING_S)
        for process, *_ in lost & _lost_files(path, file):
            text = f"the log of {path} was deleted while leadcrm ran"
            if process == "self":
                raise StoreUnavailable(text, hint="restart leadcrm")
            raise StoreUnavailable(f"{text}, and process {process} goes on with it", hint="restart leadcrm, or end it")


_LostFile = tuple[str, int, int]
"""The process that has it open, the file's inode and, of an index, when it was deleted: its inode may come again."""


def _lost_files(path: Path, file: os.stat_result) -> set[_LostFile]:
    processes = ("self", *_processes_with_lock(file))
    return {lost for process in processes for lost in _lost_files_of(process, path, file)}


def _processes_with_lock(file: os.stat_result) -> Iterator[str]:
    """Yield the numbers of other processes that hold a lock on a file, or on another one with the same number."""
    # https://man7.org/linux/man-pages/man5/proc_locks.5.html
    with suppress(OSError), open("/proc/locks", encoding="ascii", errors="replace") as locks:
        held = [line.split() for line in locks]
        # Whoever waits for a lock has an arrow before its kind.
        found = {words[4] for words in held if len(words) > 5 and words[5].rpartition(":")[2] == str(file.st_ino)}
        yield from found - {str(os.getpid())}


def _lost_files_of(process: str, path: Path, file: os.stat_result) -> Iterator[_LostFile]:
    """Yield the deleted log and index of a process that has the file open; nothing if nobody lets this one look."""
    opened, log, index = (f"{os.path.realpath(path)}{end}" for end in ("", "-wal (deleted)", "-shm (deleted)"))
    has_file, lost = False, []
    with suppress(OSError):
        for descriptor in os.scandir(f"/proc/{process}/fd"):
            with suppress(OSError):
                # Of thousands of sockets it is known by the name alone.
                name = os.readlink(descriptor.path)
                if name == opened:
                    has_file = has_file or is_same_file(os.stat(descriptor.path), file)
                elif name == log:
                    # Every write changes its times.
                    lost.append((process, os.stat(descriptor.path).st_ino, 0))
                elif name == index and process != "self":
                    # Connections of one process share the index, whether it has a name or not.
                    status = os.stat(descriptor.path)
                    lost.append((process, status.st_ino, status.st_ctime_ns))
    if has_file:
        yield from lost
