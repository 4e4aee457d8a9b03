"""Wrong tokens wait for each other: by address, by IPv6 network and all together."""

from __future__ import annotations

import asyncio

import pytest

from leadcrm.web import guesses
from leadcrm.web.guesses import GUESS_INTERVAL_S, MAX_WAIT_S, TOTAL_INTERVAL_S, Guesses


def waits_of(addresses: list[str]) -> list[float]:
    """Return how long the answer to each of these guesses, which come at once, has to wait."""
    held = Guesses()
    return [held._count(guesses.network_of(address)) for address in addresses]


def test_guesses_from_one_address_wait_for_each_other_and_for_no_other_address() -> None:
    waits = waits_of(["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"])
    assert waits == pytest.approx([0.5, 1.0, 0.5, 1.5], abs=0.1)


def test_an_ipv6_network_is_one_address() -> None:
    assert waits_of(["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]) == pytest.approx([0.5, 1.0, 0.5], abs=0.1)


def test_guesses_from_all_addresses_wait_in_total() -> None:
    many = waits_of([f"192.0.2.{number}" for number in range(250)])
    assert many[0] == pytest.approx(GUESS_INTERVAL_S, abs=0.01)
    assert sum(wait <= MAX_WAIT_S for wait in many) == pytest.approx(MAX_WAIT_S / TOTAL_INTERVAL_S, abs=1)


def test_a_guess_that_would_wait_too_long_is_refused_at_once_and_keeps_nobody_waiting() -> None:
    async def refused() -> float:
        held = Guesses()
        for _ in range(200):
            held._count("192.0.2.1")
        return await held.hold_back("192.0.2.1")

    assert MAX_WAIT_S < asyncio.run(refused()) <= MAX_WAIT_S + GUESS_INTERVAL_S


def test_the_addresses_that_guessed_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "MAX_ADDRESSES", 3)
    held = Guesses()
    for address in ("a", "b", "a", "c", "d"):
        held._count(address)
    assert list(held._due) == ["a", "c", "d"]
