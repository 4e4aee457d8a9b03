"""The variables leadcrm reads: their names, flags and defaults, what each accepts, and how its text is read.

`config.load` finds the texts; this module knows what they mean. A parser raises ValueError with the fault
alone, and quotes the text only where the variable is no secret.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from leadcrm.configuration import database_url
from leadcrm.configuration.database_url import DatabaseURL, parse_database_url

Value = TypeVar("Value", covariant=True)  # noqa: PLC0105
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MIB = 1024 * 1024
LONGEST_COMMIT_TIMEOUT_S = 2.5
"""A lead is answered within 3 s; the rest of them is for the spool."""
MOST_WORKERS = 256
LONGEST_SHUTDOWN_TIMEOUT_S = 3600.0

_UNITS = {"": 1, "k": 1024, "m": MIB, "g": 1024 * MIB, "t": 1024 * 1024 * MIB}
_DECIMAL_UNITS = {"k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_PERIODS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SWITCH = {
    "on": True,
    "true": True,
    "yes": True,
    "1": True,
    "off": False,
    "false": False,
    "no": False,
    "0": False,
}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in so many seconds, per client address."""

    requests: int
    per_s: float


@dataclass(frozen=True, slots=True)
class Variable(Generic[Value]):
    """One thing that can be set.

    `default` is the text people read; where it is no value but a phrase (`none`, `host name`), `config.load`
    knows
    the value. `parse` takes the text and the working directory.
    """

    name: str
    default: str
    help: str
    accepted: str
    parse: Callable[[str, Path], Value]
    secret: bool = False
    flag_names_file: bool = False

    @property
    def file_name(self) -> str:
        """The variable that names a file with the value; secrets alone have one."""
        return f"{self.name}_FILE"

    @property
    def flag_key(self) -> str:
        """The name under which `config.load` expects what the flag said."""
        return self.file_name if self.flag_names_file else self.name

    @property
    def flag(self) -> str:
        """The flag on the command line, such as --log-level or --admin-token-file."""
        return "--" + self.flag_key.lower().replace("_", "-")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:60] + "…")


def _whole_number(least: int, most: int) -> Callable[[str, Path], int]:
    def parse(text: str, _: Path) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
            raise ValueError(f"{_shown(text)} is no whole number")
        number = int(text)
        if not least <= number <= most:
            raise ValueError(f"{number} is out of range")
        return number

    return parse


def _size(least: int) -> Callable[[str, Path], int]:
    def parse(text: str, _: Path) -> int:
        match = re.fullmatch(r"([0-9]{1,15}) ?([kmgt]?)(i?b)?", text.strip().lower())
        if not match or (match[3] == "ib" and not match[2]):
            raise ValueError(f"{_shown(text)} is no size")
        # As for disks: a KB is 1000 bytes and a KiB 1024; a lone K is 1024, as systemd and nginx read it.
        units = _DECIMAL_UNITS if match[2] and match[3] == "b" else _UNITS
        size_bytes = int(match[1]) * units[match[2]]
        if size_bytes < least:
            raise ValueError(f"{size_bytes} is too small")
        return size_bytes

    return parse


def _seconds(longest_s: float) -> Callable[[str, Path], float]:
    def parse(text: str, _: Path) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text.strip()):
            raise ValueError(f"{_shown(text)} is no number of seconds")
        duration_s = float(text)
        if not 0 < duration_s <= longest_s:
            raise ValueError(f"{text.strip()} is out of range")
        return duration_s

    return parse


def _choice(*names: str) -> Callable[[str, Path], str]:
    def parse(text: str, _: Path) -> str:
        if text.strip().lower() not in names:
            raise ValueError(f"{_shown(text)} is none of them")
        return text.strip().lower()

    return parse


def _environment(text: str, _: Path) -> Literal["production", "development"]:
    if text == "production":
        return "production"
    if text == "development":
        return "development"
    raise ValueError(f"{_shown(text)} is neither")


def _switch(text: str, _: Path) -> bool:
    if text.strip().lower() not in _SWITCH:
        raise ValueError(f"{_shown(text)} is neither")
    return _SWITCH[text.strip().lower()]


def _host(text: str, _: Path) -> str:
    host = text.strip().removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        # A name of digits and dots is a mistyped address, never a host.
        if re.fullmatch(r"(?![0-9.]+$)[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?", host):
            return host
        raise ValueError(f"{_shown(text)} is no address") from None


def _directory(text: str, base: Path) -> Path:
    if "\0" in text:
        raise ValueError("holds a NUL")
    return Path(os.path.abspath(base / text))


def _database(text: str, base: Path) -> DatabaseURL:
    return parse_database_url(text, base=base)


def _origins(text: str, _: Path) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    if origins == ("*",):
        return origins
    for origin in origins:
        # What a browser sends, RFC 6454 section 6.2: no path, not even a slash, or it never matches.
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9._\[\]:-]+", origin):
            raise ValueError(f"{_shown(origin)} is no origin")
    if not origins:
        raise ValueError("names no origin")
    return tuple(dict.fromkeys(origin.lower() for origin in origins))


def _rate_limit(text: str, _: Path) -> RateLimit:
    match = re.fullmatch(r"([0-9]{1,9}) ?/ ?([smh])", text.strip().lower())
    if not match or int(match[1]) == 0:
        raise ValueError(f"{_shown(text)} is no rate")
    return RateLimit(requests=int(match[1]), per_s=_PERIODS_S[match[2]])


def _networks(text: str, _: Path) -> tuple[Network, ...]:
    networks: list[Network] = []
    for part in filter(None, re.split(r"[,\s]+", text)):
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError:
            raise ValueError(f"{_shown(part)} is no network") from None
    if not networks:
        raise ValueError("names no network")
    return tuple(networks)


def _token(text: str, _: Path) -> str:
    # It travels in a header, where anything else arrives changed or not at all.
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("holds blanks, line breaks or characters outside ASCII")
    return text


def _node_name(text: str, _: Path) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", text):
        raise ValueError(f"{_shown(text)} is no node name")
    return text


_SIZES = "a number of bytes, or one with a unit such as 64MiB, 64MB or 64k"

DATABASE_URL = Variable(
    "DATABASE_URL",
    "SQLite file in DATA_DIR",
    "where leads are kept",
    database_url.ACCEPTED,
    _database,
    secret=True,
)
HOST = Variable("HOST", "0.0.0.0", "address to listen on", "an IP address or a name", _host)  # noqa: S104
PORT = Variable("PORT", "3000", "port to listen on", "0 to 65535, 0 for any free one", _whole_number(0, 65535))
LEADCRM_ENV = Variable(
    "LEADCRM_ENV",
    "production",
    "development: readable logs and auto-reload; NODE_ENV is read if this is unset",
    "production or development",
    _environment,
)
LOG_LEVEL = Variable(
    "LOG_LEVEL",
    "info",
    "the least level that is logged",
    "trace, debug, info, warn, error or fatal",
    _choice("trace", "debug", "info", "warn", "error", "fatal"),
)
DATA_DIR = Variable(
    "DATA_DIR",
    "./data",
    "SQLite file and spool; $STATE_DIRECTORY where systemd gives one",
    "a directory",
    _directory,
)
WORKERS = Variable("WORKERS", "1", "processes on one socket", f"1 to {MOST_WORKERS}", _whole_number(1, MOST_WORKERS))
MAX_BODY_BYTES = Variable("MAX_BODY_BYTES", "1048576", "largest body that is read", _SIZES, _size(1))
CORS_ORIGINS = Variable(
    "CORS_ORIGINS",
    "*",
    "origins that may send leads from a browser, comma-separated",
    "* or origins such as https://example.com, comma-separated",
    _origins,
)
SHUTDOWN_TIMEOUT = Variable(
    "SHUTDOWN_TIMEOUT",
    "30",
    "seconds to finish what is in flight",
    f"more than 0 and at most {LONGEST_SHUTDOWN_TIMEOUT_S:g} seconds",
    _seconds(LONGEST_SHUTDOWN_TIMEOUT_S),
)
MIN_FREE_BYTES = Variable(
    "MIN_FREE_BYTES",
    "67108864",
    "disk headroom under which leads get 503 before anything fails",
    _SIZES,
    _size(0),
)
RATE_LIMIT = Variable(
    "RATE_LIMIT",
    "none",
    "requests per client address",
    "a number per s, m or h, such as 600/m",
    _rate_limit,
)
TRUSTED_PROXIES = Variable(
    "TRUSTED_PROXIES",
    "none",
    "networks whose X-Forwarded-For is believed, comma-separated",
    "networks such as 10.0.0.0/8 or single addresses, comma-separated",
    _networks,
)
INGEST_TOKEN = Variable(
    "INGEST_TOKEN",
    "none",
    "if set, POST /api/lead needs it as bearer token",
    "visible ASCII characters without blanks",
    _token,
    secret=True,
    flag_names_file=True,
)
ADMIN_TOKEN = Variable(
    "ADMIN_TOKEN",
    "none",
    "opens the CRM API and the studio",
    "visible ASCII characters without blanks",
    _token,
    secret=True,
    flag_names_file=True,
)
SPOOL = Variable("SPOOL", "on", "keep leads on local disk while the database is away", "on or off", _switch)
NODE_NAME = Variable(
    "NODE_NAME",
    "host name",
    "this node's name in stored rows",
    "letters, digits, dots, _ and -, at most 253",
    _node_name,
)
COMMIT_TIMEOUT = Variable(
    "COMMIT_TIMEOUT",
    "1.5",
    "seconds a database has to commit before the spool takes the leads",
    f"more than 0 and at most {LONGEST_COMMIT_TIMEOUT_S:g} seconds",
    _seconds(LONGEST_COMMIT_TIMEOUT_S),
)
QUEUE_BYTES = Variable(
    "QUEUE_BYTES", "67108864", "memory for leads that wait to be written, in each worker", _SIZES, _size(1)
)
SPOOL_BYTES = Variable("SPOOL_BYTES", "1073741824", "largest size of the spool", _SIZES, _size(1))

VARIABLES: tuple[Variable[object], ...] = (
    DATABASE_URL,
    HOST,
    PORT,
    LEADCRM_ENV,
    LOG_LEVEL,
    DATA_DIR,
    WORKERS,
    MAX_BODY_BYTES,
    CORS_ORIGINS,
    SHUTDOWN_TIMEOUT,
    MIN_FREE_BYTES,
    RATE_LIMIT,
    TRUSTED_PROXIES,
    INGEST_TOKEN,
    ADMIN_TOKEN,
    SPOOL,
    NODE_NAME,
    COMMIT_TIMEOUT,
    QUEUE_BYTES,
    SPOOL_BYTES,
)
"""Everything that can be set, in the order of the documentation."""
