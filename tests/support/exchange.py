"""Sends many requests at once and matches their responses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.support.http1 import ParsedAnswer
from tests.support.load import Connection
from tests.support.server import Server


def exchange_all(
    server: Server, requests: Sequence[bytes], *, connections: int = 64, timeout_s: float = 30.0
) -> list[ParsedAnswer]:
    """Send all requests over `connections` keep-alive connections and return their responses in the same order.

    A request without a response fails the test.
    """
    answers: list[ParsedAnswer | None] = [None] * len(requests)
    waiting = iter(enumerate(requests))

    async def send_some() -> None:
        connection = Connection(server.host, server.port)
        try:
            for number, request in waiting:
                exchange = await connection.exchange(request, timeout_s)
                assert exchange.answer is not None, f"{exchange.outcome}: {request[:200]!r}"
                answers[number] = exchange.answer
        finally:
            connection.close()

    async def send_all() -> None:
        await asyncio.gather(*(send_some() for _ in range(connections)))

    asyncio.run(send_all())
    return [answer for answer in answers if answer is not None]
