"""Translates drivers' errors into ours.

`StoreUnavailable` means that the database cannot commit now, `SubmissionRefused` that it rejects this row. No message
quotes a row's data.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import psycopg2
import psycopg2.errorcodes

from leadcrm.database.hints import hint_for
from leadcrm.errors import StoreDamaged, StoreUnavailable, SubmissionRefused

# https://www.postgresql.org/docs/current/errcodes-appendix.html: cardinality violation, data exception, integrity
# constraint violation, external routine (38 and 39), check option violation, program limit exceeded, PL/pgSQL error
# (raised by a trigger). Every other class concerns the server, the session or the schema, not the row.
_SQLSTATE_CLASSES_OF_A_ROW = ("21", "22", "23", "38", "39", "44", "54", "P0")

DAMAGE_HINT = (
    "the file is damaged: stop the server, then `leadcrm restore BACKUP --yes`, which keeps the damaged file; leads "
    "in the spool go to the restored one"
)

_READ_ONLY = "25006"

_AUTHORIZATION_AND_CONNECTION = ("08", "28", "3D", "53", "57", "58")
# A trigger may raise any code with any text, but hardly this one.
_MISSING_RIGHT = re.compile(
    r"(?:permission denied for|must be owner of) (?:schema|table|sequence|database|view) \w{1,63}"
)


def store_error(error: Exception, path: Path | None = None) -> StoreUnavailable | SubmissionRefused:
    """Return a driver's error as `StoreUnavailable` or `SubmissionRefused`; raise it again if it is no driver's error.

    The message names SQLSTATE, constraint, table and column. It never holds DETAIL or the statement, which quote the
    payload.
    """
    if isinstance(error, (StoreUnavailable, SubmissionRefused)):
        return error
    if isinstance(error, sqlite3.Error):
        return _sqlite_error(error, path)
    if isinstance(error, psycopg2.Error):
        return _postgres_error(error)
    # Pony wraps the driver's exception.
    wrapped = getattr(error, "original_exc", None) or error.__cause__
    if wrapped is None and (of_commit := getattr(error, "exceptions", None)):
        # A commit failed, and so did the rollback after it: a list of what `sys.exc_info` gives.
        wrapped = of_commit[0][1]
    if isinstance(wrapped, Exception):
        return store_error(wrapped, path)
    raise error


def _postgres_error(error: psycopg2.Error) -> StoreUnavailable | SubmissionRefused:
    sqlstate = error.pgcode
    if sqlstate is None:
        lines = str(error).strip().splitlines()
        return StoreUnavailable(lines[0] if lines else type(error).__name__, hint=hint_for(None, str(error)))
    diagnostics = error.diag
    detail = {
        name: value
        for name, value in (
            ("constraint", diagnostics.constraint_name),
            ("table", diagnostics.table_name),
            ("column", diagnostics.column_name),
        )
        if value
    }
    condition = psycopg2.errorcodes.lookup(sqlstate).lower() if _is_known(sqlstate) else type(error).__name__
    text = f"{condition} (SQLSTATE {sqlstate})"
    if sqlstate[:2] in _SQLSTATE_CLASSES_OF_A_ROW:
        return SubmissionRefused(text, sqlstate=sqlstate, detail=detail)
    message = diagnostics.message_primary or ""
    if (sqlstate[:2] in _AUTHORIZATION_AND_CONNECTION and message) or _MISSING_RIGHT.fullmatch(message):
        text = f"{message} (SQLSTATE {sqlstate})"
    public = "its server takes no writes: it is a standby, or read-only" if sqlstate == _READ_ONLY else ""
    return StoreUnavailable(text, hint=hint_for(sqlstate, message), sqlstate=sqlstate, detail=detail, public=public)


def _is_known(sqlstate: str) -> bool:
    try:
        psycopg2.errorcodes.lookup(sqlstate)
    except KeyError:
        return False
    return True


_SQLITE_HINTS = {
    "locked": "another process holds it: `fuser` on the file names it",
    "readonly": "make the file and its folder writable for the service's user",
    "unable to open": "does the folder exist, may the service's user write there, and are inodes free (`df -i`)?",
    "full": "make room on the disk",
    "disk i/o": "look at the kernel's log for the disk's errors",
}
_SQLITE_DAMAGE = ("malformed", "not a database", "Could not decode")


def _sqlite_error(error: sqlite3.Error, path: Path | None) -> StoreUnavailable | SubmissionRefused:
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)):
        return SubmissionRefused(str(error))
    # After "with text" SQLite quotes the undecodable text, which is a row's data.
    text = str(error).partition(" with text ")[0]
    hint = next((hint for part, hint in _SQLITE_HINTS.items() if part in text.lower()), "")
    message = f"{path}: {text}" if path else text
    if any(part in text for part in _SQLITE_DAMAGE):
        return StoreDamaged(message, hint=DAMAGE_HINT)
    return StoreUnavailable(message, hint=hint)
