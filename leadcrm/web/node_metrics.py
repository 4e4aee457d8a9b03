"""The metrics of all workers of this node, in memory that they share.

Every worker has one row of numbers and texts in anonymous memory that is mapped before the workers are forked. A worker
writes only to its own row, so there is no lock; a reader sums the rows. A restarted worker continues its predecessor's
row, so counters never decrease.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from leadcrm.database.states import Outcome

DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram, from a commit on a local disk to an answer past its deadline."""

OUTCOMES = tuple(outcome.value for outcome in Outcome)

TURNED_AWAY = ("no_room", "body", "too_slow", "connections")
"""Why senders were turned away: leads that wait filled `QUEUE_BYTES`; an unfinished body had to give way to others; a
request came too slowly; there were too many connections."""

_NAMES = (
    *(f"outcome_{outcome}" for outcome in OUTCOMES),
    *(f"duration_{bound}" for bound in DURATION_BUCKETS_S),
    "duration_more",
    "duration_sum",
    "received_bytes",
    "batches",
    "batch_rows",
    "failed_rows",
    *(f"turned_away_{reason}" for reason in TURNED_AWAY),
    "postponed_rows",
    "clustered_conflicts",
    "last_commit",  # Unix time
    "queue_bytes",
    "feed_lag",
    "has_store",
    "connected_at",  # Unix time, of the connection for leads
    "reconnects",
    "serving",
    "committed_at",  # Unix time when a commit reached the database for certain
    "standby_used",
    "standby_lag",
    "standby_reads",
    "primary_reads",
    "changed_position",  # of the database's log after the last change by people
    "unplaced_changes",
    "told_seq",  # the newest number of the feed that readers may know of
    "loop_seen",  # monotonic time of the last checkpoint
    "writer_seen",
)
_INDEX = {name: index for index, name in enumerate(_NAMES)}
_OUTCOME_INDEX = {outcome: _INDEX[f"outcome_{outcome}"] for outcome in OUTCOMES}
_FIRST_BUCKET = _INDEX[f"duration_{DURATION_BUCKETS_S[0]}"]
_CELL_BYTES = len(_NAMES) * 8
TEXTS = {"host": 128, "replication": 16, "database_fault": 512, "standby": 128, "standby_fault": 512}
"""The texts of a worker, with the bytes that each may take."""
_TEXT_AT = dict(zip(TEXTS, accumulate(TEXTS.values(), initial=0), strict=False))
_ROW_BYTES = _CELL_BYTES + sum(TEXTS.values())


class WorkerMetrics:
    """One worker's numbers. `add` and `set` cost a fraction of a microsecond."""

    def __init__(self, row: memoryview[int]) -> None:
        self._cells = row[:_CELL_BYTES].cast("d")
        self._texts = row[_CELL_BYTES:]

    def add(self, name: str, amount: float = 1) -> None:
        """Add to a number."""
        self._cells[_INDEX[name]] += amount

    def set(self, name: str, value: float) -> None:
        """Set a number."""
        self._cells[_INDEX[name]] = value

    def get(self, name: str) -> float:
        """Return a number."""
        return float(self._cells[_INDEX[name]])

    def set_text(self, name: str, text: str) -> None:
        """Set a text, cut to its size."""
        size = TEXTS[name]
        self._texts[_TEXT_AT[name] : _TEXT_AT[name] + size] = text.encode()[:size].ljust(size, b"\0")

    def get_text(self, name: str) -> str:
        """Return a text."""
        content = bytes(self._texts[_TEXT_AT[name] : _TEXT_AT[name] + TEXTS[name]])
        return content.partition(b"\0")[0].decode(errors="replace")

    def count_answer(self, outcome: str, seconds: float) -> None:
        """Count the answer to a lead, and its duration in the histogram."""
        self._cells[_OUTCOME_INDEX[outcome]] += 1
        self._cells[_FIRST_BUCKET + bisect_left(DURATION_BUCKETS_S, seconds)] += 1  # past the last: duration_more
        self.add("duration_sum", seconds)


class NodeMetrics:
    """The numbers of all workers of this node."""

    def __init__(self, workers: int) -> None:
        """Map the memory; call it before forking."""
        self._memory = mmap.mmap(-1, workers * _ROW_BYTES)
        rows = memoryview(self._memory)
        self._workers = [WorkerMetrics(rows[index * _ROW_BYTES : (index + 1) * _ROW_BYTES]) for index in range(workers)]

    def worker(self, number: int) -> WorkerMetrics:
        """Return the numbers of one worker, counted from 0."""
        return self._workers[number]

    def __iter__(self) -> Iterator[WorkerMetrics]:
        """Iterate over the workers' numbers."""
        return iter(self._workers)

    def greatest(self, name: str) -> float:
        """Return the greatest of all workers' numbers."""
        return max(worker.get(name) for worker in self._workers)

    def total(self, name: str) -> float:
        """Sum one number over all workers."""
        return sum(worker.get(name) for worker in self._workers)
