"""The contract of a store, and the parts that all stores share: settling keys, receipts, the ledger's entries.

Invariants of a store:
- `write` ends after the commit, so its results may be acknowledged.
- `write` is idempotent by id: after a commit in doubt, writing the batch again, whole or in part, changes nothing.
- Every inserted raw row is counted in its day's ledger in the same transaction. A row that is deleted later leaves a
  difference between the two.
- Of all rows with one Idempotency-Key exactly one holds it; the others point at that row.
- A submission that the database refuses does not affect the other rows of its batch.
- A store serves one operation at a time, and belongs to that operation's driver.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from uuid_utils import uuid7

from leadcrm.errors import SubmissionRefused
from leadcrm.ingest.driving import Operation
from leadcrm.ingest.submission import FAILED_HINT, Receipt, Submission, receipt_for

CONFLICT_ATTEMPTS = 5
"""A rival row may vanish between the insert that lost a key to it and the look-up. Each attempt takes another rival."""

LEDGER_BATCHES = 256
"""The number of batches that one entry of the ledger counts."""

UNENCODABLE = (TypeError, ValueError, OverflowError)
"""The errors of encoding a row. No submission should cause one; if one does, the rest of its batch is still kept."""

logger = logging.getLogger("leadcrm.ingest.store")

WriteResult = Receipt | SubmissionRefused
"""A receipt, or the reason why the database refused even the raw row, which is then not kept."""

Known = dict[bytes, tuple[str, bytes]]
"""Maps a key's hash to the id and the body hash of the row that holds the key."""


class Standing(NamedTuple):
    """Where a store writes, and what its commits survive.

    Attributes:
        host: The server's host and port; empty for a file.
        replication: `synchronous` if a commit waits for a standby, `asynchronous` if a standby only follows, else
            `none`.
        schema_version: The last migration of its database.
        made_at: The time of its database's first migration.
    """

    host: str = ""
    replication: str = "none"
    schema_version: int = 0
    made_at: str = ""


class Store(Protocol):
    """Keeps batches of submissions in one database."""

    standing: Standing
    """As it was when the store was proved last."""

    def write(self, batch: Sequence[Submission]) -> Operation[list[WriteResult]]:
        """Keep every submission of the batch; durable when the operation ends.

        Returns:
            A result for each submission, in order.

        Raises:
            StoreUnavailable: The batch was not kept, or its commit is in doubt. Writing it again is safe.
        """

    def prove(self) -> Operation[None]:
        """Commit a real write that changes nothing, after taking a batch's locks.

        Raises:
            StoreUnavailable: No commit reaches the disk now.
        """

    def probe(self) -> Operation[None]:
        """Look, while no lead comes, whether the store would keep one; now and then with a real commit.

        Raises:
            StoreUnavailable: It would not.
        """

    def close(self) -> None:
        """Close the connection. It may block: closing the last connection to a SQLite file runs a checkpoint."""


class Ledger:
    """Provides the ledger entry that counts a store's batches: never another store's, and a new one after some batches.

    Stores with entries of their own neither wait for each other's commits nor deadlock. The entry changes because,
    during a long read, PostgreSQL keeps every version of an updated row, and each update searches through them all.
    """

    def __init__(self) -> None:
        """Start with a new entry."""
        self._batches = 0
        self._entry = UUID(bytes=uuid7().bytes)

    def entry(self) -> UUID:
        """Return the entry for the next batch."""
        self._batches += 1
        if self._batches > LEDGER_BATCHES:
            self._entry = UUID(bytes=uuid7().bytes)
            self._batches = 1
        return self._entry


def settle(batch: Sequence[Submission], known: Known) -> dict[str, Submission]:
    """Return the batch's rows by id, in order; each row whose key an earlier or a known row holds is its duplicate."""
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
    """Return a batch's receipts in order; `rows` holds its rows by id, as they are stored."""
    receipts: list[WriteResult] = []
    for submission in batch:
        row = rows[submission.id]
        lead_id = row.id
        # A row of this batch that lost its key to an earlier row leads to that row. Salvaged rows may lead back: where
        # a file was overwritten, its last batch was written again while its keys were free there.
        passed: set[str] = set()
        while (next_row := rows.get(lead_id)) and next_row.duplicate_of and lead_id not in passed:
            passed.add(lead_id)
            lead_id = next_row.duplicate_of
        receipts.append(receipt_for(row.state, lead_id, stored))
    return receipts


def write_bisected(
    batch: Sequence[Submission],
    write: Callable[[Sequence[Submission]], Operation[list[WriteResult]]],
    refusal: SubmissionRefused,
    prove: Callable[[], Operation[None]] | None = None,
) -> Operation[list[WriteResult]]:
    """Write a refused batch in halves, down to the row at fault, which is kept as `failed` if possible.

    Args:
        batch: What the database refused.
        write: Writes a part of it.
        refusal: Why it was refused.
        prove: Raises `StoreUnavailable` if the server refuses every write at the moment, and not only this row. For
            PostgreSQL, which before a wraparound of its transaction ids refuses all with a row's SQLSTATE (54000).
    """
    if len(batch) > 1:
        middle = len(batch) // 2
        first = yield from write(batch[:middle])
        second = yield from write(batch[middle:])
        return first + second
    if batch[0].fields is None:
        if prove is not None:
            yield from prove()
        return [refusal]
    text = "the database refused a lead, whose request is kept as failed: %s"
    logger.error(text, refusal, extra={"action": "write_batch", "hint": FAILED_HINT, "repeat_key": text})
    return (yield from write([batch[0].failing(f"the database refused the lead: {refusal}")]))
