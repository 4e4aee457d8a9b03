"""A standby of PostgreSQL that is read from in place of the primary, as long as it is good enough.

A standby replays what the primary has committed a little later, or much later, and may become the primary itself. So
each read asks the very server that would serve it: does it still follow, how far is it behind, and has it replayed all
that the reader may know of? What is asked for elsewhere, such as in /ready, a thread finds out every second; it also
spares readers the wait for a server that hangs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import NamedTuple

import psycopg2

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.driver_errors import store_error
from leadcrm.database.entities import Entities
from leadcrm.database.hosts import address_of
from leadcrm.database.postgres import PostgresConnection, deadline, open_blocking
from leadcrm.database.sessions import bind, session
from leadcrm.errors import StoreUnavailable

LOOK_S = 1.0
"""How often the thread looks."""

ANSWER_S = 1.0
"""How long a server may take to say how far it is."""

CATCH_UP_S = 0.1
"""How long a reader waits for what he knows of to be replayed, which usually takes milliseconds."""

COMMAND_CATCH_UP_S = 2.0
"""The same for a command."""

_CATCH_UP_PAUSE_S = 0.005

NOT_LOOKED_AT = "the standby has not been looked at yet"
NO_ANSWER = "the standby does not answer"

_STATE_SQL = """SELECT pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn() - '0/0', 0)::float8,
    coalesce(extract(epoch FROM pg_last_xact_replay_timestamp()), 0)::float8
"""

_POSITION_SQL = "SELECT (pg_current_wal_lsn() - '0/0')::float8"

logger = logging.getLogger("leadcrm.database.standby")


class _State(NamedTuple):
    is_standby: bool
    position: float
    replayed_at: float  # Unix time of the last commit that was replayed, by the primary's clock


class Standby:
    """What one process knows of the standby; any thread may ask."""

    def __init__(self, url: DatabaseURL, committed_at: Callable[[], float]) -> None:
        """Start knowing nothing; until `start` has looked, the standby is not used.

        Args:
            url: Of `parse_standby_url`.
            committed_at: Tells when this node's last commit reached the primary for certain (Unix time).
        """
        self.url = url
        self._committed_at = committed_at
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leadcrm-standby", daemon=True)
        self.fault = NOT_LOOKED_AT
        """Why it is not read from, in words that anyone may read; empty while it is."""
        self.host = ""
        """The host that was looked at last."""
        self.lag_s = 0.0

    @property
    def is_usable(self) -> bool:
        """Say whether the last look found it good enough."""
        return not self.fault

    def start(self) -> None:
        """Start to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread soon."""
        self._stopping.set()

    def fail(self, error: Exception) -> None:
        """Read no more from it until a look has found it well."""
        told = error.public if isinstance(error, StoreUnavailable) else ""
        self._find(f"no standby can be read from: {told}" if told else NO_ANSWER)

    def serves(self, entities: Entities, position: float) -> bool:
        """Say whether this thread's connection can serve a reader who knows of all up to a position of the log.

        Raises:
            StoreUnavailable: It does not answer in time.
        """
        until = monotonic() + CATCH_UP_S
        while True:
            with deadline(ANSWER_S), session(entities):
                (row,) = entities.database.select(_STATE_SQL)
            state = _State(*row)
            if fault := self._fault_of(state):
                self._find(fault)
                return False
            if state.position >= position:
                return True
            if monotonic() > until:
                return False
            sleep(_CATCH_UP_PAUSE_S)

    def _run(self) -> None:
        connection: PostgresConnection | None = None
        while not self._stopping.is_set():
            try:
                if connection is None:
                    connection = open_blocking(self.url, timeout_s=ANSWER_S)
                    connection.autocommit = True
                self._look(connection)
            except (psycopg2.Error, StoreUnavailable) as error:
                self.fail(store_error(error))
            except Exception:
                text = "the standby could not be looked at"
                logger.exception(text, extra={"action": "read", "repeat_key": text})
                self._find(NO_ANSWER)
            if self.fault and connection is not None:
                # Another host may be a better one.
                with suppress(psycopg2.Error):
                    connection.close()
                connection = None
            self._stopping.wait(LOOK_S)

    def _look(self, connection: PostgresConnection) -> None:
        with deadline(ANSWER_S), connection.cursor() as cursor:
            cursor.execute(_STATE_SQL)
            row = cursor.fetchone()
            assert row is not None
            state = _State(*row)
        self.host = str(address_of(connection.info.dsn_parameters))
        self.lag_s = self._lag_s(state)
        self._find(self._fault_of(state))

    def _lag_s(self, state: _State) -> float:
        return max(0.0, self._committed_at() - state.replayed_at) if state.replayed_at else 0.0

    def _fault_of(self, state: _State) -> str:
        if not state.is_standby:
            return "the standby is a primary now"
        lag_s = self._lag_s(state)
        return f"the standby is {lag_s:.0f} s behind" if lag_s > self.url.max_lag_s else ""

    def _find(self, fault: str) -> None:
        if fault and not self.fault:
            logger.warning("reads go to the primary: %s", fault, extra={"action": "read"})
        elif self.fault and not fault:
            logger.info("reads go to the standby", extra={"action": "read", "host": self.host})
        self.fault = fault


def log_position(entities: Entities) -> float:
    """Return the primary's place in its log: whoever has replayed up to there has all that is committed now.

    Raises:
        StoreUnavailable: It cannot be asked now, or is no primary any more.
    """
    with deadline(ANSWER_S), session(entities):
        (position,) = entities.database.select(_POSITION_SQL)
    return float(position)


def bind_for_reading(standby: DatabaseURL | None, primary: DatabaseURL) -> tuple[Entities, DatabaseURL]:
    """Bind a command that only reads to the standby, if it has replayed all that is committed now, else to the primary.

    While the primary is away, the standby will do as it is.

    Raises:
        StoreUnavailable: Neither can be reached.
    """
    if standby is None:
        return bind(primary), primary
    position = 0.0
    with suppress(StoreUnavailable):
        entities = bind(primary)
        try:
            position = log_position(entities)
        finally:
            entities.database.disconnect()
    with suppress(StoreUnavailable):
        entities = bind(standby)
        known = Standby(standby, lambda: 0.0)
        until = monotonic() + COMMAND_CATCH_UP_S
        while monotonic() < until:
            if known.serves(entities, position):
                return entities, standby
        entities.database.disconnect()
    return bind(primary), primary
