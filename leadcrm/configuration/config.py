"""The configuration, read once into one frozen `Config`.

A variable is declared where its field stands in `Config`, and nowhere else: the command line's flags and `load` follow
from there, and tests hold `.env.example` and the README's table to it. No other module reads the environment.

A flag takes precedence over the environment, then a systemd credential, then `.env` in the working directory, then the
default. An empty string counts as unset, because service managers pass unset variables on as empty ones. A secret never
stands in an error, in a `repr` or on the command line, where every user of the machine can read it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from dotenv.parser import parse_stream

from leadcrm.configuration import database_url, parsing
from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.configuration.parsing import Environment, Network, RateLimit, Status
from leadcrm.configuration.time_zone import TimeZone, time_zone
from leadcrm.errors import ConfigError

__all__ = ["VARIABLES", "Config", "Network", "RateLimit", "Variable", "load"]

MAX_COMMIT_TIMEOUT_S = 2.5
"""A lead is answered within 3 s, and the rest of that time is for the spool."""
MAX_WORKERS = 256
CONNECTIONS_OF_WORKER = 3
"""One for leads, or to look at a standby, and two for the CRM."""
CONNECTIONS_BESIDE = 2
"""One for the drain and one for an export."""
MAX_REQUEST_TIMEOUT_S = 600.0
MAX_SHUTDOWN_TIMEOUT_S = 3600.0
MAX_KEEP_ALIVE_TIMEOUT_S = 3600.0

_SIZES = "a number of bytes, or one with a unit such as 64MiB, 64MB or 64k"

_READ_ELSEWHERE = frozenset(("NODE_ENV", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"))
_CLOSE = 0.85
"""How much of a name is a variable's, where that may be meant: a letter too few or too many in a short one."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Variable:
    """One thing that can be set.

    Args:
        name: its name in the environment and in `.env`.
        default: the text people read. It is parsed unless `default_value` is given.
        help: what it is for, in a few words.
        accepted: the values it takes, as an error says them.
        parse: turns a text and the working directory into the value; raises `ValueError` with the fault.
        default_value: returns the value where none is set; for defaults that are no text, such as the host's name.
        secret: it may stand in a file or a systemd credential too, and no `repr` shows it.
        flag_names_file: its flag takes the path of a file and never the value.
    """

    name: str
    default: str
    help: str
    accepted: str
    parse: Callable[[str, Path], Any]
    default_value: Callable[[_Settings], Any] | None
    secret: bool
    flag_names_file: bool

    @property
    def file_name(self) -> str:
        """The variable that names a file with the value; only secrets have one."""
        return f"{self.name}_FILE"

    @property
    def flag_key(self) -> str:
        """The name under which `load` expects the flag's text."""
        return self.file_name if self.flag_names_file else self.name

    @property
    def flag(self) -> str:
        """The flag on the command line, such as --log-level or --admin-token-file."""
        return "--" + self.flag_key.lower().replace("_", "-")


def variable(
    name: str,
    *,
    default: str,
    help: str,
    accepted: str,
    parse: Callable[[str, Path], Value],
    default_value: Callable[[_Settings], Value] | None = None,
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


def _sqlite_in_data_dir(settings: _Settings) -> DatabaseURL:
    data_dir: Path = settings.value(_VARIABLES_BY_FIELD["data_dir"])
    return DatabaseURL(provider="sqlite", path=data_dir / "leadcrm.db")


def _node_env(settings: _Settings) -> Environment:
    """Read the original service's NODE_ENV; every value but `development` runs as production."""
    return "development" if settings.node_env() == "development" else "production"


def _state_directory(settings: _Settings) -> Path:
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
        parse=parsing.directory,
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
        accepted=f"more than 0 and at most {MAX_REQUEST_TIMEOUT_S:g} seconds",
        parse=parsing.seconds(MAX_REQUEST_TIMEOUT_S),
    )
    shutdown_timeout_s: float = variable(
        "SHUTDOWN_TIMEOUT",
        default="30",
        help="seconds to finish what is in flight",
        accepted=f"more than 0 and at most {MAX_SHUTDOWN_TIMEOUT_S:g} seconds",
        parse=parsing.seconds(MAX_SHUTDOWN_TIMEOUT_S),
    )
    keep_alive_timeout_s: float = variable(
        "KEEP_ALIVE_TIMEOUT",
        default="75",
        help="seconds that an idle connection stays open; more than the load balancer's",
        accepted=f"more than 0 and at most {MAX_KEEP_ALIVE_TIMEOUT_S:g} seconds",
        parse=parsing.seconds(MAX_KEEP_ALIVE_TIMEOUT_S),
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
        accepted=f"more than 0 and at most {MAX_COMMIT_TIMEOUT_S:g} seconds",
        parse=parsing.seconds(MAX_COMMIT_TIMEOUT_S),
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
        parse=parsing.directory,
        default_value=lambda _: None,
    )
    sinks_file: Path | None = variable(
        "SINKS_FILE",
        default="none",
        help="TOML that describes where leads are delivered",
        accepted="the path of a file",
        parse=parsing.directory,
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
    settings = _Settings(flags, environ, directory)
    values = {name: settings.value(variable) for name, variable in _VARIABLES_BY_FIELD.items()}
    values["standby"] = _of_same_tables(values["standby"], values["database"])
    config = Config(**values, sources=settings.sources, misspelt=settings.misspelt())
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


class _Settings:
    """The texts of all sources; a variable's value comes from the first source that has one."""

    def __init__(self, flags: Mapping[str, str | None], environ: Mapping[str, str], directory: Path) -> None:
        self.environ = environ
        self.directory = directory
        self.sources: dict[str, str] = {}
        self._credentials = environ.get("CREDENTIALS_DIRECTORY", "")
        self._texts: tuple[tuple[str, Mapping[str, str]], ...] = (
            ("flag", {name: text for name, text in flags.items() if text}),
            ("environment", {name: text for name, text in environ.items() if text}),
            (".env", _read_dotenv(directory / ".env")),
        )

    def value(self, variable: Variable) -> Any:
        """Return the value of a variable, and record its source."""
        found = self._find(variable)
        if found is None:
            self.sources[variable.name] = "default"
            if variable.default_value is not None:
                return variable.default_value(self)
            return variable.parse(variable.default, self.directory)
        text, source = found
        self.sources[variable.name] = source
        try:
            value = variable.parse(text, self.directory)
        except ValueError as error:
            raise ConfigError(variable.name, str(error), variable.accepted) from None
        if source == "flag" and isinstance(value, DatabaseURL) and value.has_password:
            raise ConfigError(
                variable.name,
                "the URL on the command line holds a password, which every user of this machine can read there",
                f"a URL without one; with one in the environment ({variable.name}) or a file ({variable.file_name})",
            )
        if isinstance(value, DatabaseURL) and source.startswith(("file ", "credential")):
            value = replace(value, reread=lambda: self.value(variable))
        return value

    def misspelt(self) -> dict[str, str]:
        """Return the names in `.env` that are nearly a variable's, with that variable.

        Other programs may have theirs in the same file, so that a name like none is nobody's mistake.
        """
        known = {variable.name for variable in VARIABLES} | {one.file_name for one in VARIABLES if one.secret}
        _, dotenv = self._texts[-1]
        strange = dotenv.keys() - known - _READ_ELSEWHERE
        return {name: meant for name in sorted(strange) if (meant := _closest(name, known))}

    def node_env(self) -> str:
        """Return the text of NODE_ENV, which has no flag; empty where it is unset."""
        return next((values["NODE_ENV"] for _, values in self._texts[1:] if "NODE_ENV" in values), "")

    def _find(self, variable: Variable) -> tuple[str, str] | None:
        """Return the text of a variable and its source, or None where it is unset."""
        for source, values in self._texts:
            text = values.get(variable.name)
            file = values.get(variable.file_name) if variable.secret else None
            if text and file:
                raise ConfigError(
                    variable.name,
                    f"is set twice, as {variable.name} and {variable.file_name}",
                    "one of the two",
                )
            if source == "flag" and text and variable.flag_key != variable.name:
                raise ConfigError(variable.name, "stands on the command line, where all can read it", variable.flag)
            if text:
                return text, source
            if file:
                path = self.directory / file
                return _read_secret(variable, path), f"file {path}"
            if source == "environment" and variable.secret and self._credentials:
                path = Path(self._credentials, variable.name)
                if not _is_absent(path):
                    return _read_secret(variable, path), "credential"
        return None


def _closest(name: str, known: set[str]) -> str | None:
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

    close = get_close_matches(name.upper().removeprefix("LEADCRM_"), known, n=1, cutoff=_CLOSE)
    return close[0] if close else None


def _is_absent(path: Path) -> bool:
    """Say whether a file surely does not exist; one out of reach must not count as unset."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _read_secret(variable: Variable, path: Path) -> str:
    """Read a secret's file, without the one line break that editors put at its end."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(variable.name, f"cannot be read from {path}: {reason}", "a readable text file") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        # An empty token would open the door it was meant to lock.
        raise ConfigError(variable.name, f"{path} is empty", "a file that holds the value alone")
    return text


def _read_dotenv(path: Path) -> dict[str, str]:
    """Read a `.env` file without expanding anything: a $ in a password is a $."""
    try:
        # Editors on Windows begin it with a byte order mark.
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(".env", f"cannot be read: {reason}", "a readable text file") from None
    for binding in bindings:
        if binding.error:
            # To skip the line could mean to keep leads in another database than the one it names.
            fault = f"line {binding.original.line} of {path} cannot be read"
            raise ConfigError(".env", fault, "lines of the form NAME=value")
    return {binding.key: binding.value for binding in bindings if binding.key and binding.value}
