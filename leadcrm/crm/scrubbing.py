"""Files of this node in which erased rows may still lie: SQLite's log, and files that were set aside."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Set
from pathlib import Path
from time import monotonic, sleep
from uuid import UUID

from leadcrm.configuration.config import Config
from leadcrm.crm.person import text_of
from leadcrm.database.driver_errors import store_error
from leadcrm.database.overwritten import overwritten_files
from leadcrm.database.sqlite import open_sqlite
from leadcrm.database.sqlite_files import SqliteFiles
from leadcrm.errors import StoreUnavailable
from leadcrm.ingest.spool.file import delete_set_aside, salvaged_files, unsalvaged_files
from leadcrm.ingest.spool.salvage import lost_rows, readable_rows

CHECKPOINT_WAIT_S = 5.0
"""How long it waits for readers of the log, some of which take long."""

_PAUSE_S = 0.1


def scrub_log(path: Path | None) -> list[str]:
    """Empty the log of the embedded database, whose frames hold pages as they were before.

    Returns:
        What is left to do, in sentences.
    """
    if path is None:
        return []
    try:
        connection = open_sqlite(path, busy_timeout_s=CHECKPOINT_WAIT_S)
        try:
            files = SqliteFiles(connection, path)
            ends_at = monotonic() + CHECKPOINT_WAIT_S
            while not files.checkpoint("TRUNCATE"):
                if monotonic() > ends_at:
                    return [f"{path}-wal, in which somebody reads: it is emptied when the server stops"]
                sleep(_PAUSE_S)
        finally:
            connection.close()
    except (sqlite3.Error, OSError, StoreUnavailable) as error:
        return [f"{path}-wal, which cannot be emptied now: {store_error(error, path)}"]
    return []


def erase_files(
    config: Config, ids: Set[UUID], is_named_in: Callable[[str], bool] | None
) -> tuple[list[str], list[str]]:
    """Delete files of the spool that were set aside and hold erased rows, unless damaged rows are only there.

    Args:
        config: The configuration.
        ids: Of the erased rows.
        is_named_in: Says of a request's text whether the person who is erased stands in it.

    Returns:
        The files that were deleted; and in sentences, those that were not and may hold something.
    """
    deleted, left = [], []
    for path, outcome in salvaged_files(config.data_dir):
        if not _holds(config, path, ids, is_named_in) and not lost_rows(outcome):
            continue
        if lost_rows(outcome):
            left.append(f"{path}, whose damaged rows nobody can read: delete it and the files beside it")
            continue
        delete_set_aside(path)
        deleted.append(str(path))
    database = config.database.path
    left += [
        f"{path}, whose rows are not salvaged yet: `leadcrm spool drain`, then erase again"
        for path in unsalvaged_files(config.data_dir, database)
    ]
    if database is not None:
        kept = [*overwritten_files(database), *database.parent.glob(f"{database.name}.before-restore-*")]
        left += [f"{path}, kept of an older database: delete it once nobody needs it" for path in sorted(set(kept))]
    return deleted, left


def _holds(config: Config, path: Path, ids: Set[UUID], is_named_in: Callable[[str], bool] | None) -> bool:
    for row in readable_rows(path):
        if UUID(row.id) in ids:
            return True
        text = text_of(row, max_decoded_bytes=config.max_body_bytes) if is_named_in is not None else None
        if text is not None and is_named_in is not None and is_named_in(text):
            return True
    return False
