"""The feed's horizon: the number up to which nothing can appear any more.

A number is given out at the insert and becomes visible with the commit, so a higher number may be visible first. A
reader that went on from it would never see the lower one. This module finds out which numbers are settled: all of
their transactions have ended.

On SQLite one writer follows the other, so every number that is visible is settled. On PostgreSQL a transaction takes a
number while it holds its lock on `leads_feed`, which it keeps until its rows are visible or gone. So read the newest
number first and the holders of that lock afterwards: once none of these holders is left, all numbers up to that one
are settled. Transactions that never write into the feed delay nothing, however long they last.

We considered numbers made of transaction ids below `pg_snapshot_xmin`: any long transaction of the whole server would
hold them back, and a dump that is restored elsewhere would begin with lower ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import NamedTuple

from leadcrm.database.entities import Entities, quoted_table
from leadcrm.database.sessions import session

SETTLE_S = 0.2
"""How long `advance` waits for the transactions under way, which end within milliseconds."""

SETTLE_PAUSE_S = 0.005

STUCK_S = 1.0
"""A transaction that lasts longer than this is no longer waited for within `advance`."""

_NEWEST_POSTGRES = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"
_NEWEST_SQLITE = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'leads_feed'"

_WRITERS = """SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = '{table}'::regclass AND mode = 'RowExclusiveLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class _Candidate(NamedTuple):
    """A number that is settled once its transactions have ended."""

    newest: int
    writers: set[str]
    since: float  # monotonic


class Horizon:
    """Remembers what is settled; any thread may call it."""

    def __init__(self, tell: Callable[[int], None] | None = None) -> None:
        """Start without knowing anything; the first `advance` reads the database. `tell` is told what is settled."""
        self._tell = tell
        self._lock = threading.Lock()
        self._candidate: _Candidate | None = None
        self.settled = 0
        """The number up to which the feed can be read."""
        self.newest = 0
        """The newest number that was given out."""

    @property
    def lag_s(self) -> float:
        """How long the same transactions have held the horizon back."""
        candidate = self._candidate
        return monotonic() - candidate.since if candidate else 0.0

    def advance(self, entities: Entities) -> int:
        """Find out what is settled now, and return it. Opens sessions of its own.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        with self._lock:
            until = monotonic() + SETTLE_S
            self._look(entities)
            aim = self.newest
            while self.settled < aim and self.lag_s < STUCK_S and monotonic() < until:
                sleep(SETTLE_PAUSE_S)
                self._look(entities)
            if self._tell is not None:
                self._tell(self.settled)
            return self.settled

    def _look(self, entities: Entities) -> None:
        database = entities.database
        with session(entities):
            # The order matters: whoever took a number up to this one holds the lock by now, or has ended.
            newest = newest_number(entities)
            if database.provider.dialect == "SQLite":
                self.newest = self.settled = newest
                return
            table = quoted_table(entities.feed_event)
            writers = set(database.select(_WRITERS.format(table=table.replace("'", "''"))))
        self.newest = newest
        candidate = self._candidate
        if candidate is not None:
            candidate.writers.intersection_update(writers)
            if not candidate.writers:
                self.settled = max(self.settled, candidate.newest)
                self._candidate = candidate = None
        if not writers:
            self.settled = max(self.settled, newest)
            self._candidate = None
        elif candidate is None and newest > self.settled:
            self._candidate = _Candidate(newest, writers, monotonic())


def newest_number(entities: Entities) -> int:
    """Return the newest number that was given out, even if to what never gets visible. The caller holds the session."""
    sql = _NEWEST_SQLITE
    if entities.database.provider.dialect != "SQLite":
        sql = _NEWEST_POSTGRES.format(sequence=quoted_table(entities.feed_event, "_seq_seq"))
    (newest,) = entities.database.select(sql)
    return int(newest)
