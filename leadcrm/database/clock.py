"""The time by the node's clock and by the database's, in naive UTC, as the columns hold it."""

from __future__ import annotations

from datetime import datetime, timezone

from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session


def now_utc() -> datetime:
    """Return the node's time."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


def database_time(entities: Entities) -> datetime:
    """Return the database's time, by which nodes with different clocks can compare theirs. The caller holds a session.

    That of SQLite is the node's.
    """
    if entities.database.provider.dialect == "SQLite":
        return now_utc()
    (now,) = entities.database.select("clock_timestamp() AT TIME ZONE 'utc'")
    assert isinstance(now, datetime)
    return now


def earlier_time(entities: Entities) -> datetime:
    """Return the earlier of both times: by that of a node which is ahead, what all others still need would be old.

    Raises:
        StoreUnavailable: The database cannot be used now.
    """
    with session(entities):
        return min(now_utc(), database_time(entities))
