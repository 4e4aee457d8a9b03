"""The client's record of every exchange, against which the database is compared.

An entry counts only once it is synced to disk, so the journal never claims an acknowledgement that did not happen,
even if the client is killed. A thread of the journal syncs the entries in batches.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

FSYNC_INTERVAL_S = 0.05
"""Often enough for the tests, and rare enough not to slow the disk of the server under test."""


class Outcome(str, Enum):
    """How one attempt to send a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """The connection was not established."""
    UNSENT = "unsent"
    """The connection broke before the whole request was sent: the server cannot have read it all."""
    UNANSWERED = "unanswered"
    """The connection broke after the whole request was sent and before the first byte of a response: in doubt."""
    TORN = "torn"
    """The connection broke within the response, or the response is no HTTP."""
    TIMED_OUT = "timed_out"
    """No complete response within the client's timeout."""


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
        """Whether the response says that the lead is kept."""
        return self.status in (201, 409) and self.outcome is Outcome.ANSWERED


class Journal:
    """A file of entries, one JSON object a line; any thread may add one."""

    def __init__(self, path: Path) -> None:
        """Create the file, which must not exist."""
        self.path = path
        self._file = path.open("xb")
        self._waiting: list[Entry] = []
        self._synced: list[Entry] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._write, name="journal")
        self._writer.start()

    def add(self, entry: Entry) -> None:
        """Add an entry; it is durable at the latest when `close` returns."""
        with self._lock:
            self._waiting.append(entry)

    @property
    def entries(self) -> list[Entry]:
        """The durable entries."""
        with self._lock:
            return list(self._synced)

    @property
    def acknowledged_count(self) -> int:
        """The number of durable acknowledgements, repeats included."""
        return sum(entry.acknowledged for entry in self.entries)

    def _write(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(FSYNC_INTERVAL_S)
            with self._lock:
                # Unlocked, an entry could still come to a batch that is being written, and be missing in the file.
                batch, self._waiting = self._waiting, []
            if batch:
                self._file.write(b"".join(json.dumps(asdict(entry)).encode() + b"\n" for entry in batch))
                self._file.flush()
                os.fsync(self._file.fileno())
                with self._lock:
                    self._synced += batch

    def close(self) -> None:
        """Make all entries durable and close the file."""
        self._closing.set()
        self._writer.join()
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: Path) -> list[Entry]:
    """Return the entries of a journal file."""
    with path.open(encoding="utf-8") as lines:
        return [Entry(**{**fields, "outcome": Outcome(fields["outcome"])}) for fields in map(json.loads, lines)]
