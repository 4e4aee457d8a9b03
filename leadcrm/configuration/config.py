"""The configuration: what is set where, read once into one frozen `Config`.

`VARIABLES` is the single list of what can be set: the command line's flags, `.env.example`, the README's
table and `load` all follow it. No other module reads the environment.

A flag counts over the environment, that over a systemd credential, that over `.env` in the working directory,
and all over the default. An empty string counts as unset: service managers pass unset variables on as such.
A secret never stands in an error, in a `repr` or on the command line, where every user of the machine reads
it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from dotenv.parser import parse_stream

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.configuration.variables import (
    ADMIN_TOKEN,
    COMMIT_TIMEOUT,
    CORS_ORIGINS,
    DATA_DIR,
    DATABASE_URL,
    HOST,
    INGEST_TOKEN,
    LEADCRM_ENV,
    LOG_LEVEL,
    MAX_BODY_BYTES,
    MIN_FREE_BYTES,
    NODE_NAME,
    PORT,
    QUEUE_BYTES,
    RATE_LIMIT,
    SHUTDOWN_TIMEOUT,
    SPOOL,
    SPOOL_BYTES,
    TRUSTED_PROXIES,
    VARIABLES,
    WORKERS,
    Network,
    RateLimit,
    Variable,
)
from leadcrm.errors import ConfigError

__all__ = ["VARIABLES", "Config", "Network", "RateLimit", "Variable", "load"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything leadcrm was told, checked.

    `sources` says where each variable's value came from, by the variable's name: `flag`, `environment`,
    `.env`,
    `file PATH`, `credential` or `default`.
    """

    database: DatabaseURL
    host: str
    port: int
    environment: Literal["production", "development"]
    log_level: str
    data_dir: Path
    workers: int
    max_body_bytes: int
    cors_origins: tuple[str, ...]
    shutdown_timeout_s: float
    min_free_bytes: int
    rate_limit: RateLimit | None
    trusted_proxies: tuple[Network, ...]
    ingest_token: str | None = field(repr=False)
    admin_token: str | None = field(repr=False)
    spool: bool
    node_name: str
    commit_timeout_s: float
    queue_bytes: int
    spool_bytes: int
    sources: Mapping[str, str]


def load(flags: Mapping[str, str | None], environ: Mapping[str, str], directory: Path) -> Config:
    """Read the configuration.

    Args:
        flags: what the command line said, by `Variable.flag_key`; None where a flag was not given.
        environ: the environment.
        directory: the working directory: where `.env` is looked for and relative paths start.

    Raises:
        ConfigError: a value cannot be used.
    """
    reader = _Reader(flags, environ, directory)
    data_dir = reader.value(DATA_DIR, _default_data_dir(environ, directory))
    config = Config(
        database=reader.value(DATABASE_URL, DatabaseURL(provider="sqlite", path=data_dir / "leadcrm.db")),
        host=reader.value(HOST),
        port=reader.value(PORT),
        environment=reader.value(LEADCRM_ENV, reader.environment_of_node()),
        log_level=reader.value(LOG_LEVEL),
        data_dir=data_dir,
        workers=reader.value(WORKERS),
        max_body_bytes=reader.value(MAX_BODY_BYTES),
        cors_origins=reader.value(CORS_ORIGINS),
        shutdown_timeout_s=reader.value(SHUTDOWN_TIMEOUT),
        min_free_bytes=reader.value(MIN_FREE_BYTES),
        rate_limit=reader.value(RATE_LIMIT, None),
        trusted_proxies=reader.value(TRUSTED_PROXIES, ()),
        ingest_token=reader.value(INGEST_TOKEN, None),
        admin_token=reader.value(ADMIN_TOKEN, None),
        spool=reader.value(SPOOL),
        node_name=reader.value(NODE_NAME, socket.gethostname() or "localhost"),
        commit_timeout_s=reader.value(COMMIT_TIMEOUT),
        queue_bytes=reader.value(QUEUE_BYTES),
        spool_bytes=reader.value(SPOOL_BYTES),
        sources=reader.sources,
    )
    if config.queue_bytes < config.max_body_bytes:
        fault = f"{config.queue_bytes} is less than MAX_BODY_BYTES, so the largest body could never wait its turn"
        raise ConfigError(QUEUE_BYTES.name, fault, f"at least {config.max_body_bytes}")
    return config


class _Reader:
    """Finds each variable's text in the first source that has one."""

    def __init__(self, flags: Mapping[str, str | None], environ: Mapping[str, str], directory: Path) -> None:
        self._directory = directory
        self._credentials = environ.get("CREDENTIALS_DIRECTORY", "")
        self._sources: tuple[tuple[str, Mapping[str, str]], ...] = (
            ("flag", {name: text for name, text in flags.items() if text}),
            ("environment", {name: text for name, text in environ.items() if text}),
            (".env", _dotenv(directory / ".env")),
        )
        self.sources: dict[str, str] = {}

    def value(self, variable: Variable[Value], *default: Value) -> Value:
        """Read one variable; without a `default`, its default text is parsed like any other."""
        found = self._find(variable)
        if found is None:
            self.sources[variable.name] = "default"
            return default[0] if default else variable.parse(variable.default, self._directory)
        text, self.sources[variable.name] = found
        try:
            value = variable.parse(text, self._directory)
        except ValueError as error:
            raise ConfigError(variable.name, str(error), variable.accepted) from None
        if variable is DATABASE_URL and self.sources[variable.name] == "flag":
            _refuse_password_on_command_line(value)
        return value

    def environment_of_node(self) -> Literal["production", "development"]:
        """What the original service's NODE_ENV says; whatever is not development runs as production."""
        for _, values in self._sources[1:]:
            if name := values.get("NODE_ENV"):
                return "development" if name == "development" else "production"
        return "production"

    def _find(self, variable: Variable[Value]) -> tuple[str, str] | None:
        for source, values in self._sources:
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
                path = self._directory / file
                return _secret(variable, path), f"file {path}"
            if source == "environment" and variable.secret and self._credentials:
                path = Path(self._credentials, variable.name)
                if not _is_absent(path):
                    return _secret(variable, path), "credential"
        return None


def _default_data_dir(environ: Mapping[str, str], directory: Path) -> Path:
    # systemd gives a colon-separated list when a unit has several StateDirectory= entries.
    state_directory = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(os.path.abspath(directory / (state_directory or DATA_DIR.default)))


def _refuse_password_on_command_line(value: object) -> None:
    if isinstance(value, DatabaseURL) and value.has_password:
        raise ConfigError(
            DATABASE_URL.name,
            "the URL on the command line holds a password, which every user of this machine can read there",
            "a URL without one; with one in the environment (DATABASE_URL) or a file (DATABASE_URL_FILE)",
        )


def _is_absent(path: Path) -> bool:
    """Whether there surely is no such file; one out of reach is no reason to run without its secret."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _secret(variable: Variable[Value], path: Path) -> str:
    """Read a secret's file, less the one line break that editors put at its end."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(variable.name, f"cannot be read from {path}: {reason}", "a readable text file") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        # An empty token would open what it was meant to lock.
        raise ConfigError(variable.name, f"{path} is empty", "a file that holds the value alone")
    return text


def _dotenv(path: Path) -> dict[str, str]:
    """Read a `.env` file as it stands: a $ in a password is a $."""
    try:
        # BOM and all, as editors on Windows write it.
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(".env", f"cannot be read: {reason}", "a readable text file") from None
    for binding in bindings:
        if binding.error:
            # Skipping the line could mean leads in another database than the one it names.
            fault = f"line {binding.original.line} of {path} cannot be read"
            raise ConfigError(".env", fault, "lines of the form NAME=value")
    return {binding.key: binding.value for binding in bindings if binding.key and binding.value}
