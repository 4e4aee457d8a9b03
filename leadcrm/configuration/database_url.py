"""`DATABASE_URL`, checked completely before any driver sees it.

Such URLs come in three dialects: libpq's, Prisma's (the original service's ORM) and SQLite's. Parameters that only
Prisma knows are translated here, or dropped where they mean nothing to leadcrm. Parameters that libpq knows are passed
on. All others are refused by name, because a misspelt `sslmode` must not turn into an unencrypted connection. libpq
itself parses the URL (through psycopg2), so hosts, ports, sockets and percent-encoding mean what they mean to `psql`.

Invariant: no error, no `repr` and no `redacted` ever holds a password. libpq's own error texts quote the part they
could not read, so they are never passed on.

Sources: https://www.postgresql.org/docs/current/libpq-connect.html (34.1.1.2 and 34.1.2) and
https://www.prisma.io/docs/orm/overview/databases/postgresql (connection URL arguments).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from leadcrm.errors import ConfigError

DEFAULT_POOL_TIMEOUT_S = 10.0
"""Prisma's default."""
DEFAULT_CONNECT_TIMEOUT_S = 2
"""Counts per host: with two hosts, the second is still tried before a health check times out."""
DEFAULT_MAX_LAG_S = 10.0
"""How far a standby may be behind to be read from. People rarely notice what others did within it."""
UNLIMITED_CONNECT_TIMEOUT_S = 130
"""The effect of Prisma's `connect_timeout=0`: Linux gives up a TCP connect after about 127 s."""

ACCEPTED = "postgresql://user:password@host:5432/database?schema=public, postgres://… or sqlite:///path/to/file.db"
ACCEPTED_STANDBY = "postgresql://user:password@standby:5432/database?max_lag=10 or postgres://…"

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_IGNORED_PARAMETERS = frozenset(
    {
        # They tune the statement cache and the sockets of Prisma's engine. leadcrm has deadlines of its own.
        "statement_cache_size",
        "socket_timeout",
        "max_connection_lifetime",
        "max_idle_connection_lifetime",
        "single_use_connections",
    }
)
_SECRET_KEYWORDS = frozenset({"password", "sslpassword", "oauth_client_secret"})
_ENCODE_HINT = "in a user name or password, each of @ : / ? # % is written percent-encoded, such as %40 for @"


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseURL:
    """The database that keeps the leads.

    `path` is absolute and no link, and None for PostgreSQL. `dsn` is libpq's keyword string, and empty for SQLite.
    `schema` is None where the URL names none. `connection_limit` counts all workers' connections; None where the URL
    names none. `connect_timeout_s` counts per host and stands in `dsn` too.
    """

    provider: Literal["sqlite", "postgres"]
    path: Path | None = None
    dsn: str = ""
    schema: str | None = None
    connection_limit: int | None = None
    pool_timeout_s: float = DEFAULT_POOL_TIMEOUT_S
    connect_timeout_s: int = DEFAULT_CONNECT_TIMEOUT_S
    pgbouncer: bool = False
    max_lag_s: float = DEFAULT_MAX_LAG_S
    """How far behind it may be, if it is a standby."""
    reread: Callable[[], DatabaseURL] | None = field(default=None, compare=False)
    """Reads the URL again from the file that it came from; None if it came from elsewhere."""

    def current(self) -> DatabaseURL:
        """Return the URL as its file has it now: the password in it may have been changed.

        It is this one if it came from no file, if the file cannot be read now, or names another kind of database.
        """
        try:
            url = self if self.reread is None else self.reread()
        except ConfigError:
            return self
        return url if (url.provider, url.schema) == (self.provider, self.schema) else self

    @property
    def has_password(self) -> bool:
        """Whether the URL holds a secret."""
        return bool(self.dsn) and not _SECRET_KEYWORDS.isdisjoint(parse_dsn(self.dsn))

    @property
    def redacted(self) -> str:
        """The URL with `***` in place of every secret."""
        if self.provider == "sqlite":
            return f"sqlite:///{self.path}"
        keywords = parse_dsn(self.dsn)
        user = quote(keywords.pop("user", ""), safe="")
        password = ":***" if keywords.pop("password", None) is not None else ""
        at = "@" if user or password else ""
        database = quote(keywords.pop("dbname", ""), safe="")
        authority = _authority(keywords.pop("host", ""), keywords.pop("port", ""))
        if self.schema is not None:
            keywords["schema"] = self.schema
        redacted = {name: "***" if name in _SECRET_KEYWORDS else text for name, text in keywords.items()}
        query = "&".join(f"{name}={quote(text, safe='/*:,')}" for name, text in redacted.items())
        return f"postgresql://{user}{password}{at}{authority}/{database}{'?' if query else ''}{query}"

    @property
    def place(self) -> str:
        """Where the leads are: the URL without user, secrets and settings."""
        if self.provider == "sqlite":
            return f"sqlite:///{self.path}"
        keywords = parse_dsn(self.dsn)
        authority = _authority(keywords.get("host", ""), keywords.get("port", ""))
        schema = "" if self.schema is None else f"?schema={quote(self.schema, safe='')}"
        return f"postgresql://{authority}/{quote(keywords.get('dbname', ''), safe='')}{schema}"

    def __repr__(self) -> str:
        return f"DatabaseURL({self.redacted!r})"


def parse_database_url(text: str, *, base: Path) -> DatabaseURL:
    """Parse a database URL of libpq's, Prisma's or SQLite's form.

    Args:
        text: the URL; quotes around it, as env files have them, are removed.
        base: the directory from which relative paths start.

    Raises:
        ValueError: the URL cannot be used; says why in one line and never quotes a password.
    """
    text = _unquoted(text)
    if re.search(r"[\x00-\x20\x7f\ud800-\udfff]", text):
        raise ValueError("holds blanks or control characters, which are written percent-encoded, such as %20")
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ValueError("is no URL of a database")
    if scheme == "sqlite":
        return _parse_sqlite(rest, base)
    if scheme in ("postgresql", "postgres"):
        return _parse_postgres(rest, base)
    raise ValueError("begins with neither postgresql://, postgres:// nor sqlite:///")


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].strip()
    return text


def parse_standby_url(text: str, *, base: Path) -> DatabaseURL:
    """Parse the URL of a standby, which knows the parameter `max_lag` too, in seconds.

    Of several hosts, only one that is a standby will do, unless `target_session_attrs` says otherwise.

    Raises:
        ValueError: the URL cannot be used; says why in one line and never quotes a password.
    """
    location, _, query = _unquoted(text).partition("?")
    parts = query.split("&")
    lags = [part.partition("=")[2] for part in parts if part.startswith("max_lag=")]
    query = "&".join(part for part in parts if part and not part.startswith("max_lag="))
    url = parse_database_url(f"{location}?{query}" if query else location, base=base)
    if url.path is not None:
        raise ValueError("names a SQLite file, which has no standby")
    keywords = {"target_session_attrs": "standby", **parse_dsn(url.dsn)}
    max_lag_s = float(_parse_prisma("max_lag", lags[-1])) if lags else DEFAULT_MAX_LAG_S
    return replace(url, dsn=make_dsn(**keywords), max_lag_s=max_lag_s)


def require_plain_path(text: str) -> None:
    """Refuse a path that is not meant as it is written: leads would lie in a folder of a strange name, unnoticed.

    Nothing expands it, and containers take quotes and the line ends of Windows from their env files as they are.

    Raises:
        ValueError: It is none; says why.
    """
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"{text!a} holds control characters")
    if text != text.strip() or text[0] in "\"'" or text[-1] in "\"'":
        raise ValueError(f"{text!a} has quotes or blanks around it")
    if text[0] in "~$%":
        raise ValueError(f"{text!a} begins with {text[0]}, which nothing expands here")


def sqlite_file(path: Path) -> DatabaseURL:
    """Return the URL of a SQLite file, which may be a link to another disk.

    SQLite keeps the log beside the file itself. So all else must look there too, and not beside the link.
    """
    return DatabaseURL(provider="sqlite", path=Path(os.path.realpath(path)))


def _parse_sqlite(rest: str, base: Path) -> DatabaseURL:
    if not rest.startswith("/"):
        raise ValueError("names a host: a SQLite file is written sqlite:///relative/path or sqlite:////absolute/path")
    location, question_mark, _ = rest[1:].partition("?")
    if question_mark:
        raise ValueError("a SQLite file takes no parameters")
    name = _decode(location)
    if not name or name.endswith("/"):
        raise ValueError("names no file")
    require_plain_path(name)
    if name == ":memory:":
        raise ValueError("a database in memory cannot keep a lead")
    return sqlite_file(base / name)


def _parse_postgres(rest: str, base: Path) -> DatabaseURL:
    location, _, query = rest.partition("?")
    location = _encode_user_information(location, rest)
    parameters = _parse_query(query)
    prisma_texts = {name: parameters.pop(name, None) for name in _PRISMA_PARSERS if name != "max_lag"}
    for name in _IGNORED_PARAMETERS:
        parameters.pop(name, None)
    _translate_tls(parameters, base)
    for name in parameters:
        if not _is_known_to_libpq(name):
            # This may be the middle of a password with an unencoded ? or & in it.
            quoted = "(not shown)" if "@" in query or "password=" in query else repr(name[:40])
            raise ValueError(f"the parameter {quoted} is unknown")
    prisma = {name: _parse_prisma(name, text) for name, text in prisma_texts.items() if text is not None}
    connect_timeout_s = int(prisma.get("connect_timeout", DEFAULT_CONNECT_TIMEOUT_S)) or UNLIMITED_CONNECT_TIMEOUT_S
    keywords = _parse_location(location) | parameters | {"connect_timeout": str(connect_timeout_s)}
    _check_addresses(keywords)
    return DatabaseURL(
        provider="postgres",
        dsn=make_dsn(**keywords),
        schema=prisma_texts["schema"],
        connection_limit=int(prisma["connection_limit"]) if "connection_limit" in prisma else None,
        # Prisma's 0 means no limit.
        pool_timeout_s=float(prisma.get("pool_timeout", DEFAULT_POOL_TIMEOUT_S)) or threading.TIMEOUT_MAX,
        connect_timeout_s=connect_timeout_s,
        pgbouncer=bool(prisma.get("pgbouncer", False)),
    )


def _encode_user_information(location: str, rest: str) -> str:
    """Encode an @ inside a password, which Prisma accepts and libpq does not; refuse an ambiguous URL."""
    authority, slash, path = location.partition("/")
    before_slash = rest.partition("/")[0]
    if "#" in location or "@" in path or before_slash.count("@") != authority.count("@"):
        # An @ after the part that looks like the host: most likely that part is the middle of a password.
        raise ValueError(f"the user, the password and the host cannot be told apart: {_ENCODE_HINT}")
    user_information, at, hosts = authority.rpartition("@")
    return f"{user_information.replace('@', '%40')}{at}{hosts}{slash}{path}"


def _parse_query(query: str) -> dict[str, str]:
    """Split a query string; the last of a repeated name counts, as in libpq and Prisma."""
    parameters: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, text = part.partition("=")
        if not equals:
            raise ValueError(f"a parameter is not written name=value: {_ENCODE_HINT}")
        parameters[_decode(name)] = _decode(text)
    if parameters.get("ssl") == "true":
        # JDBC's spelling, which libpq understands in URLs alone, not in keywords.
        del parameters["ssl"]
        parameters.setdefault("sslmode", "require")
    return parameters


def _decode(text: str) -> str:
    """Decode percent-encoding, and refuse what cannot be decoded."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text) or "%00" in text:
        raise ValueError(f"holds a % that is no percent-encoding: {_ENCODE_HINT}")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("holds percent-encoded bytes that are not UTF-8") from None


def _parse_location(location: str) -> dict[str, str]:
    """Return libpq's keywords for user, password, hosts, ports and database."""
    _decode(location)
    try:
        return parse_dsn(f"postgresql://{location}")
    except psycopg2.Error:
        # Not chained: libpq quotes the part it could not read, which may be the password.
        raise ValueError(f"cannot be read: {_ENCODE_HINT}") from None


def _is_known_to_libpq(name: str) -> bool:
    """Ask libpq itself: a list of its parameters would go out of date."""
    if not re.fullmatch(r"[a-z_]+", name):
        return False
    try:
        parse_dsn(f"{name}=''")
    except psycopg2.Error:
        return False
    return True


def _translate_tls(parameters: dict[str, str], base: Path) -> None:
    """Turn Prisma's TLS parameters into libpq's.

    Prisma's `sslcert` is the authority's certificate, which is libpq's `sslrootcert`. libpq's `sslcert` is the client's
    own certificate and comes with `sslkey`.
    """
    mode = parameters.get("sslmode")
    if mode is not None and mode not in _SSL_MODES:
        raise ValueError(f"sslmode is none of {', '.join(_SSL_MODES)}")
    if "sslidentity" in parameters:
        raise ValueError("sslidentity (PKCS#12) is not supported: convert it to PEM and give sslcert and sslkey")
    accept = parameters.pop("sslaccept", None)
    if accept not in (None, "strict", "accept_invalid_certs"):
        raise ValueError("sslaccept is neither strict nor accept_invalid_certs")
    if "sslcert" in parameters and "sslkey" not in parameters:
        certificate = parameters.pop("sslcert")
        if accept != "accept_invalid_certs":
            parameters.setdefault("sslrootcert", os.path.abspath(base / certificate))
    if accept == "strict" and mode != "disable":
        parameters["sslmode"] = "verify-full"
        parameters.setdefault("sslrootcert", "system")


def _check_addresses(keywords: Mapping[str, str]) -> None:
    """Refuse addresses that libpq would refuse only when it connects, and then quote in its error."""
    hosts = keywords.get("host", "").split(",")
    ports = keywords.get("port", "").split(",")
    if any("@" in host for host in hosts):
        raise ValueError(f"the host cannot be read: {_ENCODE_HINT}")
    if re.search("=|://", keywords.get("dbname", "")):
        raise ValueError("the database's name is a connection string itself")
    for port in filter(None, ports):
        if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= 65535):
            raise ValueError(f"a port is no number from 1 to 65535: {_ENCODE_HINT}")
    if len(ports) > 1 and len(ports) != len(hosts):
        raise ValueError(f"names {len(hosts)} hosts and {len(ports)} ports")


def _authority(hosts: str, ports: str) -> str:
    """Join hosts and ports as a URL writes them."""
    host_list = hosts.split(",")
    port_list = ports.split(",")
    if len(port_list) == 1:
        port_list *= len(host_list)
    encoded = (f"[{host}]" if ":" in host else quote(host, safe="") for host in host_list)
    return ",".join(f"{host}:{port}" if port else host for host, port in zip(encoded, port_list, strict=True))


def _whole_number(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) < minimum:
            raise ValueError(f"is no whole number from {minimum} on")
        return int(text)

    return parse


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


def _identifier(text: str) -> str:
    if not text or "\0" in text or len(text.encode()) > 63:
        raise ValueError("is no name of 1 to 63 bytes")
    if "%" in text:
        # Drivers take it for the beginning of a placeholder.
        raise ValueError("holds a %, which leadcrm cannot use in a schema's name")
    return text


_PRISMA_PARSERS: Mapping[str, Callable[[str], str | int | bool]] = {
    "schema": _identifier,
    "connection_limit": _whole_number(1),
    "pool_timeout": _whole_number(0),
    "connect_timeout": _whole_number(0),
    "pgbouncer": _boolean,
    "max_lag": _whole_number(1),
}


def _parse_prisma(name: str, text: str) -> str | int | bool:
    try:
        return _PRISMA_PARSERS[name](text)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
