"""The drain: moves the spool's rows into the database, in order of arrival, batch by batch.

It reads a batch, writes it through a store as new leads are written, and removes it from the spool after that commit. A
crash at any point leaves rows in both places at worst, and writing them again changes nothing.
"""

from __future__ import annotations

import logging
from hashlib import sha256

from leadcrm.errors import SubmissionRefused
from leadcrm.ingest.driving import block
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.store.store import Store
from leadcrm.ingest.submission import SourceReader, Submission

DRAIN_ROWS = 200
DRAIN_BYTES = 4 * 1024 * 1024
"""The bounds of a batch: large enough to share an fsync, small enough not to hold locks for long beside new leads."""

logger = logging.getLogger("leadcrm.ingest.spool.drain")


def drain_batch(
    spool: Spool,
    store: Store,
    *,
    max_decoded_bytes: int,
    sources: SourceReader | None = None,
    max_rows: int = DRAIN_ROWS,
    behind: int = 0,
) -> int:
    """Move the spool's oldest rows into the database and return how many were handled; 0 if none waits.

    Rows that the database refuses are marked and stay in the spool, and so do rows that the disk has damaged. The first
    `behind` rows are passed by. Raises `StoreUnavailable`, `SpoolUnavailable`.
    """
    waiting = spool.oldest(behind + max_rows, DRAIN_BYTES)[behind:]
    if not waiting:
        return 0
    damaged = [row for row in waiting if row.body is not None and sha256(row.body).digest() != row.body_sha256]
    for row in damaged:
        refuse(spool, row, "its body does not match its hash: it was damaged on disk")
    batch: list[Submission] = []
    batch_bytes = 0
    for row in waiting:
        if row in damaged:
            continue
        # Only a row that holds its key can become a lead.
        is_lead = row.state.holds_key and row.body is not None
        lead = (
            row.reprocessed(max_decoded_bytes=max_decoded_bytes, sources=sources, at_leisure=False) if is_lead else row
        )
        # A compressed body's fields may be a thousand times longer. The remaining rows go into the next batch.
        batch_bytes += lead.held_bytes
        if batch and batch_bytes > DRAIN_BYTES:
            break
        batch.append(lead)
    results = block(store.write(batch))
    moved: list[str] = []
    for row, result in zip(batch, results, strict=True):
        if isinstance(result, SubmissionRefused):
            refuse(spool, row, str(result))
        else:
            moved.append(row.id)
    if moved:
        spool.remove(moved)
    return len(damaged) + len(batch)


def refuse(spool: Spool, row: Submission, why: str) -> None:
    """Mark a row that cannot be stored now, so that others have their turn, and tell people of it."""
    spool.mark_refused(row.id, why)
    text = "a spooled row cannot be stored and waits in the spool: %s"
    hint = "it is tried again now and then; once the database is mended, at once by `leadcrm spool drain`"
    logger.error(text, why, extra={"action": "drain", "id": row.id, "hint": hint, "repeat_key": why})
