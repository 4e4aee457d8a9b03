"""What goes on beside an attack: an honest sender of 20 leads a second, and a probe of the server's health."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from tests.support.client import Client
from tests.support.connection import Connection, Exchange
from tests.support.journal import Journal
from tests.support.load import Lead, entry_of, generated_leads, request_of

LEADS_PER_S = 20
TIMEOUT_S = 10.0
PROBE_INTERVAL_S = 0.2


@dataclass(frozen=True)
class Probe:
    """One answer of GET /health; the status is None where none came."""

    at_s: float
    status: int | None
    latency_s: float


class HonestSender:
    """Sends leads by the clock, whatever becomes of the ones before: every second one on a connection of its own.

    A lead that is lost with a kept connection is sent again at once, as libraries of HTTP do.
    """

    def __init__(self, client: Client, journal: Journal, seed: int) -> None:
        """Start sending."""
        self.latencies_s: list[float] = []
        self._address = (client.host, client.port)
        self._journal = journal
        self._leads = generated_leads(seed)
        self._kept: list[Connection] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send()), name="honest")
        self._thread.start()

    def stop(self) -> None:
        """Wait for the answers to all leads that were sent."""
        self._stopping.set()
        self._thread.join()

    async def _send(self) -> None:
        started = time.monotonic()
        deliveries = []
        for number, lead in zip(itertools.count(), self._leads):
            due = started + number / LEADS_PER_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self._stopping.is_set():
                break
            deliveries.append(asyncio.create_task(self._deliver(lead, due, on_kept=number % 2 == 0)))
        await asyncio.gather(*deliveries)
        for connection in self._kept:
            connection.close()

    async def _deliver(self, lead: Lead, due: float, *, on_kept: bool) -> None:
        is_answered = False
        if on_kept:
            connection = self._kept.pop() if self._kept else Connection(*self._address)
            is_answered = (await self._attempt(connection, lead, due)).answer is not None
            self._kept.append(connection)
        if not is_answered:
            connection = Connection(*self._address)
            await self._attempt(connection, lead, due)
            connection.close()
        self.latencies_s.append(time.monotonic() - due)

    async def _attempt(self, connection: Connection, lead: Lead, due: float) -> Exchange:
        exchange = await connection.exchange(request_of(lead, self._address), TIMEOUT_S)
        self._journal.add(entry_of(lead, exchange, due))
        return exchange


class HealthProbe:
    """Asks for the health again and again, on a new connection each time."""

    def __init__(self, client: Client) -> None:
        """Start asking."""
        self.probes: list[Probe] = []
        self._client = client
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="health")
        self._thread.start()

    def stop(self) -> None:
        """Wait for the last answer."""
        self._stopping.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stopping.wait(PROBE_INTERVAL_S):
            started = time.monotonic()
            status = None
            with suppress(OSError):
                status = self._client.get("/health", timeout_s=TIMEOUT_S).status
            ended = time.monotonic()
            self.probes.append(Probe(ended, status, ended - started))
