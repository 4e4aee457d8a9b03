"""Tells if PostgreSQL has come back without what it had confirmed: restored, or another server that lacks the end."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

import psycopg2

from leadcrm.database.driver_errors import store_error
from leadcrm.database.postgres import PostgresConnection, schema_prefix
from leadcrm.ingest.writer import Writer

logger = logging.getLogger("leadcrm.ingest.rewinding")


class Rewinding:
    """Whether the row is there that the database confirmed last to a worker."""

    def __init__(self, writer: Writer, schema: str | None) -> None:
        """Set whose rows are looked for."""
        self._writer = writer
        self._raw = f"{schema_prefix(schema)}leads_raw"
        self.fault = ""
        """What is missing since when, in words that anyone may read; it stays until the process ends."""

    def look(self, connection: PostgresConnection) -> None:
        """Look for the row, over a connection in autocommit mode whose waits are bounded.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        id = self._writer.stored_id
        if not id:
            return
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT 1 FROM {self._raw} WHERE id = %s", (id,))  # noqa: S608 - names of ours
                if cursor.fetchone():
                    return
        except psycopg2.Error as error:
            raise store_error(error) from error
        self._writer.stored_id = ""
        stored_at = datetime.fromtimestamp(self._writer.stored_at, timezone.utc)
        self.fault = f"the database lacks what it had confirmed by {stored_at:%Y-%m-%d %H:%M:%S} UTC"
        hint = (
            "it was restored, or a server without its last commits took over: let senders repeat what was acknowledged "
            "since then, and restart leadcrm"
        )
        logger.error("%s", self.fault, extra={"action": "recover", "lead_id": id, "hint": hint})
