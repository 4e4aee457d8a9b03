"""What every store promises, and what is the same in all of them: who holds a key, and what senders are told.

Invariants of a store:
- `write` ends after the commit, so its results may be acknowledged.
- It is idempotent by id: writing a batch again, whole or in part, after a commit in doubt changes nothing.
- Every raw row that is inserted is counted in the ledger of its day, in the same transaction: a row that is deleted
  later leaves a gap between the two.
- Of all rows with one Idempotency-Key exactly one holds it; the others point at it.
- A submission that the database refuses does not hurt its neighbours.
- It serves one operation at a time, and belongs to whoever drives that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from uuid import UUID

from uuid_utils import uuid7

from leadcrm.errors import SubmissionRefused
from leadcrm.ingest.driving import Operation
from leadcrm.ingest.submission import Receipt, Submission, receipt_for

CONFLICT_ATTEMPTS = 5
"""A rival for a key can vanish between the insert that lost and the look-up; each try needs another rival."""

LEDGER_BATCHES = 256
"""Batches that are counted in one entry of the ledger."""

UNENCODABLE = (TypeError, ValueError, OverflowError)
"""What encoding a row can raise. A submission holds nothing that does; if one ever did, its neighbours go through."""

WriteResult = Receipt | SubmissionRefused
"""A receipt, or why the database refuses to hold even the raw row, which is then not kept."""

Known = dict[bytes, tuple[str, bytes]]
"""Key hash → id and body hash of the row that holds the key."""


class Store(Protocol):
    """A place that keeps batches of submissions."""

    def write(self, batch: Sequence[Submission]) -> Operation[list[WriteResult]]:
        """Keep every submission of the batch and return a result each, in order; durable at its end.

        Raises:
            StoreUnavailable: The batch could not be kept, with the commit possibly in doubt. Writing it again is safe.
        """

    def prove(self) -> Operation[None]:
        """Commit a real write that changes nothing, after taking the locks of a batch. Raises `StoreUnavailable`."""

    def close(self) -> None:
        """Close the connection; it may block, as the file of an embedded database is brought up to date."""


class Ledger:
    """Gives the entry that a store's batches are counted in: a new one now and then, and never another store's.

    Nobody waits for another's commit, and nobody deadlocks. Beside a long read PostgreSQL keeps every version of a row
    that is updated, and would search through them all: hence a new entry now and then.
    """

    def __init__(self) -> None:
        """Begin with a fresh entry."""
        self._batches = 0
        self._entry = UUID(bytes=uuid7().bytes)

    def entry(self) -> UUID:
        """Return the entry of the next batch."""
        self._batches += 1
        if self._batches > LEDGER_BATCHES:
            self._entry = UUID(bytes=uuid7().bytes)
            self._batches = 1
        return self._entry


def settle(batch: Sequence[Submission], known: Known) -> dict[str, Submission]:
    """Decide by arrival which row of each key holds it, given who holds keys already; rows by id, in order."""
    keys = [row.key_sha256 for row in batch if row.key_sha256]
    if not known and len(set(keys)) == len(keys):
        return {row.id: row for row in batch}
    rows: dict[str, Submission] = {}
    holders = known.copy()
    for submission in batch:
        row = submission
        if row.holds_key:
            assert row.key_sha256 is not None
            first, body_sha256 = holders.setdefault(row.key_sha256, (row.id, row.body_sha256))
            if first != row.id:
                row = row.duplicating(first, body_sha256)
        rows[row.id] = row
    return rows


def receipts_for(batch: Iterable[Submission], rows: dict[str, Submission], stored: str) -> list[WriteResult]:
    """Return a batch's receipts in order, given its rows as they are stored."""
    receipts: list[WriteResult] = []
    for submission in batch:
        row = rows[submission.id]
        lead_id = row.id
        # A neighbour that lost its key to an earlier row leads on to that one.
        while (next_row := rows.get(lead_id)) and next_row.duplicate_of:
            lead_id = next_row.duplicate_of
        receipts.append(receipt_for(row.state, lead_id, stored))
    return receipts


def write_bisected(
    batch: Sequence[Submission],
    write: Callable[[Sequence[Submission]], Operation[list[WriteResult]]],
    refusal: SubmissionRefused,
) -> Operation[list[WriteResult]]:
    """Write a refused batch in halves, down to the row at fault, which is kept as `failed` if it can be."""
    if len(batch) > 1:
        middle = len(batch) // 2
        first = yield from write(batch[:middle])
        second = yield from write(batch[middle:])
        return first + second
    if batch[0].fields is None:
        return [refusal]
    return (yield from write([batch[0].failing(f"the database refused the lead: {refusal}")]))
