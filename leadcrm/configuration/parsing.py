"""How the text of a variable becomes its value.

Every parser takes the text and the working directory, from which relative paths start. It raises `ValueError` with the
fault alone, and quotes the text only where the variable is no secret.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from leadcrm.configuration.database_url import DatabaseURL, parse_database_url, parse_standby_url, require_plain_path

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Environment = Literal["production", "development"]

_MIB = 1024 * 1024
_BINARY_UNITS = {"": 1, "k": 1024, "m": _MIB, "g": 1024 * _MIB, "t": 1024 * 1024 * _MIB}
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
    """How many requests one client address may send in a period."""

    requests: int
    per_s: float


def whole_number(minimum: int, maximum: int) -> Callable[[str, Path], int]:
    """Return a parser of whole numbers within the two bounds."""

    def parse(text: str, _: Path) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
            raise ValueError(f"{_quoted(text)} is no whole number")
        number = int(text)
        if not minimum <= number <= maximum:
            raise ValueError(f"{number} is out of range")
        return number

    return parse


def size(minimum: int) -> Callable[[str, Path], int]:
    """Return a parser of sizes in bytes, with or without a unit."""

    def parse(text: str, _: Path) -> int:
        match = re.fullmatch(r"([0-9]{1,15}) ?([kmgt]?)(i?b)?", text.strip().lower())
        if not match or (match[3] == "ib" and not match[2]):
            raise ValueError(f"{_quoted(text)} is no size")
        # As for disks: a KB is 1000 bytes and a KiB 1024; a lone K is 1024, as systemd and nginx read it.
        units = _DECIMAL_UNITS if match[2] and match[3] == "b" else _BINARY_UNITS
        size_bytes = int(match[1]) * units[match[2]]
        if size_bytes < minimum:
            raise ValueError(f"{size_bytes} is too small")
        return size_bytes

    return parse


def seconds(minimum_s: float, maximum_s: float) -> Callable[[str, Path], float]:
    """Return a parser of durations in seconds within the two bounds."""

    def parse(text: str, _: Path) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text.strip()):
            raise ValueError(f"{_quoted(text)} is no number of seconds")
        duration_s = float(text)
        if not minimum_s <= duration_s <= maximum_s:
            raise ValueError(f"{text.strip()} is out of range")
        return duration_s

    return parse


def choice(*names: str) -> Callable[[str, Path], str]:
    """Return a parser that takes these names alone, in lower or upper case."""

    def parse(text: str, _: Path) -> str:
        if text.strip().lower() not in names:
            raise ValueError(f"{_quoted(text)} is none of them")
        return text.strip().lower()

    return parse


def environment(text: str, _: Path) -> Environment:
    """Parse `production` or `development`."""
    if text == "production":
        return "production"
    if text == "development":
        return "development"
    raise ValueError(f"{_quoted(text)} is neither")


def switch(text: str, _: Path) -> bool:
    """Parse `on` or `off`, or one of their usual synonyms."""
    if text.strip().lower() not in _SWITCH:
        raise ValueError(f"{_quoted(text)} is neither")
    return _SWITCH[text.strip().lower()]


def host(text: str, _: Path) -> str:
    """Parse an IP address, with or without the brackets of IPv6, or a host name."""
    host = text.strip().removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        # A name of digits and dots is a mistyped address, never a host.
        if re.fullmatch(r"(?![0-9.]+$)[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?", host):
            return host
        raise ValueError(f"{_quoted(text)} is no address") from None


def path(text: str, base: Path) -> Path:
    """Parse a path and make it absolute."""
    require_plain_path(text)
    return Path(os.path.abspath(base / text))


def database(text: str, base: Path) -> DatabaseURL:
    """Parse a database URL; a relative SQLite path starts from `base`."""
    return parse_database_url(text, base=base)


def standby(text: str, base: Path) -> DatabaseURL:
    """Parse the URL of a standby."""
    return parse_standby_url(text, base=base)


def origins(text: str, _: Path) -> tuple[str, ...]:
    """Parse comma-separated origins, or `*` alone."""
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    if origins == ("*",):
        return origins
    for origin in origins:
        # Browsers send no path, not even a slash (RFC 6454, section 6.2), so an origin with one would never match.
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9._\[\]:-]+", origin):
            raise ValueError(f"{_quoted(origin)} is no origin")
    if not origins:
        raise ValueError("names no origin")
    return tuple(dict.fromkeys(origin.lower() for origin in origins))


def rate_limit(text: str, _: Path) -> RateLimit:
    """Parse a rate such as `600/m`."""
    match = re.fullmatch(r"([0-9]{1,9}) ?/ ?([smh])", text.strip().lower())
    if not match or int(match[1]) == 0:
        raise ValueError(f"{_quoted(text)} is no rate")
    return RateLimit(requests=int(match[1]), per_s=_PERIODS_S[match[2]])


def networks(text: str, _: Path) -> tuple[Network, ...]:
    """Parse networks and single addresses, separated by commas or blanks."""
    networks: list[Network] = []
    for part in filter(None, re.split(r"[,\s]+", text)):
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError:
            raise ValueError(f"{_quoted(part)} is no network") from None
    if not networks:
        raise ValueError("names no network")
    return tuple(networks)


def token(text: str, _: Path) -> str:
    """Parse a token of visible ASCII characters: in a header, all others arrive changed or not at all."""
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("holds blanks, line breaks or characters outside ASCII")
    return text


def node_name(text: str, _: Path) -> str:
    """Parse a node's name."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", text):
        raise ValueError(f"{_quoted(text)} is no node name")
    return text


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:60] + "…")


_MEANINGS = {"open": "grey", "won": "green", "lost": "red"}
_COLOURS = ("grey", "blue", "green", "amber", "red")
_MAX_STATUS_CHARS = 200


@dataclass(frozen=True, slots=True)
class Status:
    """One status that people choose from: its meaning says whether the lead still needs work."""

    name: str
    meaning: str
    colour: str


def statuses(text: str, _: Path) -> tuple[Status, ...]:
    """Parse statuses in their order, each as `name`, `name:meaning` or `name:meaning:colour`."""
    parsed = [_status(part) for part in text.split(",") if part.strip()]
    names = [status.name for status in parsed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{_quoted(twice)} stands there twice")
    if "new" not in names:
        raise ValueError("new is missing, the status of a lead that arrives")
    return tuple(parsed)


def _status(text: str) -> Status:
    name, *rest = (part.strip() for part in text.split(":"))
    if not name or len(name) > _MAX_STATUS_CHARS or not name.isprintable() or len(rest) > 2:
        raise ValueError(f"{_quoted(text.strip())} is no status")
    meaning = rest[0] if rest and rest[0] else "open"
    if meaning not in _MEANINGS:
        raise ValueError(f"{_quoted(meaning)} is no meaning")
    colour = rest[1] if len(rest) == 2 else _MEANINGS[meaning]
    if colour not in _COLOURS:
        raise ValueError(f"{_quoted(colour)} is no colour")
    return Status(name, meaning, colour)
