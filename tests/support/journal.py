"""The client's own record of every exchange: what totals are compared with.

A line counts only once it is fsynced, so that what the journal says was acknowledged was acknowledged,
whatever happens to the client. Lines are fsynced in batches by a thread of the journal's own.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

FSYNC_INTERVAL_S = 0.05
"""So that the journal's fsyncs do not fill the disk that the server under test writes to."""


class Outcome(str, Enum):
    """How one attempt to send a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """No connection came to be."""
    UNSENT = "unsent"
    """The connection broke before the whole request was sent: the server cannot have read it."""
    UNANSWERED = "unanswered"
    """The connection broke after the whole request was sent, and no byte came back: in doubt."""
    TORN = "torn"
    """The connection broke within the answer, or what came back is no HTTP."""
    TIMED_OUT = "timed_out"
    """No whole answer within the client's time."""


@dataclass(frozen=True)
class Entry:
    """One attempt."""

    key: str | None
    """The Idempotency-Key, as latin-1 text."""
    body_sha256: str
    outcome: Outcome
    status: int | None
    lead_id: str | None
    deduplicated: bool | None
    raw_id: str | None
    stored: str | None
    latency_s: float
    at_s: float
    """When the attempt ended, on the monotonic clock."""

    @property
    def acknowledged(self) -> bool:
        """Whether the sender was told that the lead is kept."""
        return self.status in (201, 409) and self.outcome is Outcome.ANSWERED


class Journal:
    """A file of entries, one JSON object a line, appended to by any thread."""

    def __init__(self, path: Path) -> None:
        """Create the file; it must not exist."""
        self.path = path
        self._file = path.open("xb")
        self._waiting: list[Entry] = []
        self._synced: list[Entry] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._write, name="journal")
        self._writer.start()

    def add(self, entry: Entry) -> None:
        """Hand over an entry; it is durable, and counts, at the latest when `close` returns."""
        self._waiting.append(entry)

    @property
    def entries(self) -> list[Entry]:
        """The entries that are on stable storage."""
        with self._lock:
            return list(self._synced)

    @property
    def acknowledged_count(self) -> int:
        """How many durable entries are acknowledgements, repeats included."""
        return sum(entry.acknowledged for entry in self.entries)

    def _write(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(FSYNC_INTERVAL_S)
            batch, self._waiting = self._waiting, []
            if batch:
                self._file.write(b"".join(json.dumps(asdict(entry)).encode() + b"\n" for entry in batch))
                self._file.flush()
                os.fsync(self._file.fileno())
                with self._lock:
                    self._synced += batch

    def close(self) -> None:
        """Make all that was added durable."""
        self._closing.set()
        self._writer.join()
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: Path) -> list[Entry]:
    """Return the entries of a journal's file."""
    with path.open(encoding="utf-8") as lines:
        return [Entry(**{**fields, "outcome": Outcome(fields["outcome"])}) for fields in map(json.loads, lines)]
