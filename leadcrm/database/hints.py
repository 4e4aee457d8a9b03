"""The operator's next step for each condition that PostgreSQL, pgbouncer or libpq names."""

from __future__ import annotations

import re

_PGBOUNCER = "add pgbouncer=true to DATABASE_URL"
_PASSWORD = "correct the password in DATABASE_URL, percent-encoded, or the role's: ALTER ROLE … PASSWORD …"  # noqa: S105
_HOST_RULES = "let the role in from this host: pg_hba.conf of the server, then SELECT pg_reload_conf()"
_NO_DATABASE = "create it with `createdb`, or correct its name in DATABASE_URL"
_CONNECTIONS = "end idle connections, or raise max_connections or the CONNECTION LIMIT of the role or database"
_READ_ONLY = "name all hosts of the cluster in DATABASE_URL: the one that takes writes is used"
_NO_ROLE = "CREATE ROLE … LOGIN, or correct the user in DATABASE_URL"
_AUTHORITY = "sslrootcert=FILE in DATABASE_URL names the certificate of the authority"
_COMES_BACK = "wait until it has started: leadcrm connects again by itself"
_BUSY = "pg_stat_activity and pg_locks name the sessions that hold it up"
_SCHEMA = "`leadcrm migrate status` compares the schema with this program's"

_BY_SQLSTATE = {
    "25006": _READ_ONLY,
    "26000": _PGBOUNCER,
    "28000": _HOST_RULES,
    "28P01": _PASSWORD,
    "3D000": _NO_DATABASE,
    "3F000": "create the schema, or name one that is there: ?schema=NAME in DATABASE_URL",
    "40001": "a standby ended a reading that was in the way of what it replays: hot_standby_feedback = on",
    "42501": "GRANT it to the role: CREATE ON SCHEMA to migrate; SELECT, INSERT, UPDATE, DELETE ON its tables to serve",
    "42703": _SCHEMA,
    "42P01": _SCHEMA,
    "42P05": _PGBOUNCER,
    "53100": "make room on the database's disk",
    "53200": "give the database more memory, or let it use less: shared_buffers, work_mem, max_connections",
    "53300": _CONNECTIONS,
    "55P03": _BUSY,
    "57014": _BUSY,
    "57P01": _COMES_BACK,
    "57P02": _COMES_BACK,
    "57P03": _COMES_BACK,
    "58030": "look at the kernel's log of the database's host for its disk's errors",
    "XX001": "the database is damaged: keep a copy of its files, then restore a backup",
    "XX002": "an index is damaged: REINDEX DATABASE, then `leadcrm verify`",
}

# A connection that is refused tells no SQLSTATE to psycopg2, only a sentence.
_BY_SENTENCE = (
    (re.compile("unsupported startup parameter"), _PGBOUNCER),
    (re.compile("password authentication failed|no password supplied"), _PASSWORD),
    (re.compile(r"pg_hba\.conf"), _HOST_RULES),
    (re.compile("too many (clients|connections)|connection slots|no more connections allowed"), _CONNECTIONS),
    (re.compile('database "?.*"? does not exist|no such database'), _NO_DATABASE),
    (
        re.compile('role "?.*"? (does not exist|is not permitted to log in)'),
        "CREATE ROLE … LOGIN, or correct DATABASE_URL",
    ),
    (
        re.compile("root certificate|certificate verify failed"),
        _AUTHORITY,
    ),
    (re.compile("does not support SSL"), "switch TLS on in the server (ssl = on), or correct sslmode in DATABASE_URL"),
    (re.compile("is starting up|is shutting down|in recovery mode|not (yet )?accepting connections"), _COMES_BACK),
    (re.compile("session is (not )?read-only|in hot standby"), _READ_ONLY),
)


def hint_for(sqlstate: str | None, message: str) -> str:
    """Return the next step for a condition of the server, empty where none is known.

    Args:
        sqlstate: None where the driver got none.
        message: The driver's text, which is only searched.
    """
    if sqlstate is not None:
        return _BY_SQLSTATE.get(sqlstate, "")
    return next((hint for pattern, hint in _BY_SENTENCE if pattern.search(message)), "")
