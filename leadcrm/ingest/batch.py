"""A batch of the writer: the submissions that one commit keeps, and the results that their senders wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from leadcrm.errors import LeadcrmError
from leadcrm.ingest.submission import Receipt, Submission

Result = Receipt | LeadcrmError
Pending = tuple[Submission, "asyncio.Future[Result]"]


class Batch:
    """Submissions that are kept together, with their senders' futures and the bytes that they hold."""

    def __init__(self) -> None:
        """Begin with none."""
        self.pending: list[Pending] = []
        self.held_bytes = 0

    @property
    def submissions(self) -> list[Submission]:
        """The rows to keep: each submission and, after it, its parts."""
        rows = []
        for submission, _ in self.pending:
            rows.append(submission)
            if submission.parts:
                rows += submission.parts
        return rows

    def drop_refused(self) -> None:
        """Drop the leads whose senders have got 503 meanwhile."""
        self.pending = [pending for pending in self.pending if is_wanted(pending)]


def is_wanted(pending: Pending) -> bool:
    """Say whether a submission must still be kept.

    If its sender has got 503, the sender's retry would become a second lead. If the sender hung up, which cancels the
    future, the lead has arrived whole and is kept.
    """
    _, future = pending
    return not future.done() or future.cancelled()


def first_error(results: Sequence[Result]) -> LeadcrmError | None:
    """Return the first result that is no receipt, or None."""
    return next((result for result in results if isinstance(result, LeadcrmError)), None)


def by_request(batch: Batch, results: Sequence[Result]) -> Sequence[Result]:
    """Return a result for each request of the batch: one with parts is kept once all of its rows are."""
    if len(results) == len(batch.pending):
        return results
    requests: list[Result] = []
    start = 0
    for submission, _ in batch.pending:
        whole, *parts = results[start : start + 1 + len(submission.parts)]
        start += 1 + len(submission.parts)
        kept = tuple(part for part in parts if isinstance(part, Receipt))
        if isinstance(whole, Receipt) and len(kept) == len(parts):
            requests.append(whole._replace(parts=kept))
        else:
            error = first_error((whole, *parts))
            assert error is not None
            requests.append(error)
    return requests


def are_receipts(results: Sequence[Result]) -> bool:
    """Say whether every submission was kept."""
    return all(type(result) is Receipt for result in results)
