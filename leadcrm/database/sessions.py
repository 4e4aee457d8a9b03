"""Binds entities to a database and opens the Pony sessions that read and change them."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TypeVar

# Pony imports these in the first `bind`. If two threads bind at once, one of them finds a half-imported module.
import pony.orm.dbproviders.postgres
import pony.orm.dbproviders.sqlite
import psycopg2
from pony.orm import Database, OrmError, db_session
from pony.orm.core import TransactionError
from pony.orm.dbapiprovider import DBException
from pony.utils import timestamp2datetime

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.crashed_log import keep_log_of_overwritten
from leadcrm.database.deleted_log import opening
from leadcrm.database.driver_errors import store_error
from leadcrm.database.entities import Entities, SpoolEntities, define_entities, define_spool_entities
from leadcrm.database.feed_numbers import raise_numbers_within
from leadcrm.database.postgres import deadline, open_blocking
from leadcrm.database.sqlite import set_pragmas
from leadcrm.errors import StoreUnavailable

AnyEntities = TypeVar("AnyEntities", bound=SpoolEntities)

READ_TIMEOUT_S = 30.0
"""The limit for one statement of the CRM or the command line."""

WHOLE_TIMEOUT_S = 3600.0
"""The limit for one statement of a command that goes through whole tables: with ten million leads, minutes."""

MOST_STATEMENTS = 100
"""The statements whose texts Pony keeps. It would keep all of them for ever, also those that name rows by id."""


class _InterruptibleDatetime(pony.orm.dbproviders.sqlite.SQLiteDatetimeConverter):  # type: ignore[misc]
    """Reads times as Pony does, but lets an interrupt through: Pony's bare `except` would swallow it."""

    def sql2py(self, val: Any) -> Any:
        try:
            return timestamp2datetime(val)
        except Exception:  # like Pony: pass on a value that is no time
            return val


pony.orm.dbproviders.sqlite.SQLiteProvider.converter_classes = [
    (kind, _InterruptibleDatetime if kind is datetime else converter)
    for kind, converter in pony.orm.dbproviders.sqlite.SQLiteProvider.converter_classes
]


class _Connections(pony.orm.dbproviders.postgres.PGPool):  # type: ignore[misc]
    """Connects to the host that takes writes now, with the URL as its file has it now."""

    def _connect(self) -> None:
        url, timeout_s = self.args
        self.con = open_blocking(url, timeout_s=timeout_s)


_connect_sqlite = pony.orm.dbproviders.sqlite.SQLitePool._connect


def _connect_sqlite_safely(pool: Any) -> None:
    """Connect as Pony does, but not beside a connection whose log was deleted.

    Raises:
        StoreUnavailable: There is such a connection.
    """
    with opening(Path(pool.filename)):
        _connect_sqlite(pool)


pony.orm.dbproviders.sqlite.SQLitePool._connect = _connect_sqlite_safely

_translating = threading.RLock()


def _one_at_a_time(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def locked(*args: Any, **kwargs: Any) -> Any:
        with _translating:
            return method(*args, **kwargs)

    return locked


# Pony keeps one syntax tree for each query and writes in it while it translates: of two threads that run a query for
# the first time at once, one finds the tree half written.
pony.orm.core.Query.__init__ = _one_at_a_time(pony.orm.core.Query.__init__)
pony.orm.core.Query._process_lambda = _one_at_a_time(pony.orm.core.Query._process_lambda)


class _PooledConnections(_Connections):
    """Connections to a pooler, which gives each transaction to any of its sessions with the server.

    Pony discards a session's state after each use. Here that could be another client's, and with it would go the style
    of dates, which the driver sets when it connects, the pooler keeps for its client, and Pony needs.
    """

    def release(self, con: Any) -> None:
        try:
            con.rollback()
        except BaseException:
            self.drop(con)
            raise


class _Provider(pony.orm.dbproviders.postgres.PGProvider):  # type: ignore[misc]
    def get_pool(self, url: DatabaseURL, timeout_s: float) -> _Connections:
        connections = _PooledConnections if url.pgbouncer else _Connections
        return connections(self.dbapi_module, url, timeout_s)


def bind(url: DatabaseURL, *, timeout_s: float | None = None) -> Entities:
    """Return the entities of a database, bound and mapped, for use in a `session`.

    Args:
        url: The database.
        timeout_s: The server's limit for one statement, `READ_TIMEOUT_S` unless given. A shorter one is that of each
            session too.

    Raises:
        StoreUnavailable: The database is away; Pony connects at once.
    """
    database, timeout_s = Database(), timeout_s or READ_TIMEOUT_S
    database.longest_session_s = min(timeout_s, READ_TIMEOUT_S)
    if url.path is not None:
        return _bind_sqlite(define_entities(database, None), url.path, timeout_s)
    entities = define_entities(database, url.schema)
    try:
        with deadline(timeout_s):
            database.bind(_Provider, url, timeout_s)
    except (psycopg2.Error, DBException) as error:
        raise store_error(error) from error
    _reconnect_between_transactions_only(database)
    database.generate_mapping(check_tables=False)
    return entities


def _reconnect_between_transactions_only(database: Database) -> None:
    """Keep Pony from continuing a transaction whose connection broke.

    Pony would reconnect and repeat only the failed statement. The transaction's earlier changes and its snapshot would
    be lost, and the rest would be committed.
    """
    provider = database.provider
    may_reconnect = provider.should_reconnect
    provider.should_reconnect = lambda error: not database._get_cache().in_transaction and may_reconnect(error)


def bind_spool(path: Path, *, timeout_s: float = READ_TIMEOUT_S) -> SpoolEntities:
    """Return the spool's entities, bound and mapped.

    Raises:
        StoreUnavailable: The file is missing or cannot be used.
    """
    return _bind_sqlite(define_spool_entities(Database()), path, timeout_s)


def _bind_sqlite(entities: AnyEntities, path: Path, timeout_s: float) -> AnyEntities:
    # Only migrations create the file.
    if not path.exists():
        raise StoreUnavailable(f"{path} does not exist", hint="leadcrm migrate")
    database = entities.database

    @database.on_connect(provider="sqlite")  # type: ignore[untyped-decorator]
    def _(_database: Database, connection: sqlite3.Connection) -> None:
        set_pragmas(connection, path)

    try:
        keep_log_of_overwritten(path)
        # Pony resolves a relative path against the file of its caller. SQLite waits for a lock as long as it is told,
        # whatever deadlines and signals say.
        database.bind(provider="sqlite", filename=os.path.abspath(path), timeout=min(timeout_s, READ_TIMEOUT_S))
    except (sqlite3.Error, DBException) as error:
        raise store_error(error, path) from error
    database.generate_mapping(check_tables=False)
    return entities


@contextmanager
def upkeep_session(entities: Entities) -> Iterator[None]:
    """Hold a session that writes what may be lost and is done again; no standby need have it.

    A commit that waits for a standby would hold the lock of the feed's numbers meanwhile, which leads need.
    """
    with session(entities, writes=True):
        if entities.database.provider.dialect == "PostgreSQL":
            entities.database.execute("SET LOCAL synchronous_commit TO local")
        yield


@contextmanager
def session(entities: SpoolEntities, *, writes: bool = False, timeout_s: float | None = None) -> Iterator[None]:
    """Hold a Pony session in this thread; commit it at the end unless an exception leaves the block.

    `writes` takes SQLite's write lock at the start: SQLite does not wait for the lock when a reading transaction begins
    to write. The first such session of a connection raises the feed's numbers: the database may have been restored, and
    no store been opened since. An error closes the thread's connection. The session ends after `timeout_s`, which is
    `READ_TIMEOUT_S` at most unless given.

    Raises:
        StoreUnavailable: The database cannot be used now.
        SubmissionRefused: The database refuses the change.
    """
    try:
        longest_s: float = getattr(entities.database, "longest_session_s", READ_TIMEOUT_S)
        with deadline(timeout_s or longest_s), db_session(immediate=writes):
            raised = _raise_numbers(entities) if writes and isinstance(entities, Entities) else None
            yield
        if raised is not None:
            entities.database.provider.pool.raised = raised
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        _end(entities, error)
    finally:
        for kept in (pony.orm.core.adapted_sql_cache, entities.database.local_stats):
            if len(kept) > MOST_STATEMENTS:
                kept.clear()


def _raise_numbers(entities: Entities) -> Any:
    """Return the thread's connection, over which the feed's numbers have been raised."""
    connection = entities.database.get_connection()
    # The pool is an object of each thread.
    if getattr(entities.database.provider.pool, "raised", None) is not connection:
        table = entities.feed_event._table_
        raise_numbers_within(connection, None if isinstance(table, str) else table[0])
    return connection


@contextmanager
def snapshot(entities: Entities) -> Iterator[None]:
    """Hold a session in this thread in which every read sees the database as it was at the first read.

    Only this thread may use the entities. The caller must bound each wait.

    Raises:
        StoreUnavailable: The database cannot be used now.
    """
    database = entities.database
    try:
        with db_session(immediate=True):
            if database.provider.dialect == "SQLite":
                # Pony's immediate transaction takes the write lock, which would make leads wait. Begin a reading one.
                connection = database.get_connection()
                connection.execute("ROLLBACK")
                connection.execute("BEGIN")
            else:
                database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        _end(entities, error)


def _end(entities: SpoolEntities, error: BaseException) -> NoReturn:
    """Close the connection, and raise the interrupt that ended the session or our error."""
    interrupt = _interrupt_beneath(error)
    if interrupt is not None:
        # It may have come between any two steps of Pony.
        with suppress(OrmError, DBException):
            entities.database.disconnect()
        raise interrupt from None
    # The connection may still be usable, but nothing guarantees it.
    entities.database.disconnect()
    assert isinstance(error, Exception)
    raise store_error(error) from error


def _interrupt_beneath(error: BaseException) -> BaseException | None:
    """Return the interrupt that Pony hides behind what failed after it, if there is one."""
    met: list[BaseException] = []
    cause: BaseException | None = error
    # Of a commit that failed and its rollback each may be the other's context.
    while isinstance(cause, Exception) and cause not in met:
        met.append(cause)
        # A list of what `sys.exc_info` gives.
        hidden = getattr(cause, "exceptions", None) if isinstance(cause, TransactionError) else None
        cause = hidden[0][1] if hidden else cause.__context__
    return cause if isinstance(cause, (KeyboardInterrupt, SystemExit)) else None


def forget_results(entities: SpoolEntities) -> None:
    """Drop the results of the session's queries, which Pony otherwise keeps until the session ends."""
    entities.database._get_cache().query_results.clear()
