"""The log that a killed process left beside a database: it is looked at before SQLite lays its pages over the file.

Whoever copies a backup over the file of a server that is then killed, or of one that was, leaves two contents that have
nothing to do with each other. SQLite takes them for one.

Source: https://www.sqlite.org/walformat.html (2.3 the locks on the index).
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from leadcrm.database.data_dir import give_to_owner_of, sync_folder
from leadcrm.database.descriptors import OPENING, find_descriptor
from leadcrm.database.log_frames import begins_with_commit, lacks_moved_pages
from leadcrm.database.log_index import is_head_of_database, read_index
from leadcrm.database.overwritten import kept_log, new_kept_path
from leadcrm.database.sqlite import log_of

_LOCK_OF_CONNECTIONS = 128
"""The byte of the index that every connection locks."""

logger = logging.getLogger("leadcrm.database.crashed_log")


def keep_log_of_overwritten(path: Path) -> None:
    """Set the log aside if the database was overwritten, so that its rows can be salvaged; durable on return.

    It does nothing while a process has the database open. Call it before a connection is opened.
    """
    try:
        with OPENING:
            if not os.path.exists(log_of(path)) or find_descriptor(os.stat(path)) is not None:
                return
            with _index(path) as index:
                if index is not None and _is_overwritten(path, index):
                    _keep_log(path)
    except FileNotFoundError:
        # The last process that had it open has ended meanwhile, and taken the log along.
        return
    except OSError as error:
        # SQLite tells what is wrong with the file.
        logger.warning("%s cannot be looked at before it is opened: %s", path, error, extra={"action": "open"})


@contextmanager
def _index(path: Path) -> Iterator[bytes | None]:
    """Yield the index of the log while no process has it open, empty if it is gone; None if one has."""
    try:
        descriptor = os.open(f"{path}-shm", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield b""
        return
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCK_OF_CONNECTIONS)
        except OSError:
            yield None
        else:
            yield os.pread(descriptor, 136, 0)
    finally:
        os.close(descriptor)


def _is_overwritten(path: Path, index: bytes) -> bool:
    with open(path, "rb", buffering=0) as file, open(log_of(path), "rb", buffering=0) as log:
        if not begins_with_commit(log.fileno()):
            return False
        if not is_head_of_database(os.pread(file.fileno(), 100, 0)):
            return True
        checkpoints = read_index(index, os.pread(log.fileno(), 32, 0))
        return lacks_moved_pages(file.fileno(), log.fileno(), checkpoints, at_leisure=True)


def _keep_log(path: Path) -> None:
    kept = new_kept_path(path)
    os.link(log_of(path), log_of(kept_log(kept)))
    descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with suppress(OSError):
            give_to_owner_of(path, descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)
    os.unlink(log_of(path))
    Path(f"{path}-shm").unlink(missing_ok=True)
    sync_folder(path.parent)
    text = f"{path} was overwritten beside the log of the content that is gone; the log is kept as {kept}"
    logger.error(text, extra={"action": "save_log", "hint": "replace a database with `leadcrm restore` alone"})
