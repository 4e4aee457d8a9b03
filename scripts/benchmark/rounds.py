"""Interleaved rounds: each round measures every system at every number of connections, in random order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmark.load import Load, run_load
from benchmark.systems import System

WARM_UP_S = 1.0
"""Warm-up before every measurement, for compilers, caches and connections."""


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    system: str
    connections: int
    rate: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float  # of the server's processes, a lead
    database_cpu_us: float
    memory_mb: float


@dataclass(frozen=True)
class Cell:
    """One system at one number of connections: medians over the rounds, and the sum of errors."""

    rate: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float
    database_cpu_us: float
    memory_mb: float
    rounds: int


Cells = dict[tuple[str, int], Cell]


def measure(system: System, connections: int, seconds: float) -> Sample:
    """Warm up, then measure."""

    def load(seconds: float) -> Load:
        return run_load(
            system.url,
            system.kind.path,
            connections=connections,
            seconds=seconds,
            key_in_body=system.kind.key_in_body,
        )

    load(WARM_UP_S)
    own_before, database_before = system.cpu_seconds()
    result = load(seconds)
    own_after, database_after = system.cpu_seconds()
    answers = max(1, result.requests)
    return Sample(
        system.name,
        connections,
        result.rate,
        result.p50_ms,
        result.p99_ms,
        result.errors,
        (own_after - own_before) / answers * 1e6,
        (database_after - database_before) / answers * 1e6,
        system.memory_bytes() / 1e6,
    )


def run_rounds(systems: Sequence[System], connections: Sequence[int], *, rounds: int, seconds: float) -> list[Sample]:
    """Measure every system in every round and return all samples."""
    samples: list[Sample] = []
    for number in range(rounds):
        for count in connections:
            # A heavy writer leaves a checkpoint to the system after it, so the order changes every time.
            for system in random.sample(systems, len(systems)):
                sample = measure(system, count, seconds)
                samples.append(sample)
                print(
                    f"round {number + 1}/{rounds} {count:>4} connections {system.kind.label:<56}"
                    f"{sample.rate:>8,.0f}/s  p50 {sample.p50_ms:>7.2f} ms  p99 {sample.p99_ms:>7.2f} ms"
                    f"{f'  {sample.errors} errors' if sample.errors else ''}",
                    flush=True,
                )
    return samples


def cells(samples: Iterable[Sample]) -> Cells:
    """Return the medians of each system at each number of connections."""
    grouped: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        grouped.setdefault((sample.system, sample.connections), []).append(sample)
    return {
        place: Cell(
            **{
                name: median(getattr(sample, name) for sample in group)
                for name in ("rate", "p50_ms", "p99_ms", "cpu_us", "database_cpu_us", "memory_mb")
            },
            errors=sum(sample.errors for sample in group),
            rounds=len(group),
        )
        for place, group in grouped.items()
    }
