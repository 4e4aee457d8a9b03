"""The order in which the addresses of a cluster are tried, and what is asked of each."""

from __future__ import annotations

import itertools
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from leadcrm.database import hosts
from leadcrm.database.hosts import Address, address_of, reach, try_last
from leadcrm.errors import StoreUnavailable

THREE = {"host": "one,two,three", "hostaddr": "192.0.2.1,192.0.2.2,192.0.2.3", "port": "5001,5002,5003"}


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    hosts._ranks.clear()
    yield
    hosts._ranks.clear()


class Network:
    """Servers by the host's name, and in which order they were asked."""

    def __init__(self, *serving: str) -> None:
        self.serving = set(serving)
        self.asked: list[dict[str, Any]] = []

    def connect(self, arguments: dict[str, Any]) -> str:
        self.asked.append(arguments)
        if arguments["host"] not in self.serving:
            raise psycopg2.OperationalError("session is read-only")
        return str(arguments["host"])

    def order(self) -> list[str]:
        asked, self.asked = self.asked, []
        return [arguments["host"] for arguments in asked]


def test_the_host_that_served_last_comes_first_and_what_failed_last_comes_last() -> None:
    network = Network("two")
    assert reach(THREE, network.connect) == "two"
    assert reach(THREE, network.connect) == "two"
    assert network.order() == ["one", "two", "two"]
    network.serving = {"one"}
    assert reach(THREE, network.connect) == "one"
    assert network.order() == ["two", "three", "one"]


def test_threads_that_reach_for_hosts_at_once_do_not_disturb_each_other() -> None:
    network = Network("two")
    is_over = threading.Event()

    def remember_others() -> None:
        for number in itertools.count():
            if is_over.is_set():
                return
            try_last(Address("other", "", str(number)))

    thread = threading.Thread(target=remember_others)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(500):
            assert reach(THREE, network.connect) == "two"
    finally:
        sys.setswitchinterval(interval_s)
        is_over.set()
        thread.join()


def test_a_host_that_turns_out_to_take_no_writes_comes_last() -> None:
    network = Network("one", "two", "three")
    reach(THREE, network.connect)
    try_last(address_of(network.asked[0]))
    reach(THREE, network.connect)
    assert network.order() == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ({"host": "one", "hostaddr": "192.0.2.1"}, None),
        ({"host": "/run/postgresql"}, None),
        (THREE, "read-write"),
        ({**THREE, "target_session_attrs": "any"}, "any"),
    ],
)
def test_several_hosts_mean_one_that_takes_writes(arguments: dict[str, str], asked: str | None) -> None:
    network = Network("one", "/run/postgresql")
    reach(arguments, network.connect)
    assert network.asked[0].get("target_session_attrs") == asked


def test_several_addresses_of_a_name_are_several_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{number}", 5432)) for number in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    asked = []

    def connect(arguments: dict[str, Any]) -> str:
        asked.append((arguments["hostaddr"], arguments["target_session_attrs"]))
        if arguments["hostaddr"] == "192.0.2.1":
            raise psycopg2.OperationalError("session is read-only")
        return "reached"

    assert reach({"host": "cluster"}, connect) == "reached"
    assert asked == [("192.0.2.1", "read-write"), ("192.0.2.2", "read-write")]


def failing(texts: dict[str, str]) -> Callable[[dict[str, Any]], None]:
    def connect(arguments: dict[str, Any]) -> None:
        raise psycopg2.OperationalError(texts[arguments["host"]])

    return connect


def test_where_none_serves_each_reason_is_told() -> None:
    texts = {
        "one": "session is read-only",
        "two": 'connection failed: password authentication failed for user "u"',
        "three": "the database did not answer within its deadline",
    }
    with pytest.raises(StoreUnavailable) as told:
        reach(THREE, failing(texts))
    assert all(text in str(told.value) for text in texts.values())
    assert "password" in told.value.hint
    assert told.value.public == (
        "no host takes writes: one:5001 is a standby, two:5002 cannot be used, three:5003 does not answer"
    )


def test_a_name_that_is_unknown_leads_to_the_next_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    network = Network("/run/postgresql")
    assert reach({"host": "nowhere.invalid,/run/postgresql"}, network.connect) == "/run/postgresql"
