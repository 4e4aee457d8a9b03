"""The batch insert into the spool's file: a SQLite store without leads and without a ledger."""

from __future__ import annotations

from typing import Any

from leadcrm.database.entities import RAW_COLUMNS
from leadcrm.ingest.raw_row import sqlite_raw_values
from leadcrm.ingest.store.sqlite import SqliteStore, incoming_view
from leadcrm.ingest.submission import Submission


class SpoolStore(SqliteStore):
    """Writes batches to the spool; the drain makes their leads and counts their rows."""

    stored = "spool"
    width = len(RAW_COLUMNS)
    is_connection_shared = True
    keeps_rows = False

    @staticmethod
    def incoming_sql() -> tuple[str, str]:
        """See `SqliteStore.incoming_sql`."""
        return incoming_view((), "")

    def add_values(self, values: list[Any], row: Submission, entry: bytearray) -> None:
        """See `SqliteStore.add_values`."""
        values += sqlite_raw_values(row)
