"""The rows of a database, read by the plain drivers into common types, so that two databases can be compared.

UUIDs become text, bytes stay bytes, times become naive UTC, JSON is parsed. It uses no code of leadcrm, whose reads
are under test.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg2
from psycopg2 import extras, sql

from tests.support.postgres import split_schema

Row = dict[str, Any]

ID_COLUMNS = frozenset({"id", "duplicate_of"})
TIME_COLUMNS = frozenset({"received_at", "created_at", "updated_at"})
JSON_COLUMNS = frozenset({"headers"})


def sqlite_path(database_url: str) -> Path:
    """Return the path in a URL `sqlite:///path`."""
    return Path("/" + urlsplit(database_url).path.lstrip("/"))


def _naive_utc(value: str | datetime) -> datetime:
    time = datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else value
    return time.astimezone(timezone.utc).replace(tzinfo=None) if time.tzinfo else time


def _normalized(column: str, value: Any) -> Any:
    if isinstance(value, memoryview):
        value = bytes(value)
    if value is None:
        return None
    if column in ID_COLUMNS:
        return str(UUID(bytes=value)) if isinstance(value, bytes) else str(value)
    if column in TIME_COLUMNS:
        return _naive_utc(value)
    if column in JSON_COLUMNS and isinstance(value, (str, bytes)):
        return json.loads(value)
    return value


class Rows:
    """The tables of one database, ordered by id and thus by arrival."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.is_sqlite = database_url.startswith("sqlite:")
        self._dsn, self._schema = ("", None) if self.is_sqlite else split_schema(database_url)

    @contextmanager
    def _cursor(self, *, write: bool = False) -> Iterator[Any]:
        if self.is_sqlite:
            # Read-only: the last writable connection checkpoints the log on close, and would change the files that
            # a killed server left.
            uri = sqlite_path(self.database_url).as_uri() + ("" if write else "?mode=ro")
            with closing(sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                yield connection.cursor()
        else:
            with closing(psycopg2.connect(self._dsn, connect_timeout=30)) as connection:
                connection.autocommit = True
                with connection.cursor(cursor_factory=extras.RealDictCursor) as cursor:
                    if self._schema:
                        path = sql.SQL("SET search_path TO {}").format(sql.Identifier(self._schema))
                        cursor.execute(path)
                    yield cursor

    def select(self, statement: str, *parameters: object) -> list[Row]:
        """Return the normalized rows of a SELECT; placeholders are `%s`."""
        with self._cursor() as cursor:
            if self.is_sqlite:
                found = cursor.execute(statement.replace("%s", "?"), parameters).fetchall()
            else:
                cursor.execute(statement, parameters or None)
                found = cursor.fetchall()
        return [{column: _normalized(column, row[column]) for column in row.keys()} for row in found]  # noqa: SIM118

    def execute(self, statement: str, *parameters: object) -> int:
        """Change the database without leadcrm and return the number of affected rows."""
        with self._cursor(write=True) as cursor:
            if self.is_sqlite:
                cursor.execute(statement.replace("%s", "?"), parameters)
            else:
                cursor.execute(statement, parameters or None)
            return int(cursor.rowcount)

    @contextmanager
    def writes_blocked(self, table: str = "leads_raw") -> Iterator[None]:
        """Block all other writers of a table (on SQLite, of all) for the duration of the block; reads continue."""
        with self._cursor(write=True) as cursor:
            cursor.execute("BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN")
            if not self.is_sqlite:
                cursor.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(sql.Identifier(table)))
            yield
            cursor.execute("ROLLBACK")

    def as_id(self, identifier: str) -> object:
        """Return an id in the parameter type of this database."""
        return UUID(identifier).bytes if self.is_sqlite else identifier

    def raw(self) -> list[Row]:
        """Return all rows of `leads_raw`."""
        return self.select("SELECT * FROM leads_raw ORDER BY id")

    def leads(self) -> list[Row]:
        """Return all rows of `leads`."""
        return self.select("SELECT * FROM leads ORDER BY id")

    def raw_row(self, identifier: str) -> Row:
        """Return one row of `leads_raw`."""
        (row,) = self.select("SELECT * FROM leads_raw WHERE id = %s", self.as_id(identifier))
        return row

    def lead(self, identifier: str) -> Row:
        """Return one row of `leads`."""
        (row,) = self.select("SELECT * FROM leads WHERE id = %s", self.as_id(identifier))
        return row
