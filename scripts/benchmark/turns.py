"""What one thing costs ingestion: within one load it is switched on and off, turn by turn.

The machine's own speed changes within seconds by more than what is looked for. So turns are short, many and in pairs,
and the standard error is told with each ratio.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import pi, sqrt
from operator import attrgetter
from statistics import median, pstdev
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmark.load import run_load
from benchmark.systems import System
from tests.support.client import Client

CONNECTIONS = 64

HEADER = "alone, leads/s | with, leads/s | ratio | alone, µs | with, µs | ratio"
"""The names of the cells of `compare`."""

LOAD_S = 10.0
SETTLE_S = 3.0


class Turn(NamedTuple):
    """Leads a second, and the processor's time a lead, of server and database."""

    rate: float
    cpu_us: float


def compare(system: System, switch: Callable[[bool], None], *, rounds: int, seconds: float) -> str:
    """Return a table's cells: rate without and with what `switch` switches, their ratio, the same of processor time.

    A ratio below 1 says that it costs something. It is the median of the pairs' ratios, with its standard error.
    """
    pairs = []
    with _steady_load(system):
        for number in range(rounds):
            turns = {}
            # Whoever comes second has the fuller tables.
            for is_on in (True, False) if number % 2 else (False, True):
                switch(is_on)
                turns[is_on] = _turn(system, seconds)
            pairs.append((turns[False], turns[True]))
    cells = []
    for of, is_cost in ((attrgetter("rate"), False), (attrgetter("cpu_us"), True)):
        without, with_it = (median(map(of, turns)) for turns in zip(*pairs, strict=True))
        ratios = [of(a) / of(b) if is_cost else of(b) / of(a) for a, b in pairs]
        # A median's error is larger than a mean's by the root of pi / 2.
        error = sqrt(pi / 2) * pstdev(ratios) / sqrt(len(ratios))
        cells.append(f"{without:,.0f} | {with_it:,.0f} | {median(ratios):.3f} ± {error:.3f}")
    print(f"bench: {system.name} {' | '.join(cells)}", flush=True)
    return " | ".join(cells)


@contextmanager
def _steady_load(system: System) -> Iterator[None]:
    """Send leads while the block runs."""
    is_over = threading.Event()

    def send() -> None:
        while not is_over.is_set():
            run_load(
                system.url,
                system.kind.path,
                connections=CONNECTIONS,
                seconds=LOAD_S,
                key_in_body=system.kind.key_in_body,
            )

    thread = threading.Thread(target=send)
    thread.start()
    try:
        time.sleep(SETTLE_S)
        yield
    finally:
        is_over.set()
        thread.join()


def _turn(system: System, seconds: float) -> Turn:
    client = Client("127.0.0.1", urlsplit(system.url).port or 0)
    began, cpu_s, leads = time.monotonic(), sum(system.cpu_seconds()), _created(client)
    time.sleep(seconds)
    took_s = time.monotonic() - began
    leads = _created(client) - leads
    return Turn(leads / took_s, (sum(system.cpu_seconds()) - cpu_s) / leads * 1e6)


def _created(client: Client) -> float:
    return client.metric("leadcrm_leads_total", outcome="created")
