"""Connections to the database, and its drivers' errors as ours.

Owns how a connection is opened (deadlines, durability, SQLite's pragmas), how Pony is bound, and which of a
driver's errors say "the database cannot now" (`StoreUnavailable`) and which "not this row" (`SubmissionRefused`).

Invariants:
- A connection acknowledges a commit only once it is on stable storage: `synchronous=FULL` on SQLite,
  `synchronous_commit` never `off` on PostgreSQL.
- No wait for PostgreSQL outlasts the thread's `deadline`: psycopg2 would block for ever on a hung server, so its
  waits are ours, for Pony's connections by a callback. The connection of a wait that was given up is closed.

May import configuration, errors and entities; no feature.
"""

from __future__ import annotations

import os
import select
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

# Pony would import these at the first `bind`, and two threads that bind at once then meet one that is half imported.
import pony.orm.dbproviders.postgres
import pony.orm.dbproviders.sqlite
import psycopg2
import psycopg2.errorcodes
import psycopg2.extensions
from pony.orm import Database, db_session
from pony.orm.dbapiprovider import DBException
from pony.utils import timestamp2datetime

from leadcrm.database_url import DatabaseURL
from leadcrm.entities import Entities, define_entities, define_spool_entities
from leadcrm.errors import StoreDamaged, StoreUnavailable, SubmissionRefused

PostgresConnection = psycopg2.extensions.connection
Connection = PostgresConnection | sqlite3.Connection

READ_TIMEOUT_S = 30.0
"""How long one statement of the CRM or of the command line may take."""

CONNECT_TIMEOUT_S = 10.0
"""How long connecting may take where no deadline says less."""

NO_ANSWER = "the database did not answer within its deadline"

SQLITE_CACHE_KIB = 16_384

SQLITE_CHECKPOINT_PAGES = 4000
"""Pages of 4 KiB in the log before they are moved to the file, within a commit: at SQLite's own 1,000 every hundredth
lead of a lone sender waited milliseconds for that."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html: cardinality, data exception, integrity constraint
# violation, external routine, check option, program limit exceeded, what a trigger raises. Every other class speaks of
# the server, the session or the schema, not of the row.
_SQLSTATE_CLASSES_OF_A_ROW = ("21", "22", "23", "38", "39", "44", "54", "P0")

_AUTHORIZATION_AND_CONNECTION = ("08", "28", "3D", "53", "57", "58")


class _ThreadDeadline(threading.local):
    at: float | None = None


_thread_deadline = _ThreadDeadline()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound every wait for PostgreSQL in this thread to `seconds` from now, all together; nesting only shortens.

    Raises psycopg2's `OperationalError` out of the driver's call that was waiting; its connection is then closed.
    """
    before = _thread_deadline.at
    at = monotonic() + seconds
    _thread_deadline.at = at if before is None else min(at, before)
    try:
        yield
    finally:
        _thread_deadline.at = before


def _wait(connection: PostgresConnection) -> None:
    """Wait until psycopg2 is done (https://www.psycopg.org/docs/advanced.html), no longer than the deadline."""
    poller = select.poll()
    at = _thread_deadline.at
    if at is None and connection.status == psycopg2.extensions.STATUS_SETUP:
        # libpq minds `connect_timeout` only where it waits itself.
        at = monotonic() + CONNECT_TIMEOUT_S
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        event = select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT
        file_descriptor = connection.fileno()
        poller.register(file_descriptor, event)
        timeout_ms = None if at is None else max(0.0, (at - monotonic()) * 1000)
        ready = poller.poll(timeout_ms)
        # While connecting, libpq moves from one host's socket to the next.
        poller.unregister(file_descriptor)
        if not ready:
            raise psycopg2.OperationalError(NO_ANSWER)


psycopg2.extensions.set_wait_callback(_wait)


class _InterruptibleDatetime(pony.orm.dbproviders.sqlite.SQLiteDatetimeConverter):  # type: ignore[misc]
    """Reads times as Pony does, which would take an interrupt in the middle of it for a time that cannot be read."""

    def sql2py(self, val: Any) -> Any:
        try:
            return timestamp2datetime(val)
        except Exception:  # as Pony, which hands on what is no time
            return val


pony.orm.dbproviders.sqlite.SQLiteProvider.converter_classes = [
    (kind, _InterruptibleDatetime if kind is datetime else converter)
    for kind, converter in pony.orm.dbproviders.sqlite.SQLiteProvider.converter_classes
]


class _WaitingCursor(psycopg2.extensions.cursor):
    """A cursor whose statements are done on return, though its connection is asynchronous."""

    def execute(self, query: Any, vars: Any = None) -> None:
        try:
            super().execute(query, vars)
            _wait(self.connection)
        except BaseException as error:
            is_broken = isinstance(error, psycopg2.OperationalError) and error.pgcode is None
            if is_broken or self.connection.isexecuting():
                # Given up, interrupted or broken: whatever the server still answers is nobody's.
                self.connection.close()
            raise


def _postgres_arguments(url: DatabaseURL, timeout_s: float) -> dict[str, Any]:
    """Return psycopg2's connection arguments for statements that take `timeout_s` seconds at most."""
    arguments: dict[str, Any] = dict(psycopg2.extensions.parse_dsn(url.dsn))
    arguments.setdefault("fallback_application_name", "leadcrm")
    arguments["client_encoding"] = "UTF8"
    arguments["connect_timeout"] = url.connect_timeout_s
    arguments.setdefault("tcp_user_timeout", int(max(timeout_s, url.connect_timeout_s) * 1000))
    if not url.pgbouncer:
        # pgbouncer refuses start-up options, and what is SET there reaches other clients' sessions.
        timeout_ms = int(timeout_s * 1000)
        own = (
            f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms} "
            f"-c idle_in_transaction_session_timeout={timeout_ms}"
        )
        arguments["options"] = f"{arguments.get('options', '')} {own}".strip()
    return arguments


def _each_host(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the arguments once a host: `connect_timeout` does not bound a host when connecting asynchronously."""
    names = ("host", "hostaddr", "port")
    lists = {name: str(arguments[name]).split(",") for name in names if arguments.get(name)}
    count = max((len(values) for values in lists.values()), default=1)
    for index in range(count):
        of_host = {name: values[index % len(values)] for name, values in lists.items()}
        yield {**arguments, **of_host}


def _each_address(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a host's arguments once an address that its name has. Raises `OSError` where it has none.

    psycopg2 would keep the interpreter's lock while libpq asks for them, for as long as a name server is away.
    """
    host = arguments.get("host")
    if not host or host.startswith("/") or arguments.get("hostaddr"):
        yield arguments
        return
    found = socket.getaddrinfo(host, int(arguments.get("port") or 5432), type=socket.SOCK_STREAM)
    for address in dict.fromkeys(address[0] for _, _, _, _, address in found):
        yield {**arguments, "hostaddr": address}


def open_postgres(url: DatabaseURL, *, timeout_s: float) -> PostgresConnection:
    """Open an autocommit connection whose commits are durable, trying each address for `connect_timeout`.

    It is asynchronous, so that an event loop may use it; the cursors that it gives by itself wait. Raises
    `StoreUnavailable`.
    """
    failure: Exception | None = None
    for of_host in _each_host(_postgres_arguments(url, timeout_s)):
        try:
            for arguments in _each_address(of_host):
                try:
                    return _connect(url, arguments)
                except (psycopg2.Error, StoreUnavailable) as error:
                    failure = error
        except OSError as error:
            failure = StoreUnavailable(f"{of_host['host']}: {error.strerror or error}")
    assert failure is not None
    raise _unreachable(url, failure) from failure


def _connect(url: DatabaseURL, arguments: dict[str, Any]) -> PostgresConnection:
    with deadline(url.connect_timeout_s):
        connection: PostgresConnection = psycopg2.connect(**arguments, cursor_factory=_WaitingCursor, async_=True)
        _wait(connection)
        _insist_on_durability(connection, url)
        return connection


def _unreachable(url: DatabaseURL, error: Exception) -> Exception:
    """Return the error of a connection, with the database that it is about and what to do next."""
    failure = store_error(error)
    if not isinstance(failure, StoreUnavailable):
        return failure
    hint = failure.hint or "is it running, and does DATABASE_URL name it rightly?"
    return StoreUnavailable(f"{url.redacted}: {failure}", hint=hint, sqlstate=failure.sqlstate, detail=failure.detail)


def _insist_on_durability(connection: PostgresConnection, url: DatabaseURL) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        row = cursor.fetchone()
        if row is None or row[0] != "off":
            return
        if url.pgbouncer:
            connection.close()
            raise StoreUnavailable(
                "synchronous_commit is off: a crash of the database would lose acknowledged leads",
                hint="ALTER ROLE … SET synchronous_commit = on",
            )
        cursor.execute("SET synchronous_commit = on")


def open_sqlite(path: Path, *, busy_timeout_s: float, create: bool = False) -> sqlite3.Connection:
    """Open an autocommit connection (`BEGIN` is ours to say) in WAL mode that syncs every commit.

    Raises `StoreUnavailable`, also where the file is missing and `create` is not given.
    """
    if not create and not path.exists():
        raise StoreUnavailable(f"{path} does not exist", hint="leadcrm migrate")
    mode = "rwc" if create else "rw"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            set_pragmas(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    return connection


def set_pragmas(connection: sqlite3.Connection) -> None:
    """Make commits durable (https://www.sqlite.org/pragma.html#pragma_synchronous) and foreign keys count."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {SQLITE_CHECKPOINT_PAGES}")


@contextmanager
def busy_timeout(connection: sqlite3.Connection, milliseconds: int) -> Iterator[None]:
    """Let a connection wait that long for SQLite's locks, and afterwards as long as before."""
    (before,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")


def free_bytes(folder: Path) -> int:
    """Return how many bytes an unprivileged process may still write on the disk of `folder`."""
    statistics = os.statvfs(folder)
    return statistics.f_bavail * statistics.f_frsize


def open_connection(url: DatabaseURL, *, timeout_s: float, create: bool = False) -> Connection:
    """Open a connection of the driver's own. A missing SQLite file is made only where `create` says so."""
    if url.path is not None:
        return open_sqlite(url.path, busy_timeout_s=timeout_s, create=create)
    return open_postgres(url, timeout_s=timeout_s)


def bind(url: DatabaseURL, *, timeout_s: float = READ_TIMEOUT_S) -> Entities:
    """Return the entities of a database, bound and mapped, for use in `db_session`.

    Raises `StoreUnavailable`: Pony connects at once.
    """
    database = Database()
    if url.path is not None:
        return _bind_sqlite(define_entities(database, None), url.path, timeout_s)
    entities = define_entities(database, url.schema)
    try:
        with deadline(url.connect_timeout_s):
            database.bind(provider="postgres", **_postgres_arguments(url, timeout_s))
    except (psycopg2.Error, DBException, StoreUnavailable) as error:
        raise _unreachable(url, error) from error
    database.generate_mapping(check_tables=False)
    return entities


def bind_spool(path: Path, *, timeout_s: float = READ_TIMEOUT_S) -> Entities:
    """Return the spool's entities, bound and mapped. Raises `StoreUnavailable`."""
    return _bind_sqlite(define_spool_entities(Database()), path, timeout_s)


def _bind_sqlite(entities: Entities, path: Path, timeout_s: float) -> Entities:
    # Made by migrations alone, and Pony would resolve a relative path against its caller's file.
    if not path.exists():
        raise StoreUnavailable(f"{path} does not exist", hint="leadcrm migrate")
    database = entities.database

    @database.on_connect(provider="sqlite")  # type: ignore[untyped-decorator]
    def _(_database: Database, connection: sqlite3.Connection) -> None:
        set_pragmas(connection)

    try:
        database.bind(provider="sqlite", filename=os.path.abspath(path), timeout=timeout_s)
    except (sqlite3.Error, DBException) as error:
        raise store_error(error, path) from error
    database.generate_mapping(check_tables=False)
    return entities


@contextmanager
def session(entities: Entities, *, writes: bool = False) -> Iterator[None]:
    """Hold one of Pony's sessions in this thread, committed at its end unless something is raised.

    `writes` takes SQLite's write lock at once: a read that becomes a write later could not wait for its turn.
    Raises `StoreUnavailable` and `SubmissionRefused`; the thread's connection is then given up.
    """
    try:
        with deadline(READ_TIMEOUT_S), db_session(immediate=writes):
            yield
    except Exception as error:
        # After an error of another kind the connection may be as good as before, but nothing says so.
        entities.database.disconnect()
        raise store_error(error) from error


@contextmanager
def snapshot(entities: Entities) -> Iterator[None]:
    """Hold a session in this thread in which every read sees the database as it was at the first.

    For entities that only this thread uses. Raises as `session` does; each wait is for the caller to bound.
    """
    database = entities.database
    try:
        with db_session(immediate=True):
            if database.provider.dialect == "SQLite":
                # Pony knows only transactions that write; this one must not keep leads waiting for its lock.
                connection = database.get_connection()
                connection.execute("ROLLBACK")
                connection.execute("BEGIN")
            else:
                database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield
    except Exception as error:
        database.disconnect()
        raise store_error(error) from error


def forget_results(entities: Entities) -> None:
    """Drop what the session has read so far: Pony keeps the rows of every query until the session's end."""
    entities.database._get_cache().query_results.clear()


def store_error(error: Exception, path: Path | None = None) -> StoreUnavailable | SubmissionRefused:
    """Say of a driver's error whether the database cannot now or refuses this row.

    The text names SQLSTATE, constraint, table and column, never DETAIL or the statement: they quote the payload.
    """
    if isinstance(error, (StoreUnavailable, SubmissionRefused)):
        return error
    if isinstance(error, sqlite3.Error):
        return _sqlite_error(error, path)
    if isinstance(error, psycopg2.Error):
        return _postgres_error(error)
    # Pony wraps a driver's exception and keeps it.
    wrapped = getattr(error, "original_exc", None) or error.__cause__
    if isinstance(wrapped, Exception):
        return store_error(wrapped, path)
    raise error


def _postgres_error(error: psycopg2.Error) -> StoreUnavailable | SubmissionRefused:
    sqlstate = error.pgcode
    if sqlstate is None:
        lines = str(error).strip().splitlines()
        return StoreUnavailable(lines[0] if lines else type(error).__name__)
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
    if sqlstate[:2] in _AUTHORIZATION_AND_CONNECTION and diagnostics.message_primary:
        text = f"{diagnostics.message_primary} (SQLSTATE {sqlstate})"
    return StoreUnavailable(text, sqlstate=sqlstate, detail=detail)


def _is_known(sqlstate: str) -> bool:
    try:
        psycopg2.errorcodes.lookup(sqlstate)
    except KeyError:
        return False
    return True


_SQLITE_HINTS = {
    "locked": "another process holds it: `fuser` on the file names it",
    "readonly": "make the file and its folder writable for the service's user",
    "unable to open": "does the folder exist, and may the service's user write there?",
    "full": "make room on the disk",
    "disk i/o": "look at the kernel's log for the disk's errors",
}
_SQLITE_DAMAGE = ("malformed", "not a database", "Could not decode")


def _sqlite_error(error: sqlite3.Error, path: Path | None) -> StoreUnavailable | SubmissionRefused:
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)):
        return SubmissionRefused(str(error))
    # What cannot be decoded is quoted, and is a row's.
    text = str(error).partition(" with text ")[0]
    hint = next((hint for part, hint in _SQLITE_HINTS.items() if part in text.lower()), "")
    told = f"{path}: {text}" if path else text
    if any(part in text for part in _SQLITE_DAMAGE):
        return StoreDamaged(told, hint="the file is damaged: stop, keep a copy, then `leadcrm restore` a backup")
    return StoreUnavailable(told, hint=hint)
