"""The address of the client: the peer's, or the one that a trusted proxy names, in one canonical form.

An address is written as RFC 5952 says, without port, brackets and scope, and an IPv4 address that is mapped to IPv6 as
IPv4. So one client has one address, whichever way it comes, and what a header holds besides is stored nowhere.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from sanic.request import Request

Address = IPv4Address | IPv6Address

UNIX_SOCKET = "unix"
"""The address of a peer on a Unix socket that names no client."""

_FORWARDED_FOR, _FORWARDED = "x-forwarded-for", "forwarded"

_NODE = re.compile(
    r"""
    (?P<quote>"?)
    (?:
        (?P<ipv4>[0-9.]+) (?: :[0-9]+ )?
        | (?P<bracket>\[)? (?P<ipv6>[0-9A-Fa-f:.]+) (?: %[^\]"]* )? (?(bracket) \] (?: :[0-9]+ )? )
    )
    (?P=quote)
    """,
    re.VERBOSE | re.ASCII,
)

# RFC 7239, section 4: elements separated by commas, of pairs separated by semicolons; values may be quoted.
_ELEMENT = re.compile(r'(?:[^,"]|"[^"]*")+')
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;\s]*)', re.IGNORECASE)

logger = logging.getLogger("leadcrm.web.http")


class ClientAddress:
    """Finds the address of a request's client."""

    def __init__(self, trusted_proxies: tuple[IPv4Network | IPv6Network, ...]) -> None:
        """Take the networks whose `X-Forwarded-For` or `Forwarded` is believed."""
        self._trusted = trusted_proxies
        self._has_warned = False

    def of(self, request: Request) -> str:
        """Return the client's address: the last one that was forwarded and is no trusted proxy's."""
        peer = request.ip
        is_forwarded = _FORWARDED_FOR in request.headers or _FORWARDED in request.headers
        if not is_forwarded:
            return _written(peer)
        address = _parse(peer)
        # Nobody reaches a Unix socket but by a proxy of this machine.
        if peer and (address is None or not self._trusts(address)):
            self._warn(peer)
            return _written(peer)
        # Proxies append, so anyone may have written the part to the left of the first untrusted address.
        for part in reversed(_forwarded(request)):
            forwarded = _parse(part)
            if forwarded is None:
                break
            address = forwarded
            if not self._trusts(address):
                break
        return UNIX_SOCKET if address is None else str(address)

    def trusts_peer(self, peer: str) -> bool:
        """Say whether the address at the other end of a connection is a trusted proxy's."""
        address = _parse(peer)
        return address is not None and self._trusts(address)

    def client_of(self, address: str) -> str | None:
        """Return what counts as one client with this address; None for a trusted proxy, which has many behind it."""
        return client_of(address, self._trusted)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _warn(self, peer: str) -> None:
        """Say once that a proxy seems to be in front: then all its clients share one limit, and one guesser's delay."""
        if self._has_warned:
            return
        self._has_warned = True
        logger.warning(
            "X-Forwarded-For or Forwarded comes from %s, which TRUSTED_PROXIES does not name: it is not believed",
            _written(peer),
            extra={"action": "serve", "hint": "if it is your proxy, name it in TRUSTED_PROXIES"},
        )


def network_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 address, all of which one host has."""
    if ":" not in address:
        return address
    parsed = _parse(address)
    if not isinstance(parsed, IPv6Address):
        return address if parsed is None else str(parsed)
    return str(IPv6Network((int(parsed) >> 64 << 64, 64)))


def client_of(peer: str, trusted_proxies: tuple[IPv4Network | IPv6Network, ...]) -> str | None:
    """Return what counts as one client at the other end of a connection; None for a proxy, which has many behind it."""
    if peer in ("", UNIX_SOCKET):
        return None
    if trusted_proxies:
        address = _parse(peer)
        if address is not None and any(address in network for network in trusted_proxies):
            return None
    return network_of(peer)


def _forwarded(request: Request) -> list[str]:
    """Return the addresses that proxies have added, those of the nearest proxy last.

    An empty element of a list means nothing (RFC 9110, section 5.6.1.2). `X-Forwarded-For` comes first: a proxy that
    writes it may pass on a `Forwarded` of the client's own.
    """
    if lines := request.headers.getall(_FORWARDED_FOR, []):
        return [part for line in lines for each in line.split(",") if (part := each.strip())]
    elements = _ELEMENT.findall(",".join(request.headers.getall(_FORWARDED, [])))
    return [found[1] for element in elements if (found := _FOR.search(element))]


@lru_cache(maxsize=1024)
def _written(peer: str) -> str:
    """Return a peer's address in its canonical form."""
    address = _parse(peer)
    return (peer or UNIX_SOCKET) if address is None else str(address)


def _parse(text: str) -> Address | None:
    """Return an address, or None.

    Some proxies add the client's port, and quotes and brackets with it, as `Forwarded` has them (RFC 7239, section 6).
    """
    node = _NODE.fullmatch(text)
    if node is None:
        return None
    try:
        address = ip_address(node["ipv4"] or node["ipv6"])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
