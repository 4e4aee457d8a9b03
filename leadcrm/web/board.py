"""The board: what every worker of the node writes down for all to read, in memory they share.

One row of numbers a worker, in anonymous memory that is mapped before the workers are forked. A worker writes
its own row only, so there is no lock; a reader adds the rows up. A restarted worker goes on in its predecessor's
row, so counters never step back.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator

DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram: a commit on a local disk to the deadline of an answer."""

OUTCOMES = ("created", "duplicate", "conflict", "invalid", "spooled", "rejected", "error")

_FIELDS = (
    *(f"outcome_{outcome}" for outcome in OUTCOMES),
    *(f"duration_{bound}" for bound in DURATION_BUCKETS_S),
    "duration_more",
    "duration_sum",
    "received_bytes",
    "batches",
    "batch_rows",
    "last_commit",  # Unix time
    "queue_bytes",
    "has_store",
    "serving",
    "loop_seen",  # monotonic time of the last checkpoint
    "writer_seen",
)
_INDEX = {name: index for index, name in enumerate(_FIELDS)}
_OUTCOME_INDEX = {outcome: _INDEX[f"outcome_{outcome}"] for outcome in OUTCOMES}
_FIRST_BUCKET = _INDEX[f"duration_{DURATION_BUCKETS_S[0]}"]
_ROW_BYTES = len(_FIELDS) * 8


class Row:
    """One worker's numbers. `add` and `set` cost a fraction of a microsecond."""

    def __init__(self, cells: memoryview[float]) -> None:
        self._cells = cells

    def add(self, name: str, amount: float = 1) -> None:
        """Add to one of this worker's own numbers."""
        self._cells[_INDEX[name]] += amount

    def set(self, name: str, value: float) -> None:
        """Set one of this worker's own numbers."""
        self._cells[_INDEX[name]] = value

    def get(self, name: str) -> float:
        """Return one of the numbers."""
        return float(self._cells[_INDEX[name]])

    def count_answer(self, outcome: str, seconds: float) -> None:
        """Count a lead's answer, and its duration in its bucket of the histogram."""
        self._cells[_OUTCOME_INDEX[outcome]] += 1
        self._cells[_FIRST_BUCKET + bisect_left(DURATION_BUCKETS_S, seconds)] += 1  # past the last: duration_more
        self.add("duration_sum", seconds)


class Board:
    """The rows of all workers of this node."""

    def __init__(self, workers: int) -> None:
        """Map the memory; call it before forking."""
        self._memory = mmap.mmap(-1, workers * _ROW_BYTES)
        cells = memoryview(self._memory).cast("d")
        size = len(_FIELDS)
        self._rows: list[Row] = [Row(cells[index * size : (index + 1) * size]) for index in range(workers)]

    def row(self, worker: int) -> Row:
        """Return the row of one worker, counted from 0."""
        return self._rows[worker]

    def __iter__(self) -> Iterator[Row]:
        """Go through the rows of all workers."""
        return iter(self._rows)

    def total(self, name: str) -> float:
        """Add one number up over all workers."""
        return sum(row.get(name) for row in self._rows)
