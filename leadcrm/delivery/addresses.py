"""Where a receiver may be: a host's addresses, looked up once, without those of private networks.

The address that was checked is the one that is connected to, so a name cannot change what it means in between.
"""

from __future__ import annotations

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""What of IPv6 is given out (RFC 4291, section 2.4): else an embedded address could take any form."""


class AddressRefused(OSError):  # noqa: N818 - named by the condition
    """A host has none but private addresses."""


def is_public(address: Address) -> bool:
    """Say whether an address is one of the internet, also if another is embedded in it."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast


def addresses_of(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Return the addresses of a host that may be connected to.

    Raises:
        OSError: The host has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    public = [text for text in addresses if allow_private or is_public(ipaddress.ip_address(text.partition("%")[0]))]
    if not public:
        raise AddressRefused(f"{host} is in a private network, which needs allow_private = true")
    return public
