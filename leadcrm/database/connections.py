"""Driver-level connections to the configured database."""

from __future__ import annotations

import sqlite3

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.crashed_log import keep_log_of_overwritten
from leadcrm.database.postgres import PostgresConnection, open_postgres
from leadcrm.database.sqlite import open_sqlite

Connection = PostgresConnection | sqlite3.Connection


def open_connection(url: DatabaseURL, *, timeout_s: float, create: bool = False) -> Connection:
    """Open a driver-level connection; create a missing SQLite file only if `create` is true."""
    if url.path is not None:
        keep_log_of_overwritten(url.path)
        return open_sqlite(url.path, busy_timeout_s=timeout_s, create=create)
    return open_postgres(url, timeout_s=timeout_s)
