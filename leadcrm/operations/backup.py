"""Backup and restore of the embedded database, with the spool.

A backup is one file, a database as leadcrm itself makes it: a consistent copy of the main database, into which a copy
of the spool was drained. It has everything that was acknowledged before the backup began.

Invariants:
- No file has the backup's name before it is complete, verified and on stable storage.
- A restore overwrites nothing: the old files are kept beside the new one. It needs the server stopped, and the spool
  empty unless the database that is there is damaged.
- The rows beside a backup, which the database refused when it was made, are in the spool before the backup is in place.
- Whenever a restore is cut off, the new database is in place, or the old one with all that its log held. Only of a
  damaged one may the log lie beside the kept file then: nothing opens that database until the restore is run again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from leadcrm.configuration.config import Config
from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.data_dir import give_to_owner_of, hold, make_data_dir, publish, sync_file, sync_folder
from leadcrm.database.deleted_log import refuse_without_log
from leadcrm.database.driver_errors import store_error
from leadcrm.database.file_check import look_through
from leadcrm.database.kept_before_restore import (
    find_taken_log,
    kept_by_unfinished_restores,
    new_kept_before_restore,
)
from leadcrm.database.migrations import migrate, status
from leadcrm.database.sessions import bind
from leadcrm.database.sqlite import log_of
from leadcrm.database.used_databases import note_renewal
from leadcrm.errors import BackupFailed, StoreUnavailable
from leadcrm.ingest.opening import open_sources, open_spool, open_store, prepare_spool
from leadcrm.ingest.spool.drain import drain_batch
from leadcrm.ingest.spool.file import unsalvaged_files
from leadcrm.ingest.spool.salvage import SALVAGE_ROWS, readable_rows, salvage_database
from leadcrm.operations.verification import Verification, verify

_PAGES_A_STEP = 2000

_SQLITE_MAGIC = b"SQLite format 3\0"

_NAME_A_BACKUP = "name a file that `leadcrm backup` wrote and that the service's user may read"

MAX_LOOK_S = 600.0
"""How long the database that is to be replaced is looked through: it may be large, and nobody waits."""

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup.

    Attributes:
        path: The file.
        rows: The number of its raw rows.
        from_spool: How many of them came from the spool.
        refused_beside: A copy of the spool beside the file, where the database refuses rows of it; else None.
    """

    path: Path
    rows: int
    from_spool: int
    refused_beside: Path | None


@dataclass(frozen=True, slots=True)
class Restored:
    """A finished restore.

    Attributes:
        kept: The file in which the old database is kept, if there was one.
        salvaged: How many rows of a damaged database the backup lacked.
        to_spool: How many rows went to the spool that the database had refused when the backup was made.
    """

    kept: Path | None
    salvaged: int
    to_spool: int


def back_up(config: Config, target: Path, on_progress: OnProgress) -> Backup:
    """Write a backup of the embedded database to a file. Durable and verified on return.

    Args:
        config: The configuration. A server with it may run meanwhile.
        target: A file that does not exist yet.
        on_progress: Called with the number of pages copied and their total.

    Raises:
        BackupFailed: The backup cannot be made.
        StoreUnavailable: The database cannot be read.
        SpoolUnavailable: The spool cannot be read.
    """
    source = _embedded(config)
    if target.exists():
        raise BackupFailed(f"{target} exists", hint="name another file: a backup overwrites nothing")
    prepare_spool(config)
    _require_salvaged_spools(config)
    with _temporary(target) as temporary:
        _copy_spool_first(config, source, temporary, on_progress)
        copy = replace(config, database=DatabaseURL(provider="sqlite", path=temporary), min_free_bytes=0)
        from_spool, refused = _drain_into(copy)
        verification = _verify_file(copy)
        beside = _beside(target) if refused else None
        if beside is not None:
            publish(_spool_beside(temporary), beside)
        publish(temporary, target)
    return Backup(target, verification.rows, from_spool, beside)


def restore(config: Config, backup: Path, on_progress: OnProgress, *, may_replace: bool) -> Restored:
    """Put a backup in the place of the embedded database. Durable and verified on return.

    If that database is damaged, the rows that can still be read there are added to the backup's.

    Args:
        config: The configuration. No server with it may run.
        backup: The file.
        on_progress: Called with the number of pages copied and their total.
        may_replace: A database that is there may be replaced.

    Raises:
        BackupFailed: The backup cannot be restored; the old database is still in its place.
    """
    target = _embedded(config)
    _require_backup(backup)
    if target.exists() and backup.exists() and backup.samefile(target):
        # Perhaps under the name that a restore gave it that was cut off.
        raise BackupFailed(f"{backup} is the database in use itself", hint=_NAME_A_BACKUP)
    make_data_dir(config.data_dir)
    with hold(config.data_dir, target, exclusively=True) as held:
        if not held:
            raise BackupFailed(
                f"a server uses {config.data_dir} or {target}",
                hint="stop it first: systemctl stop leadcrm.socket leadcrm",
            )
        prepare_spool(config)
        _require_salvaged_spools(config)
        taken_log = find_taken_log(target)
        is_whole = taken_log is None and _is_whole(target)
        if is_whole:
            _require_empty_spool(config)
        if target.exists() and not may_replace:
            raise BackupFailed(f"{target} holds leads", hint="to replace it, and keep it beside the new one: --yes")
        for left in kept_by_unfinished_restores(target):
            if not os.path.exists(log_of(left)):
                left.unlink()
        with _temporary(target) as temporary:
            try:
                _copy(backup, temporary, on_progress)
            except BackupFailed as error:
                raise BackupFailed(str(error), hint="restore another backup") from error
            url = DatabaseURL(provider="sqlite", path=temporary)
            applied, _ = status(url)
            if not applied:
                # A SQLite file of something else, or an empty one.
                raise BackupFailed(
                    f"{backup} is no backup of leadcrm: no migration was applied to it", hint=_NAME_A_BACKUP
                )
            migrate(url)
            copy = replace(config, database=url, spool=False, min_free_bytes=0)
            rows = _verify_file(copy).rows
            salvaged = 0 if is_whole else _salvage_into(copy, taken_log or target) - rows
            give_to_owner_of(target if target.exists() else config.data_dir, temporary)
            # First: a restore that is cut off is run again, and rows that the old database gets are no loss.
            to_spool = _bring_to_spool(config, _beside(backup))
            kept = _replace(target, temporary, is_whole=is_whole)
            note_renewal(config.data_dir, config.database.place)
    return Restored(kept, salvaged, to_spool)


def _require_backup(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise BackupFailed(f"{path} cannot be read: {error.strerror}", hint=_NAME_A_BACKUP) from error
    if head != _SQLITE_MAGIC:
        raise BackupFailed(f"{path} is no database", hint=_NAME_A_BACKUP)


def _beside(backup: Path) -> Path:
    """Return the file beside a backup with the rows that the database refused when it was made."""
    return backup.with_name(f"{backup.name}.spool")


def _bring_to_spool(config: Config, refused: Path) -> int:
    """Write the rows beside a backup to the spool, beside those that wait there, and return how many they are."""
    if not refused.exists():
        return 0
    # With `--spool off` nobody asks what waits in the spool. These rows have no other place all the same.
    spool = open_spool(replace(config, spool=True))
    assert spool is not None
    ids: set[str] = set()
    rows = readable_rows(refused)
    try:
        while some := [*islice(rows, SALVAGE_ROWS)]:
            spool.write(some)
            ids.update(row.id for row in some)
    finally:
        spool.close()
    return len(ids)


def _salvage_into(copy: Config, damaged: Path) -> int:
    """Write the rows that can be read in a damaged database to a copy of a backup, and return how many it then has."""
    assert copy.database.path is not None
    store = open_store(copy)
    try:
        salvage_database(damaged, store, max_decoded_bytes=copy.max_body_bytes)
    finally:
        store.close()
    _make_plain(copy.database.path)
    with closing(sqlite3.connect(copy.database.path)) as connection:
        return int(connection.execute("SELECT count(*) FROM leads_raw").fetchone()[0])


def _embedded(config: Config) -> Path:
    path = config.database.path
    if path is None:
        raise BackupFailed("DATABASE_URL names PostgreSQL, which has tools of its own", hint="pg_dump and pg_restore")
    return path


def _copy_spool_first(config: Config, source: Path, temporary: Path, on_progress: OnProgress) -> None:
    """Copy the spool, then the database: a row that is drained in between is then in both, never in neither."""
    if config.spool:
        spool = open_spool(config)
        assert spool is not None
        if spool.path.exists():
            _copy(spool.path, _spool_beside(temporary), lambda _done, _total: None)
    _copy(source, temporary, on_progress)


def _spool_beside(temporary: Path) -> Path:
    folder = temporary.with_name(f"{temporary.name}.spool")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / "spool.db"


def _copy(source: Path, target: Path, on_progress: OnProgress) -> None:
    """Copy one snapshot of a SQLite file, which others may be writing to."""
    # The copy would lack the newest rows.
    refuse_without_log(source)
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?{_reading(source)}", uri=True)) as origin,
            closing(sqlite3.connect(target)) as copy,
        ):
            # A read transaction holds the snapshot; without it every commit of a server would restart the copy.
            origin.execute("BEGIN")
            origin.execute("SELECT count(*) FROM sqlite_master").fetchone()
            origin.backup(
                copy,
                pages=_PAGES_A_STEP,
                progress=lambda _status, left, total: on_progress(total - left, total),
            )
    except sqlite3.Error as error:
        raise BackupFailed(f"{source} cannot be copied: {error}", hint=store_error(error, source).hint) from error


def _reading(source: Path) -> str:
    """Return the parameters to open a file with. SQLite creates a log beside it unless the file is immutable."""
    has_log = source.with_name(f"{source.name}-wal").exists()
    return "mode=ro" if has_log or os.access(source.parent, os.W_OK) else "immutable=1"


def _drain_into(copy: Config) -> tuple[int, int]:
    """Drain the copy of the spool into that of the database, and return how many rows were drained and refused."""
    path = copy.database.path
    assert path is not None
    migrate(copy.database)
    folder = path.with_name(f"{path.name}.spool")
    if not folder.exists():
        return 0, 0
    spool = open_spool(replace(copy, data_dir=folder))
    assert spool is not None
    sources = open_sources(copy)
    store = open_store(copy)
    try:
        waiting = spool.status().depth
        while drain_batch(spool, store, max_decoded_bytes=copy.max_body_bytes, sources=sources):
            pass
        # All that is left is refused, be it by this drain or by one before the backup.
        refused = spool.status().depth
        return waiting - refused, refused
    finally:
        store.close()
        spool.close()


def _verify_file(config: Config) -> Verification:
    path = config.database.path
    assert path is not None
    try:
        with closing(sqlite3.connect(path)) as connection:
            faults = [row[0] for row in connection.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]
    except sqlite3.Error as error:
        raise BackupFailed(f"{path} is no whole database: {error}") from error
    if faults:
        raise BackupFailed(f"{path} is damaged: {'; '.join(faults)}")
    entities = bind(config.database)
    try:
        verification = verify(entities, None)
    finally:
        entities.database.disconnect()
    if verification.problems:
        first = verification.problems[0]
        raise BackupFailed(
            f"{len(verification.problems)} problems, the first: {first.where} {first.what}",
            hint="leadcrm verify names all",
        )
    _make_plain(path)
    return verification


def _make_plain(path: Path) -> None:
    """Make a database one file without a log: backups are moved, and read where no log can be created."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise BackupFailed(f"{path}: {error}") from error


def _require_salvaged_spools(config: Config) -> None:
    if files := unsalvaged_files(config.data_dir):
        raise BackupFailed(
            f"{files[0]} is damaged, and its rows are not in the spool yet",
            hint="leadcrm spool drain, or start the server",
        )


def _require_empty_spool(config: Config) -> None:
    spool = open_spool(config)
    if spool is None or not spool.path.exists():
        return
    try:
        depth = spool.status().depth
    finally:
        spool.close()
    if depth:
        raise BackupFailed(
            f"{depth} leads wait in the spool for the database that is there now",
            hint="`leadcrm spool drain`; or restore with `--spool off`: they then go to the restored one",
        )


def _is_whole(path: Path) -> bool:
    """Say whether leads in the spool could go to the database that is there."""
    if not path.exists():
        return False
    try:
        look_through(path, timeout_s=MAX_LOOK_S)
    except StoreUnavailable:
        return False
    return True


def _replace(target: Path, new: Path, *, is_whole: bool) -> Path | None:
    """Put a new file in the place of a database, and return the name under which that is kept. Durable on return.

    SQLite would lay the pages of the old log over the new file. So a sound database first gets all that is in its log,
    and has none any more. Of a damaged one the log goes beside the kept file in the last step but one.
    """
    sync_file(new)
    if is_whole:
        _make_plain(target)
    taken_log = find_taken_log(target)
    kept = taken_log or new_kept_before_restore(target)
    log, kept_log = Path(log_of(target)), Path(log_of(kept))
    try:
        if target.exists() and taken_log is None:
            os.link(target, kept)
            # An older version made it under the umask of its start.
            kept.chmod(0o600)
            sync_folder(target.parent)
        Path(f"{target}-shm").unlink(missing_ok=True)
        if log.exists():
            os.rename(log, kept_log)
        os.rename(new, target)
    except BaseException:
        if new.exists() and taken_log is None:
            if kept_log.exists():
                os.rename(kept_log, log)
            kept.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)
    return kept if kept.exists() else None


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """Yield a new file beside the target, and remove whatever is left under its name at the end."""
    for left in target.parent.glob(f".{target.name}.*.part*"):
        # Left by a process that was killed: another copy of all leads.
        owner = left.name.removeprefix(f".{target.name}.").partition(".")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        # Whatever the umask is, no other user may read leads.
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        yield temporary
    finally:
        folder = temporary.with_name(f"{temporary.name}.spool")
        for part in [*temporary.parent.glob(f"{temporary.name}*"), *folder.glob("*")]:
            if not part.is_dir():
                part.unlink(missing_ok=True)
        if folder.exists():
            folder.rmdir()
