"""Opens connections to PostgreSQL and bounds the driver's waits.

Invariants:
- A connection acknowledges a commit only once it is on stable storage: `synchronous_commit` is never `off`.
- No wait outlasts the thread's `deadline`. psycopg2 would block for ever on a hung server, so this module waits in its
  place, for Pony's connections through a callback. A connection whose wait timed out is closed.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import psycopg2
import psycopg2.extensions

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.driver_errors import store_error
from leadcrm.database.hosts import reach
from leadcrm.errors import StoreUnavailable

PostgresConnection = psycopg2.extensions.connection

COMPLETE_ENCODINGS = ("UTF8", "SQL_ASCII")
"""The encodings of databases that hold every text."""

NOT_DURABLE = ("off",)
NOT_REPLICATED = ("off", "local", "remote_write")
"""The values of `synchronous_commit` at which a commit is not yet on the primary's disk, or on the standby's."""

CONNECT_TIMEOUT_S = 10.0
"""The limit for connecting, unless a deadline ends earlier."""

NO_ANSWER = "the database did not answer within its deadline"


class _ThreadDeadline(threading.local):
    at: float | None = None


_thread_deadline = _ThreadDeadline()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound all waits for PostgreSQL in this thread to `seconds` from now in total; a nested deadline only shortens it.

    A wait that outlasts the deadline closes its connection, and the driver's call raises psycopg2's `OperationalError`.
    """
    before = _thread_deadline.at
    at = monotonic() + seconds
    _thread_deadline.at = at if before is None else min(at, before)
    try:
        yield
    finally:
        _thread_deadline.at = before


def _wait(connection: PostgresConnection) -> None:
    """Wait until psycopg2 has finished (https://www.psycopg.org/docs/advanced.html) or the deadline has passed."""
    poller = select.poll()
    at = _thread_deadline.at
    if at is None and connection.status == psycopg2.extensions.STATUS_SETUP:
        # libpq applies `connect_timeout` only to its own waits.
        at = monotonic() + CONNECT_TIMEOUT_S
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        event = select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT
        file_descriptor = connection.fileno()
        poller.register(file_descriptor, event)
        timeout_ms = None if at is None else max(0.0, (at - monotonic()) * 1000)
        ready = poller.poll(timeout_ms)
        # libpq may change the socket while it connects.
        poller.unregister(file_descriptor)
        if not ready:
            raise psycopg2.OperationalError(NO_ANSWER)


psycopg2.extensions.set_wait_callback(_wait)


class _WaitingCursor(psycopg2.extensions.cursor):
    """A cursor whose statements have finished on return, although its connection is asynchronous."""

    def execute(self, query: Any, vars: Any = None) -> None:
        try:
            super().execute(query, vars)
            _wait(self.connection)
        except BaseException as error:
            is_broken = isinstance(error, psycopg2.OperationalError) and error.pgcode is None
            if is_broken or self.connection.isexecuting():
                # The server may still send this statement's reply, which the next statement must not read.
                self.connection.close()
            raise


def server_encoding(connection: PostgresConnection) -> str:
    """Return the encoding of the connection's database, which the server tells when a connection is opened."""
    return str(connection.get_parameter_status("server_encoding"))


def postgres_arguments(url: DatabaseURL, timeout_s: float) -> dict[str, Any]:
    """Return psycopg2's arguments for a connection that is opened now, with `timeout_s` as each statement's limit."""
    url = url.current()
    arguments: dict[str, Any] = dict(psycopg2.extensions.parse_dsn(url.dsn))
    arguments.setdefault("fallback_application_name", "leadcrm")
    arguments["client_encoding"] = "UTF8"
    arguments["connect_timeout"] = url.connect_timeout_s
    arguments.setdefault("tcp_user_timeout", int(max(timeout_s, url.connect_timeout_s) * 1000))
    if not url.pgbouncer:
        # pgbouncer rejects start-up options, and a SET would leak into other clients' sessions.
        timeout_ms = int(timeout_s * 1000)
        own = (
            f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms} "
            # Pony resets its sessions, and can read times in this style alone.
            f"-c idle_in_transaction_session_timeout={timeout_ms} -c datestyle=ISO"
        )
        arguments["options"] = f"{arguments.get('options', '')} {own}".strip()
    return arguments


def open_postgres(url: DatabaseURL, *, timeout_s: float) -> PostgresConnection:
    """Open an autocommit connection with durable commits, trying each address for `connect_timeout`.

    The connection is asynchronous, so that an event loop can use it; its default cursors block.

    Raises:
        StoreUnavailable: No address accepts a connection, or its commits cannot be made durable.
    """

    def connect(arguments: dict[str, Any]) -> PostgresConnection:
        with deadline(url.connect_timeout_s):
            connection: PostgresConnection = psycopg2.connect(**arguments, cursor_factory=_WaitingCursor, async_=True)
            _wait(connection)
            strengthen_commits(connection, url, NOT_DURABLE)
            return connection

    return _reach(url, timeout_s, connect)


def open_blocking(url: DatabaseURL, *, timeout_s: float) -> PostgresConnection:
    """Open a connection that blocks, for Pony, trying each address for `connect_timeout`.

    Raises:
        StoreUnavailable: No address accepts a connection.
    """

    def connect(arguments: dict[str, Any]) -> PostgresConnection:
        with deadline(url.connect_timeout_s):
            connection: PostgresConnection = psycopg2.connect(**arguments)
            return connection

    return _reach(url, timeout_s, connect)


def _reach(
    url: DatabaseURL, timeout_s: float, connect: Callable[[dict[str, Any]], PostgresConnection]
) -> PostgresConnection:
    try:
        return reach(postgres_arguments(url, timeout_s), connect)
    except (psycopg2.Error, StoreUnavailable) as error:
        raise _unreachable(url, error) from error


def _unreachable(url: DatabaseURL, error: Exception) -> Exception:
    """Return a connection's error with the name of the database and a hint for the operator."""
    failure = store_error(error)
    if not isinstance(failure, StoreUnavailable):
        return failure
    hint = failure.hint or "is it running, and is DATABASE_URL right?"
    return StoreUnavailable(
        f"{url.redacted}: {failure}",
        hint=hint,
        sqlstate=failure.sqlstate,
        detail=failure.detail,
        public=failure.public,
    )


def strengthen_commits(connection: PostgresConnection, url: DatabaseURL, too_weak: Collection[str]) -> None:
    """Set the session's `synchronous_commit` to `on` if it has one of the values in `too_weak`.

    Raises:
        StoreUnavailable: It must be set in the server: behind a pooler the session is not ours alone.
    """
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        row = cursor.fetchone()
        if row is None or row[0] not in too_weak:
            return
        if url.pgbouncer:
            connection.close()
            lost = "a crash of the database" if row[0] == "off" else "the loss of the database's disk"
            raise StoreUnavailable(
                f"synchronous_commit is {row[0]}: {lost} would lose acknowledged leads",
                hint="ALTER ROLE … SET synchronous_commit = on",
            )
        cursor.execute("SET synchronous_commit = on")


def schema_prefix(schema: str | None) -> str:
    """Return what stands before the name of a table of a schema in SQL; nothing for the connection's default."""
    return '"{}".'.format(schema.replace('"', '""')) if schema else ""
