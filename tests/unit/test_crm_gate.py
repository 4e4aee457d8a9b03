"""Guesses of the CRM's token: which addresses are remembered."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from leadcrm.web.crm import gate
from leadcrm.web.crm.gate import Gate
from leadcrm.web.http.client_address import ClientAddress


def guess_from(address: str) -> Any:
    return SimpleNamespace(ip=address, headers={"authorization": "Bearer wrong"}, stream=None)


def test_the_addresses_that_guessed_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_ADDRESSES", 3)
    monkeypatch.setattr(gate, "MAX_WAIT_S", 0)
    guarded = Gate("the-token", ClientAddress(()))

    async def who_waits() -> list[str]:
        order = ("a", "b", "a", "c", "d")
        guesses = [asyncio.ensure_future(guarded.admits(guess_from(address))) for address in order]
        await asyncio.sleep(0)
        waiting = [address for address in "abcd" if guarded.wait_s(guess_from(address))]
        for guess in guesses:
            guess.cancel()
        return waiting

    assert asyncio.run(who_waits()) == ["a", "c", "d"]
