"""A load of leads that records every attempt in a journal.

It runs in its own thread, so that the test can meanwhile kill the server. It ends after a number of leads, after a
time, or when stopped; each exchange ends after `timeout_s`.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.support.client import parse_receipt
from tests.support.connection import Connection, Exchange
from tests.support.journal import Entry, Journal, Outcome

RETRY_DELAY_S = (0.02, 0.25)
"""First and longest pause before a retry. Obeying Retry-After would turn seconds into minutes."""
RECENT_LEADS = 64
"""Repeats are drawn from this many recent leads, so that the first request is often still in flight."""


@dataclass(frozen=True)
class Lead:
    """The key and body of one request."""

    key: bytes | None
    body: bytes


def generated_leads(
    seed: int, *, repeat_share: float = 0.0, conflict_share: float = 0.0, keyless_share: float = 0.0
) -> Iterator[Lead]:
    """Yield an endless, reproducible sequence of leads.

    Args:
        seed: the same seed gives the same leads.
        repeat_share: leads with the key and the body of a recent one.
        conflict_share: leads with the key of a recent one and another body.
        keyless_share: leads without a key. All others have a new key.
    """
    chance = random.Random(seed)
    recent: deque[Lead] = deque(maxlen=RECENT_LEADS)
    number = 0
    while True:
        number += 1
        fields = {
            "click_id": f"{seed}-{number}",
            "country": chance.choice(("LV", "EE", "LT")),
            "email": f"user{number}@example.com",
            "firstName": "Jānis",
            "lastName": f"Bērziņš no-log-may-hold {number}",
            "phone": f"+371{chance.randrange(10**8):08}",
            "description": "x" * chance.randrange(200),
        }
        body = json.dumps(fields, ensure_ascii=False).encode()
        drawn = chance.random()
        if drawn < keyless_share:
            yield Lead(None, body)
            continue
        drawn -= keyless_share
        if recent and drawn < repeat_share:
            yield chance.choice(recent)
        elif recent and drawn < repeat_share + conflict_share:
            yield Lead(chance.choice(recent).key, body)
        else:
            lead = Lead(hashlib.sha256(f"{seed}-{number}".encode()).hexdigest().encode(), body)
            recent.append(lead)
            yield lead


class Load:
    """Connections that each send lead after lead and record every attempt in a journal.

    A lead that got no response, or 429 or 5xx, is sent again with its key until it gets another response or the load
    ends. A lead without a key is sent again only if it was certainly not kept: a second row could not be recognized
    as a repeat.
    """

    def __init__(
        self,
        host: str,
        port: int,
        journal: Journal,
        leads: Iterable[Lead],
        *,
        connections: int = 16,
        most_leads: int | None = None,
        most_s: float = 60.0,
        timeout_s: float = 10.0,
        keep_alive: bool = True,
        pause_s: float = 0.0,
    ) -> None:
        """Prepare a load.

        Args:
            host: address of the server.
            port: port of the server.
            journal: where attempts are recorded.
            leads: the leads to send.
            connections: connections in parallel.
            most_leads: end after this many leads.
            most_s: start no further lead after this many seconds.
            timeout_s: the limit for one exchange.
            keep_alive: reuse connections.
            pause_s: pause of each connection between two leads.
        """
        self._address = (host, port)
        self._journal = journal
        self._leads = itertools.islice(leads, most_leads)
        self._connections = connections
        self._most_s = most_s
        self._timeout_s = timeout_s
        self._keep_alive = keep_alive
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._deadline = 0.0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run_thread, name="load")

    def start(self) -> Load:
        """Start sending."""
        self._deadline = time.monotonic() + self._most_s
        self._thread.start()
        return self

    def stop(self) -> None:
        """Finish the exchanges in flight, then end."""
        self._stopping.set()
        self.wait()

    def wait(self) -> None:
        """Wait until all leads are sent or the time is up."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    @property
    def running(self) -> bool:
        """Whether it is still sending."""
        return self._thread.is_alive()

    def __enter__(self) -> Load:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run_thread(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as failure:  # re-raised by `wait`
            self._failure = failure

    async def _send_all(self) -> None:
        await asyncio.gather(*(self._send_leads() for _ in range(self._connections)))

    @property
    def _ends(self) -> bool:
        return self._stopping.is_set() or time.monotonic() >= self._deadline

    async def _send_leads(self) -> None:
        connection = Connection(*self._address)
        try:
            for lead in self._leads:
                await self._deliver(connection, lead)
                if self._ends:
                    return
                if self._pause_s:
                    await asyncio.sleep(self._pause_s)
        finally:
            connection.close()

    async def _deliver(self, connection: Connection, lead: Lead) -> None:
        request = request_of(lead, self._address, keep_alive=self._keep_alive)
        delay_s, longest_delay_s = RETRY_DELAY_S
        while True:
            started = time.monotonic()
            exchange = await connection.exchange(request, self._timeout_s)
            self._journal.add(entry_of(lead, exchange, started))
            if self._ends or not _wants_retry(lead, exchange):
                return
            await asyncio.sleep(random.uniform(delay_s / 2, delay_s))
            delay_s = min(2 * delay_s, longest_delay_s)


def request_of(lead: Lead, address: tuple[str, int], *, keep_alive: bool = True) -> bytes:
    """Return the bytes of the request that posts a lead to an address."""
    lines = [
        b"POST /api/lead HTTP/1.1",
        b"Host: %s:%d" % (address[0].encode(), address[1]),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(lead.body),
    ]
    if lead.key is not None:
        lines.append(b"Idempotency-Key: " + lead.key)
    if not keep_alive:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", lead.body])


def _wants_retry(lead: Lead, exchange: Exchange) -> bool:
    answer = exchange.answer
    certainly_not_kept = exchange.outcome in (Outcome.REFUSED, Outcome.UNSENT) or (
        answer is not None and answer.status in (429, 503)
    )
    in_doubt = answer is None or answer.status >= 500
    return certainly_not_kept or (in_doubt and lead.key is not None)


def entry_of(lead: Lead, exchange: Exchange, started: float) -> Entry:
    """Return the journal's entry of an attempt that began at `started`, on the monotonic clock."""
    at_s = time.monotonic()
    status = lead_id = deduplicated = receipt = None
    if exchange.answer is not None:
        status = exchange.answer.status
        headers = {name.lower(): value for name, value in exchange.answer.headers}
        receipt = parse_receipt(headers.get("lead-receipt"))
        if status in (201, 409):
            told = json.loads(exchange.answer.body)
            lead_id, deduplicated = told["lead_id"], told["deduplicated"]
    return Entry(
        key=None if lead.key is None else lead.key.decode("latin-1"),
        body_sha256=hashlib.sha256(lead.body).hexdigest(),
        outcome=exchange.outcome,
        status=status,
        lead_id=lead_id,
        deduplicated=deduplicated,
        raw_id=receipt.raw_id if receipt else None,
        stored=receipt.stored if receipt else None,
        latency_s=at_s - started,
        at_s=at_s,
    )
