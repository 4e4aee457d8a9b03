"""Draining: the spool's rows into the database, in order of arrival, batch by batch.

A batch is read, written by the store that live leads take too, and removed from the spool after that commit. A
crash at any point leaves rows in both places at most, and writing them again changes nothing.

May import submission, store, spool and errors.
"""

from __future__ import annotations

from leadcrm.errors import SubmissionRefused
from leadcrm.ingest.spool import Spool
from leadcrm.ingest.store import Store
from leadcrm.ingest.submission import Submission, process

DRAIN_ROWS = 200
"""Rows a batch: large enough to share an fsync, small enough not to hold a lock for long beside live leads."""


def drain_batch(spool: Spool, store: Store, *, max_decoded_bytes: int) -> int:
    """Move the oldest rows of the spool into the database and return how many left the spool.

    Rows that the database refuses are marked and stay. Raises `StoreUnavailable`, `SpoolUnavailable`.
    """
    waiting = spool.oldest(DRAIN_ROWS)
    if not waiting:
        return 0
    batch = [reprocess(row, max_decoded_bytes=max_decoded_bytes) for row in waiting]
    answers = store.write(batch)
    moved: list[str] = []
    for row, answer in zip(batch, answers, strict=True):
        if isinstance(answer, SubmissionRefused):
            spool.mark_refused(row.id, str(answer))
        else:
            moved.append(row.id)
    if moved:
        spool.remove(moved)
    return len(moved)


def reprocess(row: Submission, *, max_decoded_bytes: int) -> Submission:
    """Parse and normalize a kept row again; only a row that holds its key can become a lead."""
    if row.state not in ("stored", "failed") or row.body is None:
        return row
    state, error, fields = process(
        row.body,
        content_type=row.content_type or "",
        content_encoding=row.headers.get("content-encoding", ""),
        max_decoded_bytes=max_decoded_bytes,
    )
    return row._replace(state=state, error=error, fields=fields)
