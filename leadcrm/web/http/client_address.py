"""The address of the client: the peer's, or the one that a trusted proxy names."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from sanic.request import Request

_NODE = re.compile(
    r"""
    (?P<quote>"?)
    (?:
        (?P<ipv4>[0-9.]+) (?: :[0-9]+ )?
        | (?P<bracket>\[)? (?P<ipv6>[0-9A-Fa-f:.]+(?:%\w+)?) (?(bracket) \] (?: :[0-9]+ )? )
    )
    (?P=quote)
    """,
    re.VERBOSE | re.ASCII,
)


class ClientAddress:
    """Finds the address of a request's client."""

    def __init__(self, trusted_proxies: tuple[IPv4Network | IPv6Network, ...]) -> None:
        """Take the networks whose `X-Forwarded-For` is believed."""
        self._trusted = trusted_proxies

    def of(self, request: Request) -> str:
        """Return the client's address: the last one in `X-Forwarded-For` that is no trusted proxy's."""
        if not self._trusted:
            return _plain(request.ip)
        address = _parse(request.ip)
        if address is None or not self._trusts(address):
            return _plain(request.ip)
        # Proxies append, so anyone may have written the part to the left of the first untrusted address.
        for part in reversed(",".join(request.headers.getall("x-forwarded-for", [])).split(",")):
            if not (part := part.strip()):
                continue  # an empty element of a list means nothing (RFC 9110, section 5.6.1.2)
            forwarded = _parse(part)
            if forwarded is None:
                break
            address = forwarded
            if not self._trusts(address):
                break
        return str(address)

    def trusts_peer(self, peer: str) -> bool:
        """Say whether the address at the other end of a connection is a trusted proxy's."""
        address = _parse(peer)
        return address is not None and self._trusts(address)

    def client_of(self, address: str) -> str | None:
        """Return what counts as one client with this address; None for a trusted proxy, which has many behind it."""
        return client_of(address, self._trusted)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


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
    if not peer:
        return None  # a Unix socket
    if trusted_proxies:
        address = _parse(peer)
        if address is not None and any(address in network for network in trusted_proxies):
            return None
    return network_of(peer)


def _plain(address: str) -> str:
    """Return an IPv4 address without the IPv6 prefix that a dual-stack socket gives it."""
    ipv4 = address.removeprefix("::ffff:")
    return ipv4 if "." in ipv4 else address


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in an element of `X-Forwarded-For`, or None.

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
