"""The client's address: in one form, and only from proxies that are trusted."""

from __future__ import annotations

import logging
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from sanic.compat import Header

from leadcrm.web.http.client_address import ClientAddress, network_of

PROXY = "127.0.0.1"


def asked(peer: str, **headers: str) -> Any:
    return SimpleNamespace(ip=peer, headers=Header({name.replace("_", "-"): value for name, value in headers.items()}))


def behind(*networks: str) -> ClientAddress:
    return ClientAddress(tuple(map(ip_network, networks)))


@pytest.mark.parametrize(
    ("peer", "written"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::FFFF:192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", "unix"),
    ],
)
def test_a_peers_address_has_one_form(peer: str, written: str) -> None:
    assert behind().of(asked(peer)) == written


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ("for=192.0.2.43, for=127.0.0.9;by=x", "192.0.2.43"),
        ('for=192.0.2.43;host="a,b;for=6.6.6.6"', "192.0.2.43"),
        ("proto=https;for=192.0.2.43", "192.0.2.43"),
        ("for=unknown", PROXY),
        ("for=_hidden, for=unknown", PROXY),
        ('for="', PROXY),
        ("by=192.0.2.1", PROXY),
    ],
)
def test_forwarded_is_read_from_a_trusted_proxy(header: str, address: str) -> None:
    assert behind("127.0.0.0/8").of(asked(PROXY, forwarded=header)) == address
    assert behind("10.0.0.0/8").of(asked(PROXY, forwarded=header)) == PROXY


def test_x_forwarded_for_comes_before_a_forwarded_that_a_client_may_have_written() -> None:
    request = asked(PROXY, forwarded="for=6.6.6.6", x_forwarded_for="192.0.2.1")
    assert behind("127.0.0.0/8").of(request) == "192.0.2.1"


def test_a_proxy_on_a_unix_socket_is_believed() -> None:
    assert behind().of(asked("", x_forwarded_for="6.6.6.6, 192.0.2.1")) == "192.0.2.1"
    assert behind("10.0.0.0/8").of(asked("", x_forwarded_for="192.0.2.1, 10.0.0.1")) == "192.0.2.1"
    assert behind().of(asked("", x_forwarded_for="nonsense")) == "unix"


def test_an_untrusted_peer_that_forwards_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    addresses = behind("10.0.0.0/8")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert addresses.of(asked("192.0.2.1", x_forwarded_for="6.6.6.6")) == "192.0.2.1"
        addresses.of(asked("10.0.0.1", x_forwarded_for="6.6.6.6"))
    assert [record.getMessage() for record in caplog.records] == [
        "X-Forwarded-For or Forwarded comes from 192.0.2.1, which TRUSTED_PROXIES does not name: it is not believed"
    ]


@pytest.mark.parametrize(
    "header", ["," * 16_000, '"' * 16_000, "for=" * 4_000, 'for="' + "a," * 8_000, ";for=" * 3_000]
)
def test_no_header_takes_long(header: str) -> None:
    for name in ("x_forwarded_for", "forwarded"):
        assert behind("127.0.0.0/8").of(asked(PROXY, **{name: header})) == PROXY


def test_a_network_is_what_one_client_has() -> None:
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("unix") == "unix"
