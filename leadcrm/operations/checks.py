"""The checks of `leadcrm check`: everything that a configuration needs so that a lead can be kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import psycopg2

from leadcrm.configuration.config import VARIABLES, Config
from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.configuration.tokens import HOW_TO_MAKE, weaknesses
from leadcrm.database.connections import Connection, open_connection
from leadcrm.database.data_dir import make_data_dir
from leadcrm.database.file_check import require_whole
from leadcrm.database.hints import hint_for
from leadcrm.database.migrations import KEY_INDEX, SchemaConnection, made_at, require_current
from leadcrm.database.overwritten import describe_overwriting
from leadcrm.database.postgres import COMPLETE_ENCODINGS, PostgresConnection, server_encoding
from leadcrm.database.sqlite import free_bytes, may_create_files
from leadcrm.database.used_databases import describe_change, describe_change_to, what_to_do
from leadcrm.errors import LeadcrmError, SourcesFault, StoreDamaged, StoreUnavailable
from leadcrm.ingest.driving import block
from leadcrm.ingest.opening import open_spool, open_store
from leadcrm.ingest.store.postgres import STANDING_SQL
from leadcrm.sources.catalogue import read_catalogue

TIMEOUT_S = 5.0

MAX_FILE_CHECK_S = 10.0
"""How long the embedded database's file is looked through: a gigabyte takes some seconds."""

LEVELS = {
    "local": "commits do not wait for the standby",
    "remote_write": "the standby may have it in memory alone, and lose it in a power cut",
}
"""What these values of `synchronous_commit` mean beside a synchronous standby."""

MAX_CLOCK_SKEW_S = 60.0
"""Ids and times come from the node's clock: beyond a minute, the nodes of one database mix up the order of leads."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of one variable, redacted, and the source that set it."""

    variable: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check, and what to do where it failed.

    Attributes:
        is_warning: Nothing prevents that leads are kept, but the operator should know.
    """

    name: str
    ok: bool
    text: str
    hint: str = ""
    is_warning: bool = False


def list_settings(config: Config) -> list[Setting]:
    """Return the value of every variable."""
    texts = {
        "DATABASE_URL": config.database.redacted,
        "DATABASE_READ_URL": config.standby.redacted if config.standby else "none",
        "LEADCRM_ENV": config.environment,
        "CORS_ORIGINS": ",".join(config.cors_origins),
        "TRUSTED_PROXIES": ",".join(map(str, config.trusted_proxies)) or "none",
        "SHUTDOWN_TIMEOUT": f"{config.shutdown_timeout_s:g}",
        "KEEP_ALIVE_TIMEOUT": f"{config.keep_alive_timeout_s:g}",
        "COMMIT_TIMEOUT": f"{config.commit_timeout_s:g}",
        "REQUEST_TIMEOUT": f"{config.request_timeout_s:g}",
        "RATE_LIMIT": (
            f"{config.rate_limit.requests} in {config.rate_limit.per_s:g} s" if config.rate_limit else "none"
        ),
        "INGEST_TOKEN": "set" if config.ingest_token else "none",
        "ADMIN_TOKEN": "set" if config.admin_token else "none",
        "PROXY_PROTOCOL": "on" if config.proxy_protocol else "off",
        "METRICS_TOKEN": "set" if config.metrics_token else "none",
        "SPOOL": "on" if config.spool else "off",
        "STATUSES": ",".join(f"{one.name}:{one.meaning}:{one.colour}" for one in config.statuses),
        "TIME_ZONE": config.time_zone.name if config.time_zone else "none",
        "SOURCES_FILE": str(config.sources_file or "none"),
        "SINKS_FILE": str(config.sinks_file or "none"),
        "REQUIRE_SYNC": "on" if config.require_sync else "off",
    }
    return [
        Setting(
            variable.name,
            texts[variable.name] if variable.name in texts else str(getattr(config, variable.name.lower())),
            config.sources[variable.name],
        )
        for variable in VARIABLES
    ]


def run_checks(config: Config) -> Iterator[Check]:
    """Run the checks one after the other."""
    for name, meant in config.misspelt.items():
        yield Check("variables", False, f"{name} in .env is no variable and sets nothing", f"did you mean {meant}?")
    if config.uses_data_dir:
        yield _run("data folder", lambda: _check_data_dir(config))
    try:
        connection = open_connection(config.database, timeout_s=TIMEOUT_S)
    except (LeadcrmError, OSError) as error:
        text, hint = _told(error)
        yield Check("database", False, text, hint or "start it, or mend DATABASE_URL")
        yield from _check_same_database(config, None)
    else:
        try:
            yield Check("database", True, f"{config.database.redacted} answers")
            yield from _check_same_database(config, connection)
            yield _run("schema", lambda: _check_schema(connection, config))
            yield _run("database write", lambda: _check_write(connection, config))
            if isinstance(connection, sqlite3.Connection):
                assert config.database.path is not None
                yield _run("database file", partial(_check_file, connection, config.database.path))
            else:
                yield _run("encoding", lambda: _check_encoding(connection))
                yield from _check_durability(connection)
                yield _run("clock", lambda: _check_clock(connection))
            yield _run("replication", lambda: _check_replication(connection, config))
            yield from _check_days(connection, config)
        finally:
            connection.close()
    if config.standby is not None:
        yield _run("standby", partial(_check_standby, config.standby))
    yield _run("spool", lambda: _check_spool(config))
    if config.sources_file is not None:
        yield from _check_sources(config.sources_file)
    yield _run("disk", lambda: _check_disk(config))
    if weak := "; ".join(weaknesses(config)):
        yield Check("tokens", True, weak, HOW_TO_MAKE, is_warning=True)


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except (LeadcrmError, OSError) as error:
        return Check(name, False, *_told(error))


def _told(error: LeadcrmError | OSError) -> tuple[str, str]:
    """Return what is said of an error, and what to do."""
    if isinstance(error, LeadcrmError):
        return str(error), error.hint
    return f"{error.filename}: {error.strerror}", ""


def _check_data_dir(config: Config) -> str:
    make_data_dir(config.data_dir)
    return f"{config.data_dir} is writable"


def _check_same_database(config: Config, connection: Connection | None) -> Iterator[Check]:
    """Fail where former leads lie in another database than a server with this configuration would use."""
    if not config.uses_data_dir:
        return
    folder, url = config.data_dir, config.database
    try:
        if connection is not None:
            change = describe_change_to(folder, url.place, made_at(connection, url))
        elif url.path is not None and not url.path.exists():
            change = describe_change_to(folder, url.place, "")
        else:
            change = describe_change(folder)
    except LeadcrmError:
        # Another check tells of it.
        return
    if change is not None:
        yield Check("former leads", False, change, what_to_do(folder))


def _check_schema(connection: Connection, config: Config) -> str:
    version = require_current(connection, config.database)
    if not SchemaConnection(connection, config.database.schema).has_key_index():
        raise StoreUnavailable(
            f"the index {KEY_INDEX} is gone: a repeated Idempotency-Key makes another lead",
            hint="`leadcrm verify` names the keys with several leads; create the index as migration 1 does",
        )
    return f"version {version}"


def _check_write(connection: Connection, config: Config) -> str:
    if isinstance(connection, sqlite3.Connection):
        SchemaConnection(connection, None).rewrite()
        return "a commit was synced"
    # What a lead needs: a role may lack the right to change anything else.
    store = open_store(config)
    try:
        block(store.prove())
    finally:
        store.close()
    return "a commit was synced"


def _check_file(connection: sqlite3.Connection, path: Path) -> str:
    is_all = require_whole(connection, path, timeout_s=MAX_FILE_CHECK_S)
    if overwriting := describe_overwriting(path):
        raise StoreDamaged(overwriting, hint="replace a database with `leadcrm restore` alone")
    return "no damage found" if is_all else f"no damage found within {MAX_FILE_CHECK_S:g} s: `leadcrm verify` reads all"


def _check_encoding(connection: PostgresConnection) -> str:
    encoding = server_encoding(connection)
    if encoding not in COMPLETE_ENCODINGS:
        raise StoreUnavailable(
            f"{encoding}: leads with letters that it lacks are kept as failed",
            hint="make the database anew with ENCODING 'UTF8', by pg_dump and pg_restore",
        )
    return encoding


def _check_durability(connection: PostgresConnection) -> Iterator[Check]:
    execute = SchemaConnection(connection, None).execute
    for setting, todo in (
        ("fsync", "ALTER SYSTEM SET fsync = on, then restart PostgreSQL: without it a power cut takes the database"),
        ("full_page_writes", "ALTER SYSTEM SET full_page_writes = on, unless its disk writes pages whole"),
        ("synchronous_commit", "ALTER ROLE … SET synchronous_commit = on"),
    ):
        value = execute(f"SHOW {setting}")[0][0]
        yield Check(setting, value != "off", str(value), todo)


def _check_replication(connection: Connection, config: Config) -> str:
    """Say what an acknowledged lead survives."""
    if isinstance(connection, sqlite3.Connection):
        return "an acknowledged lead is on one disk, this machine's: it survives a crash, not the loss of the disk"
    execute = SchemaConnection(connection, None).execute
    if execute("SELECT pg_is_in_recovery()")[0][0]:
        raise StoreUnavailable("the server is a standby: leads wait in the spool", hint=hint_for("25006", ""))
    ((awaits_standby, is_followed),) = execute(STANDING_SQL)
    ((level, names),) = execute(
        "SELECT current_setting('synchronous_commit'), current_setting('synchronous_standby_names')"
    )
    if config.require_sync and names:
        level, awaits_standby = "on", True  # as the leads' connections set it
    note = f"; synchronous_commit={level}: {LEVELS[level]}" if names and level in LEVELS else ""
    if awaits_standby:
        return f"an acknowledged lead is on two machines: it survives the loss of either{note}"
    if is_followed:
        return (
            f"an acknowledged lead is on one disk, and the last ones are lost with it: the standby follows later{note}"
        )
    return f"an acknowledged lead is on one disk, PostgreSQL's: it survives a crash, not the loss of the disk{note}"


def _check_days(connection: Connection, config: Config) -> Iterator[Check]:
    """Warn of past days whose leads could not be counted ahead."""
    database = SchemaConnection(connection, config.database.schema)
    try:
        faults = database.execute(f"SELECT day, error FROM {database.prefix}leads_days_faults ORDER BY day DESC")  # noqa: S608 - a name of ours
    except (sqlite3.Error, psycopg2.Error):
        # The schema is older, of which another check tells, or the role may only keep leads.
        return
    if faults:
        day, error = faults[0]
        others = f" and {len(faults) - 1} other days" if len(faults) > 1 else ""
        text = f"the leads of {day}{others} cannot be counted ahead, and statistics wait for them: {error}"
        todo = "mend that, or relieve the database: the server tries again every hour"
        yield Check("counted days", True, text, todo, is_warning=True)


def _check_standby(url: DatabaseURL) -> str:
    connection = open_connection(url, timeout_s=TIMEOUT_S)
    try:
        execute = SchemaConnection(connection, None).execute
        if not execute("SELECT pg_is_in_recovery()")[0][0]:
            raise StoreUnavailable("it is a primary: reads go to DATABASE_URL", hint="name a standby, or none")
        ((received, replayed),) = execute("SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()")
    finally:
        connection.close()
    waiting = "" if received == replayed else f", of which it has replayed up to {replayed}"
    return f"{url.redacted} answers; it has received the primary's log up to {received}{waiting}"


def _check_clock(connection: PostgresConnection) -> str:
    execute = SchemaConnection(connection, None).execute
    database_time = float(execute("SELECT extract(epoch FROM clock_timestamp())")[0][0])
    skew_s = datetime.now(timezone.utc).timestamp() - database_time
    if abs(skew_s) > MAX_CLOCK_SKEW_S:
        raise StoreUnavailable(
            f"this host's clock and the database's differ by {skew_s:.0f} s", hint="let both follow an NTP server"
        )
    return f"{skew_s:+.1f} s from the database's"


def _check_spool(config: Config) -> str:
    spool = open_spool(config)
    if spool is None:
        return "off: leads are refused while the database is away"
    try:
        spool.prove_write()
        status = spool.status()
    finally:
        spool.close()
    if status.refused:
        raise StoreUnavailable(
            f"the database refuses {status.refused} of {status.depth} rows that wait: {status.refusal}",
            hint="mend the database, then `leadcrm spool drain`",
        )
    return f"a commit was synced; {status.depth} rows wait"


def _check_sources(path: Path) -> Iterator[Check]:
    try:
        sources = read_catalogue(path.absolute()).sources.values()
    except SourcesFault as fault:
        yield Check("sources", False, str(fault), "leadcrm sources check")
        return
    yield Check("sources", True, f"{len(sources)} sources can be used")
    if names := ", ".join(source.name for source in sources if not source.proof.secrets):
        todo = "give each a secret, or a secret_file"
        yield Check("sources", True, f"anybody can send leads to {names}", todo, is_warning=True)


def _check_disk(config: Config) -> str:
    if not config.uses_data_dir:
        return "no lead is kept on it"
    free = free_bytes(config.data_dir)
    if free < config.min_free_bytes:
        raise StoreUnavailable(
            f"{free} bytes free, fewer than MIN_FREE_BYTES ({config.min_free_bytes})", hint="make room on the disk"
        )
    if not may_create_files(config.data_dir):
        raise StoreUnavailable(
            f"{free // 1_000_000} MB free, but no inodes: no file can be created there",
            hint="delete files on that disk: `df -i`",
        )
    return f"{free // 1_000_000} MB free"
