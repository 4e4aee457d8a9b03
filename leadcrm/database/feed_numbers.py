"""Keeps the feed's numbers from falling back where the database itself does: a restored backup or dump, a standby that
takes over without the last commits, a new file in the place of a damaged one.

Else new events would get numbers that readers have passed already. Whoever opens a store, or changes something over a
new connection, therefore raises the numbers to the time in milliseconds: fewer events than that were ever numbered.
"""

from __future__ import annotations

import sqlite3

import psycopg2
import psycopg2.errors

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.connections import Connection
from leadcrm.database.driver_errors import store_error
from leadcrm.database.postgres import schema_prefix

_LOCK = 0x6C656165  # the key of the advisory lock: of two who raise at once, the later must not set a lower number

_LEAST_LEAP = 10_000
"""No writer can take so many numbers between the look at the newest one and the leap to the time. A smaller distance is
gone by giving out its numbers, some milliseconds for all of them, which others can do meanwhile."""

_MOMENT_POSTGRES = "(SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS moment) AS clock"

_RAISE_POSTGRES = f"""
    SELECT pg_advisory_xact_lock({_LOCK});
    SELECT setval(sequence.tableoid, moment) FROM {{sequence}} AS sequence, {_MOMENT_POSTGRES}
    WHERE last_value + {_LEAST_LEAP} < moment;
    SELECT count(nextval(sequence.tableoid)) FROM {{sequence}} AS sequence, {_MOMENT_POSTGRES},
        generate_series(1, least({_LEAST_LEAP}, moment - last_value));
"""  # noqa: S608 - names of ours

_MOMENT_SQLITE = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

_RAISE_SQLITE = (
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'leads_feed', 0 "
    "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'leads_feed')",
    f"UPDATE sqlite_sequence SET seq = {_MOMENT_SQLITE} "  # noqa: S608
    f"WHERE name = 'leads_feed' AND seq < {_MOMENT_SQLITE}",
)


def raise_numbers(connection: Connection, url: DatabaseURL) -> None:
    """Raise the feed's numbers, over a connection in autocommit mode whose waits are bounded.

    Raises:
        StoreUnavailable: The database cannot be changed now.
    """
    # No standby need have it: whoever opens a store there raises them anew. And where it is away, the wait has no end.
    begin = "BEGIN; SET LOCAL synchronous_commit TO local;"
    try:
        _raise(connection, url.schema, begin=begin, end="COMMIT", undo="ROLLBACK")
    except (psycopg2.Error, sqlite3.Error) as error:
        raise store_error(error, url.path) from error


def raise_numbers_within(connection: Connection, schema: str | None) -> None:
    """Raise the feed's numbers within the transaction that is under way.

    Raises:
        psycopg2.Error: The database cannot be changed now.
        sqlite3.Error: The same.
    """
    undo = "ROLLBACK TO SAVEPOINT leadcrm_numbers"
    begin, end = "SAVEPOINT leadcrm_numbers;", "RELEASE SAVEPOINT leadcrm_numbers"
    _raise(connection, schema, begin=begin, end=end, undo=undo)


def _raise(connection: Connection, schema: str | None, *, begin: str, end: str, undo: str) -> None:
    if isinstance(connection, sqlite3.Connection):
        for sql in _RAISE_SQLITE:
            connection.execute(sql)
        return
    # The sequence is a part of its table, whose name needs no quotes.
    raise_them = _RAISE_POSTGRES.replace("{sequence}", f"{schema_prefix(schema)}leads_feed_seq_seq")
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"{begin}{raise_them}{end}")
        except psycopg2.errors.InsufficientPrivilege:
            # A role that may only keep leads leaves it to the owner, who migrates and restores.
            cursor.execute(undo)
