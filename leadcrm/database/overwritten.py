"""What is kept of a SQLite database whose file was overwritten under the running server.

Its newest rows are in the log, whose pages stay in place after a checkpoint until newer ones take it, and in the memory
of the connection. Both are kept beside the file under `NAME.overwritten-TIME`, from where they are salvaged.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from time import monotonic

from leadcrm.database.data_dir import sync_file, sync_folder
from leadcrm.database.sqlite import SQLITE_CACHE_KIB, log_of

MAX_READ_S = 1.0
"""How long rows are read from a connection's memory: leads wait meanwhile."""

_ROWS = 100

_NAME = re.compile(r".+\.overwritten-[0-9T.]+Z")


def keep_overwritten(connection: sqlite3.Connection, path: Path) -> Path:
    """Keep the rows in the connection's memory and the database's log; durable on return.

    Raises:
        OSError, sqlite3.Error: They cannot be written.
    """
    kept = new_kept_path(path)
    # The kept file is salvaged as soon as it has its name.
    unfinished = kept.with_name(f".{kept.name}")
    log = Path(log_of(kept_log(kept)))
    for new in (unfinished, log):
        # Whatever the umask is, no other user may read leads.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        shutil.copyfile(log_of(path), log)
        _keep_rows(connection, unfinished)
        for new in (unfinished, log):
            sync_file(new)
        os.rename(unfinished, kept)
    except BaseException:
        for new in (unfinished, log):
            new.unlink()
        raise
    sync_folder(kept.parent)
    return kept


def new_kept_path(path: Path) -> Path:
    """Return the path under which something is kept of a database that was overwritten now."""
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    return path.with_name(f"{path.name}.overwritten-{moment}")


def kept_log(kept: Path) -> Path:
    """Return the path beside which the copy of the log lies. Its pages have nothing to do with those of `kept`."""
    return kept.with_name(f"{kept.name}.log")


def overwritten_files(path: Path) -> list[Path]:
    """Return what was kept of a database whenever its file was overwritten, oldest first."""
    try:
        names = os.listdir(path.parent)
    except OSError:
        return []
    prefix = f"{path.name}.overwritten-"
    return [path.with_name(name) for name in sorted(names) if name.startswith(prefix) and _NAME.fullmatch(name)]


def describe_overwriting(path: Path) -> str | None:
    """Say that the database was overwritten while leadcrm ran, until what was kept of it is deleted; None if not."""
    kept = overwritten_files(path)
    if not kept:
        return None
    return (
        f"{path} was overwritten under the running server: rows that neither its log nor the memory held are lost; "
        f"compare the leads with what their senders know, then delete {', '.join(f'{file.name}*' for file in kept)}"
    )


def is_kept_of_overwritten(path: Path) -> bool:
    """Say whether `keep_overwritten` made the file."""
    return _NAME.fullmatch(path.name) is not None


def _keep_rows(connection: sqlite3.Connection, kept: Path) -> None:
    """Copy the newest rows, until one is on a page that the connection does not have."""
    ends_at = monotonic() + MAX_READ_S
    left_bytes = 2 * SQLITE_CACHE_KIB * 1024
    with closing(sqlite3.connect(kept, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        copy.execute("BEGIN")
        # A page of the new content in between ends the reading, at the latest where the order of ids breaks.
        with suppress(sqlite3.Error):
            rows = connection.execute("SELECT * FROM leads_raw ORDER BY id DESC")
            columns = ", ".join(f'"{column[0]}"' for column in rows.description)
            copy.execute(f"CREATE TABLE leads_raw ({columns})")
            insert = f"INSERT INTO leads_raw VALUES ({', '.join('?' * len(rows.description))})"  # noqa: S608
            while left_bytes > 0 and monotonic() < ends_at and (some := [*islice(rows, _ROWS)]):
                copy.executemany(insert, some)
                left_bytes -= sum(len(value) for row in some for value in row if isinstance(value, (bytes, str)))
        copy.execute("COMMIT")
