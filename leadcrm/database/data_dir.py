"""The service's data folder, which holds the embedded database and the spool."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from leadcrm.errors import ConfigError

LOCK_FILE = "server.lock"
DATABASE_FILE = "database.lock"
"""Names the database whose leads wait in the folder; the servers that use it hold it."""

_MAX_PLACE_BYTES = 4_096


def make_data_dir(data_dir: Path) -> None:
    """Create the data folder durably if it is missing, and check that it is writable.

    Raises:
        ConfigError: The service cannot write to the folder.
    """
    if data_dir.is_symlink() and not data_dir.exists():
        fault = f"{data_dir} leads to {data_dir.readlink()}, which is not there"
        raise ConfigError("DATA_DIR", fault, "a folder that the service may write to, whose disk is mounted")
    try:
        missing = [folder for folder in (data_dir, *data_dir.parents) if not folder.exists()]
        data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)
    except OSError as error:
        raise ConfigError(
            "DATA_DIR", f"{data_dir}: {error.strerror}", "a folder that the service may write to"
        ) from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise ConfigError("DATA_DIR", f"{data_dir} is not writable", "a folder that the service may write to")


def nearest_folder(path: Path) -> Path:
    """Return a folder, or the nearest one above it where it is missing: it would be made on the same disk."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def sync_folder(folder: Path) -> None:
    """Make a new entry of the folder durable. SQLite syncs only the folder that it writes in, not the ones above."""
    _sync(folder, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    _sync(path, 0)


def publish(temporary: Path, target: Path) -> None:
    """Give a finished file its name, so that after a power cut there is either the whole file or none."""
    sync_file(temporary)
    os.rename(temporary, target)
    sync_folder(target.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_to_owner_of(path: Path, target: Path | int) -> None:
    """Give a file that root created to the owner of `path`: a service that is not root could not write to it."""
    owner = path.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(target, owner.st_uid, owner.st_gid)


@contextmanager
def hold(data_dir: Path, database: Path | None, *, exclusively: bool = False) -> Iterator[bool]:
    """Lock the data folder and the embedded database's folder; yield whether both locks were free.

    Servers share the lock. A command that replaces their database takes it exclusively. The lock ends with the process,
    however that ends. A forked worker holds it together with its parent.

    Raises:
        ConfigError: The lock file in the data folder cannot be opened.
    """
    with ExitStack() as stack:
        try:
            is_held = stack.enter_context(lock_file(data_dir / LOCK_FILE, exclusively=exclusively))
        except OSError as error:
            accepted = "a folder whose files the service may write to"
            raise ConfigError("DATA_DIR", f"{error.filename}: {error.strerror}", accepted) from error
        if database is not None and database.parent.resolve() != data_dir.resolve():
            # A missing or read-only folder must not stop the start: leads can wait in the spool.
            with suppress(OSError):
                lock = lock_file(database.parent / LOCK_FILE, exclusively=exclusively)
                is_held = stack.enter_context(lock) and is_held
        yield is_held


@contextmanager
def claim(data_dir: Path, database: str) -> Iterator[str]:
    """Hold the data folder for the leads of one database: another server would drain them into its own.

    Yields the place of the database that was used last; empty for a new folder.

    Args:
        data_dir: The folder.
        database: Where the database is, as `DatabaseURL.place` says it.

    Raises:
        ConfigError: A server with another database uses the folder, or the file that names it cannot be used.
    """
    path = data_dir / DATABASE_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_to_owner_of(path.parent, descriptor)
    except OSError as error:
        accepted = "a folder whose files the service may write to"
        raise ConfigError("DATA_DIR", f"{path}: {error.strerror}", accepted) from error
    try:
        is_alone = _is_alone(descriptor)
        before = os.pread(descriptor, _MAX_PLACE_BYTES, 0).decode(errors="replace")
        if before not in ("", database) and not is_alone:
            problem = f"{data_dir} is used by a server with another database: {before}"
            raise ConfigError("DATA_DIR", problem, "a folder of its own for each server")
        if is_alone and before != database:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, database.encode(), 0)
        # From here on others may hold it too.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield before
    finally:
        os.close(descriptor)


def _is_alone(descriptor: int) -> bool:
    """Lock a file, and say whether nobody else holds it: then nobody can until the lock is shared."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # Who writes the name holds it alone for a moment.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return False
    return True


@contextmanager
def lock_file(path: Path, *, exclusively: bool) -> Iterator[bool]:
    """Lock a file, created if missing, without waiting; yield whether the lock was free. It ends with the process.

    Raises:
        OSError: The file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_to_owner_of(path.parent, descriptor)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusively else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
