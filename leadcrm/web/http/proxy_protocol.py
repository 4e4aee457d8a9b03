"""Reads the PROXY protocol's header, versions 1 and 2 (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt).

A proxy that forwards bytes and not requests tells with it, before the first request, whose connection it is.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple

_TEXT_PREFIX = b"PROXY "
_MAX_TEXT_BYTES = 107
_TEXT = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP[46] (?P<source>[0-9A-Fa-f:.]+) [0-9A-Fa-f:.]+ [0-9]{1,5} [0-9]{1,5})\r\n"
)

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED_BYTES = 16
# Addresses and what proxies add to them, such as the name of the certificate. The protocol would allow 65,535.
_MAX_BINARY_BYTES = 2048
_LOCAL, _PROXY = 0x20, 0x21
# By family and transport: how long the source's address is, and both addresses with their ports.
_ADDRESS_BYTES = {0x11: (4, 12), 0x12: (4, 12), 0x21: (16, 36), 0x22: (16, 36)}


class ProxyHeader(NamedTuple):
    """A header's size in bytes, 0 where there is none, and the client's address, None where it tells none."""

    size: int
    address: str | None


def read_proxy_header(received: bytes) -> ProxyHeader | None:
    """Return the header with which a connection begins, or None while more of its bytes must come.

    Raises:
        ValueError: The header is malformed or too long.
    """
    if received.startswith(_TEXT_PREFIX[: len(received)]):
        return _read_text(received)
    if received.startswith(_SIGNATURE[: len(received)]):
        return _read_binary(received)
    return ProxyHeader(0, None)


def _read_text(received: bytes) -> ProxyHeader | None:
    end = received.find(b"\n", 0, _MAX_TEXT_BYTES) + 1
    if not end:
        if len(received) >= _MAX_TEXT_BYTES:
            raise ValueError("the header has no end")
        return None
    header = _TEXT.fullmatch(received, 0, end)
    if header is None:
        raise ValueError("the header is malformed")
    source = header["source"]
    return ProxyHeader(end, None if source is None else str(ip_address(source.decode())))


def _read_binary(received: bytes) -> ProxyHeader | None:
    if len(received) < _FIXED_BYTES:
        return None
    command, family = received[12], received[13]
    size = _FIXED_BYTES + int.from_bytes(received[14:16], "big")
    if command not in (_LOCAL, _PROXY) or size > _MAX_BINARY_BYTES:
        raise ValueError("the header is malformed or too long")
    if len(received) < size:
        return None
    if command == _LOCAL or family not in _ADDRESS_BYTES:
        return ProxyHeader(size, None)
    address_bytes, least_bytes = _ADDRESS_BYTES[family]
    if size < _FIXED_BYTES + least_bytes:
        raise ValueError("the header lacks its addresses")
    return ProxyHeader(size, str(ip_address(received[_FIXED_BYTES : _FIXED_BYTES + address_bytes])))
