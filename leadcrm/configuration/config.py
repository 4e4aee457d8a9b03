"""The configuration, read once into one frozen `Config`.

A variable is declared where its field stands in `Config`, and nowhere else: the command line's flags and `load` follow
from there, and tests hold `.env.example` and the README's table to it. No other room reads the environment.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from leadcrm.configuration import database_url, parsing
from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.configuration.parsing import Environment, Network, RateLimit, Status
from leadcrm.configuration.settings import Settings, Variable
from leadcrm.configuration.time_zone import TimeZone, time_zone
from leadcrm.errors import ConfigError

__all__ = ["VARIABLES", "Config", "RateLimit", "load"]

MIN_COMMIT_TIMEOUT_S = 0.1
"""A sound database takes tens of milliseconds now and then. With less time all leads would go to the spool."""
MAX_COMMIT_TIMEOUT_S = 2.5
"""A lead is answered within 3 s, and the rest of that time is for the spool."""
MAX_WORKERS = 256
MIN_TIMEOUT_S = 0.01
CONNECTIONS_OF_WORKER = 3
"""One for leads, or to look at a standby, and two for the CRM."""
CONNECTIONS_BESIDE = 2
"""One for the drain and one for an export."""
MAX_REQUEST_TIMEOUT_S = 600.0
MAX_SHUTDOWN_TIMEOUT_S = 3600.0
MAX_KEEP_ALIVE_TIMEOUT_S = 3600.0

_SIZES = "a number of bytes, or one with a unit such as 64MiB, 64MB or 64k"

Value = TypeVar("Value")


def variable(
    name: str,
    *,
    default: str,
    help: str,
    accepted: str,
    parse: Callable[[str, Path], Value],
    default_value: Callable[[Settings], Value] | None = None,
    secret: bool = False,
    flag_names_file: bool = False,
) -> Value:
    """Declare a field of `Config` by its variable; for the type checker the field is what `parse` returns."""
    declared = Variable(name, default, help, accepted, parse, default_value, secret, flag_names_file)
    declaration: Value = field(repr=not secret, metadata={"variable": declared})
    return declaration


def _token_variable(name: str, help: str) -> Any:
    return variable(
        name,
        default="none",
        help=help,
        accepted="visible ASCII characters without blanks",
        parse=parsing.token,
        default_value=lambda _: None,
        secret=True,
        flag_names_file=True,
    )


def _sqlite_in_data_dir(settings: Settings) -> DatabaseURL:
    if settings.is_empty("DATABASE_URL"):
        # A lost secret would let leads go to another database, and nobody would notice.
        fault = "is set, but empty"
        raise ConfigError("DATABASE_URL", fault, f"{database_url.ACCEPTED}; not set at all, leads are kept in DATA_DIR")
    data_dir: Path = settings.value(_VARIABLES_BY_FIELD["data_dir"])
    return database_url.sqlite_file(data_dir / "leadcrm.db")


def _node_env(settings: Settings) -> Environment:
    """Read the original service's NODE_ENV; every value but `development` runs as production."""
    return "development" if settings.node_env() == "development" else "production"


def _state_directory(settings: Settings) -> Path:
    # systemd gives a colon-separated list when a unit has several StateDirectory= entries.
    state_directory = settings.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    default = _VARIABLES_BY_FIELD["data_dir"].default
    return Path(os.path.abspath(settings.directory / (state_directory or default)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting, checked, in the order of the documentation."""

    database: DatabaseURL = variable(
        "DATABASE_URL",
        default="SQLite file in DATA_DIR",
        help="where leads are kept",
        accepted=database_url.ACCEPTED,
        parse=parsing.database,
        default_value=_sqlite_in_data_dir,
        secret=True,
    )
    standby: DatabaseURL | None = variable(
        "DATABASE_READ_URL",
        default="none",
        help="a standby of PostgreSQL for what the CRM reads",
        accepted=database_url.ACCEPTED_STANDBY,
        parse=parsing.standby,
        default_value=lambda _: None,
        secret=True,
    )
    host: str = variable(
        "HOST",
        default="0.0.0.0",  # noqa: S104
        help="address to listen on",
        accepted="an IP address or a name",
        parse=parsing.host,
    )
    port: int = variable(
        "PORT",
        default="3000",
        help="port to listen on",
        accepted="0 to 65535, 0 for any free one",
        parse=parsing.whole_number(0, 65535),
    )
    environment: Environment = variable(
        "LEADCRM_ENV",
        default="production",
        help="development: readable logs and auto-reload; NODE_ENV is read if this is unset",
        accepted="production or development",
        parse=parsing.environment,
        default_value=_node_env,
    )
    log_level: str = variable(
        "LOG_LEVEL",
        default="info",
        help="the least level that is logged",
        accepted="trace, debug, info, warn, error or fatal",
        parse=parsing.choice("trace", "debug", "info", "warn", "error", "fatal"),
    )
    data_dir: Path = variable(
        "DATA_DIR",
        default="./data",
        help="SQLite file and spool; $STATE_DIRECTORY where systemd gives one",
        accepted="a directory",
        parse=parsing.path,
        default_value=_state_directory,
    )
    workers: int = variable(
        "WORKERS",
        default="1",
        help="processes on one socket",
        accepted=f"1 to {MAX_WORKERS}",
        parse=parsing.whole_number(1, MAX_WORKERS),
    )
    max_body_bytes: int = variable(
        "MAX_BODY_BYTES", default="1048576", help="largest body that is read", accepted=_SIZES, parse=parsing.size(1)
    )
    cors_origins: tuple[str, ...] = variable(
        "CORS_ORIGINS",
        default="*",
        help="origins that may send leads from a browser, comma-separated",
        accepted="* or origins such as https://example.com, comma-separated",
        parse=parsing.origins,
    )
    request_timeout_s: float = variable(
        "REQUEST_TIMEOUT",
        default="20",
        help="seconds for the head of a request and for its body; again, for one that brings 500 bytes a second",
        accepted=f"{MIN_TIMEOUT_S:g} to {MAX_REQUEST_TIMEOUT_S:g} seconds",
        parse=parsing.seconds(MIN_TIMEOUT_S, MAX_REQUEST_TIMEOUT_S),
    )
    shutdown_timeout_s: float = variable(
        "SHUTDOWN_TIMEOUT",
        default="30",
        help="seconds to finish what is in flight",
        accepted=f"{MIN_TIMEOUT_S:g} to {MAX_SHUTDOWN_TIMEOUT_S:g} seconds",
        parse=parsing.seconds(MIN_TIMEOUT_S, MAX_SHUTDOWN_TIMEOUT_S),
    )
    keep_alive_timeout_s: float = variable(
        "KEEP_ALIVE_TIMEOUT",
        default="75",
        help="seconds that an idle connection stays open; more than the load balancer's",
        accepted=f"{MIN_TIMEOUT_S:g} to {MAX_KEEP_ALIVE_TIMEOUT_S:g} seconds",
        parse=parsing.seconds(MIN_TIMEOUT_S, MAX_KEEP_ALIVE_TIMEOUT_S),
    )
    min_free_bytes: int = variable(
        "MIN_FREE_BYTES",
        default="67108864",
        help="disk headroom under which leads get 503 before anything fails",
        accepted=_SIZES,
        parse=parsing.size(0),
    )
    rate_limit: RateLimit | None = variable(
        "RATE_LIMIT",
        default="none",
        help="requests per client address",
        accepted="a number per s, m or h, such as 600/m",
        parse=parsing.rate_limit,
        default_value=lambda _: None,
    )
    trusted_proxies: tuple[Network, ...] = variable(
        "TRUSTED_PROXIES",
        default="none",
        help="networks whose X-Forwarded-For or Forwarded is believed, comma-separated",
        accepted="networks such as 10.0.0.0/8 or single addresses, comma-separated",
        parse=parsing.networks,
        default_value=lambda _: (),
    )
    proxy_protocol: bool = variable(
        "PROXY_PROTOCOL",
        default="off",
        help="take the PROXY protocol's header from TRUSTED_PROXIES, versions 1 and 2",
        accepted="on or off",
        parse=parsing.switch,
    )
    ingest_token: str | None = _token_variable("INGEST_TOKEN", "if set, POST /api/lead needs it as bearer token")
    admin_token: str | None = _token_variable("ADMIN_TOKEN", "opens the CRM API and the studio")
    metrics_token: str | None = _token_variable(
        "METRICS_TOKEN", "if set, /metrics and the parts of /ready need it as bearer token"
    )
    statuses: tuple[Status, ...] = variable(
        "STATUSES",
        default="new:open:blue, called, no answer:open:amber, won:won, lost:lost",
        help="statuses that people choose from, in order, each with meaning and colour",
        accepted="name, name:meaning or name:meaning:colour, comma-separated, with new among them; the meanings are "
        "open, won and lost, the colours grey, blue, green, amber and red",
        parse=parsing.statuses,
    )
    time_zone: TimeZone | None = variable(
        "TIME_ZONE",
        default="none",
        help="time zone of days and of the times that people read; without it UTC, in the studio the browser's",
        accepted="a name such as Europe/Riga, or an offset such as +02:00",
        parse=time_zone,
        default_value=lambda _: None,
    )
    spool: bool = variable(
        "SPOOL",
        default="on",
        help="keep leads on local disk while the database is away",
        accepted="on or off",
        parse=parsing.switch,
    )
    require_sync: bool = variable(
        "REQUIRE_SYNC",
        default="off",
        help="on: without a synchronous standby leads go to the spool, not to the one disk of PostgreSQL",
        accepted="on or off",
        parse=parsing.switch,
    )
    node_name: str = variable(
        "NODE_NAME",
        default="host name",
        help="this node's name in stored rows",
        accepted="letters, digits, dots, _ and -, at most 253",
        parse=parsing.node_name,
        default_value=lambda _: socket.gethostname() or "localhost",
    )
    commit_timeout_s: float = variable(
        "COMMIT_TIMEOUT",
        default="1.5",
        help="seconds a database has to commit before the spool takes the leads",
        accepted=f"{MIN_COMMIT_TIMEOUT_S:g} to {MAX_COMMIT_TIMEOUT_S:g} seconds",
        parse=parsing.seconds(MIN_COMMIT_TIMEOUT_S, MAX_COMMIT_TIMEOUT_S),
    )
    queue_bytes: int = variable(
        "QUEUE_BYTES",
        default="67108864",
        help="memory for leads that wait to be written, in each worker",
        accepted=_SIZES,
        parse=parsing.size(1),
    )
    spool_bytes: int = variable(
        "SPOOL_BYTES", default="1073741824", help="largest size of the spool", accepted=_SIZES, parse=parsing.size(1)
    )
    sources_file: Path | None = variable(
        "SOURCES_FILE",
        default="none",
        help="TOML that describes the sources behind /in/NAME",
        accepted="the path of a file",
        parse=parsing.path,
        default_value=lambda _: None,
    )
    sinks_file: Path | None = variable(
        "SINKS_FILE",
        default="none",
        help="TOML that describes where leads are delivered",
        accepted="the path of a file",
        parse=parsing.path,
        default_value=lambda _: None,
    )
    feed_days: int = variable(
        "FEED_DAYS",
        default="30",
        help="days for which the feed keeps its events",
        accepted="1 to 3650",
        parse=parsing.whole_number(1, 3650),
    )
    audit_days: int = variable(
        "AUDIT_DAYS",
        default="365",
        help="days for which the audit trail keeps its entries",
        accepted="1 to 3650",
        parse=parsing.whole_number(1, 3650),
    )
    sources: Mapping[str, str]
    """Where each variable's value came from: `flag`, `environment`, `.env`, `file PATH`, `credential` or `default`."""
    misspelt: Mapping[str, str]
    """The names in `.env` that are no variable but nearly one, with the variable that may be meant."""

    @property
    def uses_data_dir(self) -> bool:
        """Whether leads may lie in `DATA_DIR`: in the spool or an embedded database. Else it need not be there."""
        return self.spool or self.database.path is not None

    @property
    def connection_limit(self) -> int:
        """How many connections to PostgreSQL all workers together hold at most."""
        return self.database.connection_limit or self._usual_connections

    @property
    def standby_connection_limit(self) -> int:
        """How many connections to the standby all workers together hold at most."""
        return (self.standby and self.standby.connection_limit) or self._usual_connections

    @property
    def _usual_connections(self) -> int:
        return CONNECTIONS_OF_WORKER * self.workers + CONNECTIONS_BESIDE


_VARIABLES_BY_FIELD: Mapping[str, Variable] = {
    declared.name: declared.metadata["variable"] for declared in fields(Config) if "variable" in declared.metadata
}
VARIABLES: tuple[Variable, ...] = tuple(_VARIABLES_BY_FIELD.values())
"""Everything that can be set, in the order of the documentation."""


def load(flags: Mapping[str, str | None], environ: Mapping[str, str], directory: Path) -> Config:
    """Read the configuration.

    Args:
        flags: the flags' texts, by `Variable.flag_key`; None where a flag was not given.
        environ: the environment.
        directory: the working directory, where `.env` is looked for and relative paths start.

    Raises:
        ConfigError: a value cannot be used.
    """
    settings = Settings(flags, environ, directory)
    values = {name: settings.value(variable) for name, variable in _VARIABLES_BY_FIELD.items()}
    values["standby"] = _of_same_tables(values["standby"], values["database"])
    config = Config(**values, sources=settings.sources, misspelt=settings.misspelt(VARIABLES))
    if config.queue_bytes < config.max_body_bytes:
        fault = f"{config.queue_bytes} is less than MAX_BODY_BYTES, so the largest body could never wait its turn"
        raise ConfigError("QUEUE_BYTES", fault, f"at least {config.max_body_bytes}")
    if config.connection_limit <= config.workers:
        fault = f"connection_limit={config.connection_limit} is too few: each worker takes leads on one of its own"
        raise ConfigError("DATABASE_URL", fault, f"connection_limit={config.workers + 1} or more, or none")
    if config.standby_connection_limit <= config.workers:
        fault = f"connection_limit={config.standby_connection_limit} is too few: each worker looks at it on one"
        raise ConfigError("DATABASE_READ_URL", fault, f"connection_limit={config.workers + 1} or more, or none")
    if config.require_sync and config.database.path is not None:
        raise ConfigError("REQUIRE_SYNC", "is on, but SQLite has no standby", "off, or DATABASE_URL of PostgreSQL")
    if config.proxy_protocol and not config.trusted_proxies:
        raise ConfigError("PROXY_PROTOCOL", "is on, but nobody is trusted", "off, or TRUSTED_PROXIES with the proxies")
    return config


def _of_same_tables(standby: DatabaseURL | None, database: DatabaseURL) -> DatabaseURL | None:
    """Return the URL of a standby with the schema of its primary."""
    if standby is None:
        return None
    if database.path is not None:
        raise ConfigError("DATABASE_READ_URL", "is set, but leads are kept in SQLite", "none, or DATABASE_URL too")
    if standby.schema not in (None, database.schema):
        raise ConfigError("DATABASE_READ_URL", "names another schema than DATABASE_URL", "the same schema, or none")
    reread = standby.reread
    return replace(
        standby,
        schema=database.schema,
        reread=None if reread is None else lambda: replace(reread(), schema=database.schema),
    )
