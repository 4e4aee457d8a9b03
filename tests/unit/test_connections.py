"""The places for connections of one worker: who gives way to whom."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network

import pytest

from leadcrm.web.http.client_address import client_of, network_of
from leadcrm.web.http.connections import Connections


class Held:
    """A connection that only notes what it is told."""

    def __init__(self, client: str | None, unused_since: float | None) -> None:
        self.client = client
        self.unused_since = unused_since
        self.has_given_way = False
        self.awaits_part = False
        self.arriving_since = self.window_at = 0.0
        self.window_bytes = 0

    def has_unread(self) -> bool:
        return False

    def give_way(self) -> None:
        self.has_given_way = True

    def be_too_slow(self) -> None:
        raise AssertionError


def enter(places: Connections, *held: Held) -> list[bool]:
    """Let connections enter, and return which of them have given way in the end."""
    for connection in held:
        places.enter(connection)
    return [connection.has_given_way for connection in held]


@pytest.fixture
def counted() -> Counter[str]:
    return Counter()


@pytest.fixture
def places(counted: Counter[str]) -> Connections:
    return Connections(most=4, window_s=20, count=lambda reason: counted.update((reason,)))


def test_the_longest_unused_gives_way_to_a_new_one_and_one_in_use_never(
    places: Connections, counted: Counter[str]
) -> None:
    held = [Held(str(number), since) for number, since in enumerate((3.0, None, 1.0, 2.0, 9.0, 9.5))]
    assert enter(places, *held) == [False, False, True, True, False, False]
    assert counted == {"connections": 2}


def test_where_all_are_in_use_the_new_one_gives_way(places: Connections) -> None:
    assert enter(places, *(Held(str(number), None) for number in range(4)), Held("4", 9.0)) == [False] * 4 + [True]


def test_one_that_has_left_has_freed_its_place(places: Connections) -> None:
    held = [Held("a", 1.0), Held("b", 2.0), Held("c", 3.0), Held("d", 4.0)]
    enter(places, *held)
    places.leave(held[0])
    places.leave(held[0])
    assert enter(places, Held("a", 5.0)) == [False]


def test_a_client_over_its_share_gives_way_to_itself(places: Connections) -> None:
    assert enter(places, Held("other", 0.0), *(Held("a", since) for since in (5.0, 4.0, 6.0))) == [
        False,
        False,
        True,
        False,
    ]


def test_a_proxy_has_no_share(places: Connections) -> None:
    assert enter(places, *(Held(None, since) for since in (1.0, 2.0, 3.0, 4.0))) == [False] * 4


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:DB8:0:1::", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_all_addresses_of_a_64_are_one_client(address: str, network: str) -> None:
    assert network_of(address) == network
    assert client_of(address, ()) == network


@pytest.mark.parametrize("address", ["", "127.0.0.9", "::ffff:127.0.0.9", "2001:db8::7"])
def test_a_trusted_proxy_and_a_unix_socket_are_no_client(address: str) -> None:
    assert client_of(address, (ip_network("127.0.0.0/8"), ip_network("2001:db8::/32"))) is None
