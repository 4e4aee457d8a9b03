"""Looks through a SQLite file for damage, for a bounded time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from time import monotonic

from leadcrm.database.deleted_log import opening
from leadcrm.database.driver_errors import DAMAGE_HINT, store_error
from leadcrm.errors import StoreDamaged, StoreUnavailable

_BYTES_A_SECOND = 200_000_000
"""What a fast disk reads. From memory it is a gigabyte."""

_STEPS = 10_000
"""The steps of SQLite's machine between two looks at the time, less than a millisecond."""


def look_through(path: Path, *, timeout_s: float, also_indexes: bool = False) -> bool:
    """Do as `require_whole` over a connection that changes nothing, not even when it is the last to close.

    Raises:
        StoreDamaged: The file is damaged.
        StoreUnavailable: The file cannot be read now, is open with a log that was deleted, or is gone.
    """
    try:
        with opening(path):
            opened = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        with closing(opened) as connection:
            return require_whole(connection, path, timeout_s=timeout_s, also_indexes=also_indexes)
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error


def require_whole(connection: sqlite3.Connection, path: Path, *, timeout_s: float, also_indexes: bool = False) -> bool:
    """Look through the file for damage and return whether all of it was looked through within `timeout_s`.

    Whether the indexes agree with their tables takes several times as long, and is left out unless `also_indexes`.

    Raises:
        StoreDamaged: The file is damaged.
        StoreUnavailable: The file cannot be read now.
        OSError: The file is gone.
    """
    if sqlite3.sqlite_version_info < (3, 41) and path.stat().st_size > timeout_s * _BYTES_A_SECOND:
        # It could not be interrupted within one table.
        return False
    ends_at = monotonic() + timeout_s
    connection.set_progress_handler(lambda: monotonic() > ends_at, _STEPS)
    try:
        (result,) = connection.execute(f"PRAGMA {'integrity_check' if also_indexes else 'quick_check'}(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return False
        raise store_error(error, path) from error
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    finally:
        connection.set_progress_handler(None, 0)
    if result != "ok":
        raise StoreDamaged(f"{path} is damaged: {' '.join(result.split())}", hint=DAMAGE_HINT)
    return True
