"""The address of the client: the peer's, or the one that a trusted proxy names."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from sanic.request import Request


class ClientAddress:
    """Finds the address of a request's client."""

    def __init__(self, trusted_proxies: tuple[IPv4Network | IPv6Network, ...]) -> None:
        """Take the networks whose `X-Forwarded-For` is believed."""
        self._trusted = trusted_proxies

    def of(self, request: Request) -> str:
        """Return the client's address: the last one in `X-Forwarded-For` that is no trusted proxy's."""
        peer = _plain(request.ip)
        if not self._trusted or not self._trusts(peer):
            return peer
        # Proxies append, so anyone may have written the part to the left of the first untrusted address.
        for part in reversed(",".join(request.headers.getall("x-forwarded-for", [])).split(",")):
            address = _plain(part.strip())
            if not _is_address(address):
                break
            peer = address
            if not self._trusts(address):
                break
        return peer

    def _trusts(self, address: str) -> bool:
        if not _is_address(address):
            return False
        parsed = ip_address(address)
        return any(parsed in network for network in self._trusted)


def _plain(address: str) -> str:
    """Return an IPv4 address without the IPv6 prefix that a dual-stack socket gives it."""
    ipv4 = address.removeprefix("::ffff:")
    return ipv4 if "." in ipv4 else address


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
