"""The hosts of a PostgreSQL cluster: the one that served last comes first, and each gets a time of its own.

Only the primary takes writes, and any of them may be the primary next. A host that is away, hangs or is a standby
therefore leads to the next one.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import psycopg2

from leadcrm.database.driver_errors import store_error
from leadcrm.errors import StoreUnavailable

DEFAULT_PORT = "5432"

MAX_RANKS = 256
"""How many addresses are remembered: a name may lead to ever new ones."""

SERVED = -1.0

READ_ONLY = re.compile("session is read-only|in hot standby|recovery mode|25006")

_CONDITIONS = (
    (re.compile("not in hot standby"), "is no standby"),
    (READ_ONLY, "is a standby"),
    (re.compile("did not answer|timeout|timed out"), "does not answer"),
    (re.compile("refused|No such file"), "refuses connections"),
    (re.compile("starting up|shutting down|not (yet )?accepting"), "is starting or stopping"),
)
"""A failure in words that anyone may read: a driver's text may name users and files."""

Reached = TypeVar("Reached")


class Address(NamedTuple):
    """Where a server listens; `address` is empty for a socket's folder and for libpq's default."""

    host: str
    address: str
    port: str

    def __str__(self) -> str:
        return f"{self.host or self.address or 'localhost'}:{self.port or DEFAULT_PORT}"


_Ranks = dict[Address, float]

_ranks: _Ranks = {}
"""`SERVED` for an address that served last, else when it failed: what failed last is tried last."""

_ranks_of_standbys: _Ranks = {}
"""The same of those who look for a standby, for whom the primary will not do."""


def address_of(arguments: dict[str, Any]) -> Address:
    """Return the address that a connection's arguments name."""
    return Address(*(str(arguments.get(name) or "") for name in ("host", "hostaddr", "port")))


def try_last(address: Address) -> None:
    """Try an address last from now on: it has just failed, or does not take writes."""
    _rank(_ranks, address, monotonic())


def _rank(ranks: _Ranks, address: Address, rank: float) -> None:
    if len(ranks) >= MAX_RANKS:
        ranks.clear()
    ranks[address] = rank


def reach(arguments: dict[str, Any], connect: Callable[[dict[str, Any]], Reached]) -> Reached:
    """Return what `connect` makes of the arguments for the first address that it can use.

    If there are several addresses, only one that takes writes will do, unless the arguments say otherwise.

    Args:
        arguments: libpq's, with all hosts.
        connect: Connects to one address, within a time of its own.

    Raises:
        StoreUnavailable: No address can be used; the text has the reason for each.
    """
    failures: list[tuple[Address, StoreUnavailable]] = []
    reads_alone = arguments.get("target_session_attrs") == "standby"
    ranks = _ranks_of_standbys if reads_alone else _ranks
    hosts = sorted(_each_host(arguments), key=lambda one: _rank_of_host(ranks, one))
    for host_arguments in hosts:
        where = address_of(host_arguments)
        try:
            candidates = sorted(_each_address(host_arguments), key=lambda one: ranks.get(address_of(one), 0.0))
        except OSError as error:
            failures.append((where, StoreUnavailable(f"{where.host}: {error.strerror or error}")))
            continue
        for candidate in candidates:
            if len(hosts) > 1 or len(candidates) > 1:
                candidate.setdefault("target_session_attrs", "read-write")
            address = address_of(candidate)
            try:
                reached = connect(candidate)
            except (psycopg2.Error, StoreUnavailable) as error:
                failure = store_error(error)
                if not isinstance(failure, StoreUnavailable):
                    raise
                _rank(ranks, address, monotonic())
                failures.append((address, failure))
            else:
                _rank(ranks, address, SERVED)
                return reached
    raise _combined(failures, reads_alone=reads_alone)


def _rank_of_host(ranks: _Ranks, arguments: dict[str, Any]) -> float:
    host = address_of(arguments)
    # A copy: other threads reach for hosts meanwhile.
    known = [rank for one, rank in list(ranks.items()) if (one.host, one.port) == (host.host, host.port)]
    return min(known, default=0.0)


def _combined(failures: list[tuple[Address, StoreUnavailable]], *, reads_alone: bool) -> StoreUnavailable:
    if reads_alone:
        told = ", ".join(f"{address} {_condition(failure)}" for address, failure in failures)
        return StoreUnavailable(f"no standby: {told}", hint="reads go to the primary", public=told)
    # That standbys refuse writes is no fault if another host fails.
    faults = [failure for _, failure in failures if not READ_ONLY.search(str(failure))]
    first = faults[0] if faults else failures[0][1]
    several = len(failures) > 1
    text = "; ".join(f"{address}: {failure}" for address, failure in failures) if several else str(first)
    told = ", ".join(f"{address} {_condition(failure)}" for address, failure in failures)
    hint = first.hint if faults or not several else "a primary must be elected or promoted; leads wait in the spool"
    public = f"no host takes writes: {told}" if several else ""
    return StoreUnavailable(text, hint=hint, sqlstate=first.sqlstate, detail=first.detail, public=public)


def _condition(failure: StoreUnavailable) -> str:
    text = str(failure)
    return next((words for pattern, words in _CONDITIONS if pattern.search(text)), "cannot be used")


def _each_host(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments once for each host.

    libpq applies `connect_timeout` to each host only where it waits itself, which psycopg2 does not let it.
    """
    names = ("host", "hostaddr", "port")
    lists = {name: str(arguments[name]).split(",") for name in names if arguments.get(name)}
    count = max((len(values) for values in lists.values()), default=1)
    for index in range(count):
        host_arguments = {name: values[index % len(values)] for name, values in lists.items()}
        yield {**arguments, **host_arguments}


def _each_address(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a host's arguments once for each address of its name.

    psycopg2 would hold the interpreter's lock while libpq resolves the name, which takes long if a name server is down.

    Raises:
        OSError: The name has no address.
    """
    host = arguments.get("host")
    if not host or host.startswith("/") or arguments.get("hostaddr"):
        yield dict(arguments)
        return
    addresses = socket.getaddrinfo(host, int(arguments.get("port") or DEFAULT_PORT), type=socket.SOCK_STREAM)
    for address in dict.fromkeys(address[0] for _, _, _, _, address in addresses):
        yield {**arguments, "hostaddr": address}
