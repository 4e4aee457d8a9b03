"""Salvage: what can still be read of a spool that was set aside goes into the spool in use.

A row counts where it is whole: all of its columns, and a body that matches its hash. Rows that the database has
already may come up again, which changes nothing: they are known by their ids.

May import spool, spool_file, sqlite_pages and submission.
"""

from __future__ import annotations

import logging
from hashlib import sha256
from pathlib import Path

from leadcrm.database.entities import RAW_COLUMNS
from leadcrm.ingest.raw_row import submission_from_sqlite
from leadcrm.ingest.spool.file import mark_salvaged, unsalvaged_files
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.spool.sqlite_pages import Pages, Value
from leadcrm.ingest.submission import API_SOURCE, Submission

SALVAGE_ROWS = 100

_LATER_COLUMNS: dict[str, Value] = {"source": API_SOURCE}
"""Columns that migrations added, with their defaults: a row that was written before has no value for them."""

_COLUMNS = (*(column for column in RAW_COLUMNS if column not in _LATER_COLUMNS), "refusal", *_LATER_COLUMNS)
"""The columns in the order of a record's values, which is the order in which the migrations made them."""

logger = logging.getLogger("leadcrm.ingest.spool.salvage")


def salvage_all(spool: Spool) -> None:
    """Bring the rows of every file that was set aside into the spool; durable on return.

    One process of the node at a time. Raises `SpoolUnavailable`: then it is to be tried again.
    """
    for path in unsalvaged_files(spool.data_dir):
        salvaged, damaged = _salvage(path, spool)
        summary = f"{salvaged} rows were salvaged from {path}, {len(damaged)} are damaged{': ' if damaged else ''}"
        summary += " ".join(sorted(damaged))
        mark_salvaged(path, summary)
        logger.error(
            "%s",
            summary,
            extra={
                "action": "salvage",
                "hint": "keep the file if rows are damaged, else delete it and what is beside it",
            },
        )


def _salvage(path: Path, spool: Spool) -> tuple[int, set[str]]:
    """Return how many rows were read, and the ids of those whose body is not what it was."""
    seen: set[str] = set()
    damaged: set[str] = set()
    batch: list[Submission] = []
    with Pages(path) as pages:
        for values in pages.records():
            if (row := _row(values)) is None or row[0].id in seen:
                continue
            submission, refusal = row
            if submission.body is not None and sha256(submission.body).digest() != submission.body_sha256:
                damaged.add(submission.id)
                continue
            seen.add(submission.id)
            if refusal is not None:
                spool.refuse(submission, refusal)
                continue
            batch.append(submission)
            if len(batch) == SALVAGE_ROWS:
                spool.write(batch)
                batch.clear()
    if batch:
        spool.write(batch)
    return len(seen), damaged - seen


def _row(values: list[Value]) -> tuple[Submission, str | None] | None:
    """Return a record as the row of the spool that it is, with why the database refused it, or None."""
    if not len(_COLUMNS) - len(_LATER_COLUMNS) <= len(values) <= len(_COLUMNS):
        return None
    record = _LATER_COLUMNS | dict(zip(_COLUMNS, values, strict=False))
    refusal = record["refusal"]
    try:
        submission = submission_from_sqlite([record[column] for column in RAW_COLUMNS])
    except (ValueError, TypeError):
        return None
    is_whole = (
        isinstance(submission.body_sha256, bytes)
        and isinstance(submission.body, bytes | None)
        and isinstance(submission.headers, dict)
    )
    return (submission, None if refusal is None else str(refusal)) if is_whole else None
