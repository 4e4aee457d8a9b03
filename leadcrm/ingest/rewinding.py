"""Tells if a database has come back without what it had confirmed: restored, or another server that lacks the end."""

from __future__ import annotations

import logging
import sqlite3
from datetime import datetime, timezone

import psycopg2

from leadcrm.database.connections import Connection
from leadcrm.database.driver_errors import store_error
from leadcrm.database.migrations import SchemaConnection
from leadcrm.ingest.raw_row import uuid_bytes
from leadcrm.ingest.writer import Writer

logger = logging.getLogger("leadcrm.ingest.rewinding")


class Rewinding:
    """Whether the row is there that the database confirmed last to a worker."""

    def __init__(self, writer: Writer, schema: str | None) -> None:
        """Set whose rows are looked for."""
        self._writer = writer
        self._schema = schema
        self.fault = ""
        """What is missing since when, in words that anyone may read; it stays until the process ends."""

    def look(self, connection: Connection) -> None:
        """Look for the row, over a connection in autocommit mode whose waits are bounded.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        id = self._writer.stored_id
        if not id:
            return
        try:
            database = SchemaConnection(connection, self._schema)
            value = id if database.is_postgres else uuid_bytes(id)
            if database.execute(f"SELECT 1 FROM {database.prefix}leads_raw WHERE id = %s", (value,)):  # noqa: S608
                return
        except (psycopg2.Error, sqlite3.Error) as error:
            raise store_error(error) from error
        self._writer.stored_id = ""
        stored_at = datetime.fromtimestamp(self._writer.stored_at, timezone.utc)
        self.fault = f"the database lacks what it had confirmed by {stored_at:%Y-%m-%d %H:%M:%S} UTC"
        hint = (
            "it was restored, or a server without its last commits took over: let senders repeat what was acknowledged "
            "since then, and restart leadcrm"
        )
        logger.error("%s", self.fault, extra={"action": "recover", "lead_id": id, "hint": hint})
