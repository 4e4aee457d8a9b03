"""Who sent a request: the peer, or whom a trusted proxy names."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from sanic.request import Request


class ClientAddress:
    """Finds the client's address."""

    def __init__(self, trusted_proxies: tuple[IPv4Network | IPv6Network, ...]) -> None:
        """Take the networks whose `X-Forwarded-For` is believed."""
        self._trusted = trusted_proxies

    def of(self, request: Request) -> str:
        """Return the address of the client: the last of `X-Forwarded-For` that no trusted proxy has."""
        peer = _plain(request.ip)
        if not self._trusted or not self._trusts(peer):
            return peer
        # Proxies append: what stands left of the first untrusted address anybody may have written.
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
    """Return an IPv4 address as such, also where a socket for both kinds of addresses names it as one of IPv6."""
    ipv4 = address.removeprefix("::ffff:")
    return ipv4 if "." in ipv4 else address


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
