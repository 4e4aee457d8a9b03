"""Reads a request's body into memory, within a budget that all bodies of its kind share."""

from __future__ import annotations

from typing import Any

from sanic.exceptions import ServiceUnavailable
from sanic.http import Http

from leadcrm.ingest.queue_budget import QueueBudget


async def read_body(stream: Http, budget: QueueBudget, client: str | None) -> bytes:
    """Return the body.

    Most bodies come in one piece with their head, and are held by nobody but their handler. One that comes in several
    takes its bytes from the budget until it is complete.

    Args:
        stream: Where the body comes from; its `request_max_size` is the largest that is read.
        budget: What the body's bytes are taken from.
        client: Whose share of the budget it is; None where it is nobody's.

    Raises:
        PayloadTooLarge: It is larger than `request_max_size`.
        RequestTimeout: It comes too slowly.
        ServiceUnavailable: There is no room for it, or it had to give way to others.
        BadRequest: It ended too early, or is ambiguous.
    """
    if not stream.request_body:
        return b""
    chunk = await stream.read()
    if chunk is None:
        return b""
    # The framework declares it as bytes, but stores True or the word "chunked" in it.
    kind: object = stream.request_body
    if kind is True and not stream.request_bytes_left:
        stream.request_body = None
        return chunk
    chunks: list[bytes] = []
    connection: Any = stream.protocol

    def give_way() -> None:
        chunks.clear()
        connection.fail(_no_room())

    arrival = budget.begin(client, give_way)
    try:
        while chunk is not None:
            if not budget.extend(arrival, len(chunk)):
                raise _no_room()
            chunks.append(chunk)
            chunk = await stream.read() if stream.request_body else None
        return b"".join(chunks)
    finally:
        # A submission takes its bytes from the budget again before the event loop can run anything else.
        budget.end(arrival)


def _no_room() -> ServiceUnavailable:
    return ServiceUnavailable("no room for the body")
