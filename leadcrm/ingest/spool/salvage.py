"""Salvage: moves the rows that can still be read in a file set aside into the file in use.

The same is done with what was kept of a file, the spool's or the embedded database's, that was overwritten in use.

A row is whole if it has all of its columns and a body that matches its hash. Rows that the database has already may
reappear; their ids make writing them again harmless.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from itertools import islice
from pathlib import Path

from leadcrm.database.entities import RAW_COLUMNS
from leadcrm.database.overwritten import is_kept_of_overwritten, kept_log
from leadcrm.ingest.driving import block
from leadcrm.ingest.raw_row import submission_from_sqlite
from leadcrm.ingest.spool.file import mark_salvaged, unsalvaged_files
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.spool.sqlite_pages import Pages, Value
from leadcrm.ingest.store.store import Store
from leadcrm.ingest.submission import API_SOURCE, Submission

SALVAGE_ROWS = 100

_LATER_COLUMNS: dict[str, Value] = {"source": API_SOURCE, "mapping_version": None, "part_of": None}
"""The columns that later migrations added, with their defaults: rows written before lack a value for them."""

_FIRST_COLUMNS = tuple(column for column in RAW_COLUMNS if column not in _LATER_COLUMNS)
_SPOOL_COLUMNS = (*_FIRST_COLUMNS, "refusal", *_LATER_COLUMNS)
_DATABASE_COLUMNS = (*_FIRST_COLUMNS, *_LATER_COLUMNS)
"""The columns in the order of a record's values, which is the order in which the migrations created them."""

_OUTCOME = re.compile(r", (\d+) are damaged")

logger = logging.getLogger("leadcrm.ingest.spool.salvage")


def salvage_all(spool: Spool, database: Path | None = None) -> None:
    """Move the rows of every file set aside into the spool, and those kept of the database; durable on return.

    Only one process of the node may run it at a time.

    Raises:
        SpoolUnavailable: The spool cannot take the rows now; call it again later.
    """
    of_spool = unsalvaged_files(spool.data_dir)
    for path in unsalvaged_files(spool.data_dir, database):
        salvaged, damaged = _salvage(path, spool, _SPOOL_COLUMNS if path in of_spool else _DATABASE_COLUMNS)
        # `lost_rows` reads it.
        summary = f"{salvaged} rows were salvaged from {path}, {len(damaged)} are damaged{': ' if damaged else ''}"
        summary += " ".join(sorted(damaged))
        mark_salvaged(path, summary)
        logger.error(
            "%s",
            summary,
            extra={
                "action": "salvage",
                "hint": "keep the file if rows are damaged, else delete it and the files beside it",
            },
        )


def salvage_database(path: Path, store: Store, *, max_decoded_bytes: int) -> None:
    """Write the rows that can still be read in a damaged database to a store; durable on return.

    Rows that the store has already stay as they are.

    Raises:
        StoreUnavailable: The store cannot take the rows.
    """
    with Pages(path, with_old_frames=True) as pages:
        records = pages.records()
        while some := [*islice(records, SALVAGE_ROWS)]:
            rows = [row[0] for values in some if (row := _row(values, _DATABASE_COLUMNS)) and _is_undamaged(row[0])]
            block(
                store.write(
                    [
                        row.reprocessed(max_decoded_bytes=max_decoded_bytes)
                        if row.state.holds_key and row.body is not None
                        else row
                        for row in {row.id: row for row in rows}.values()
                    ]
                )
            )


def lost_rows(outcome: str) -> int:
    """Return how many rows were damaged by the result of a file's salvage."""
    found = _OUTCOME.search(outcome)
    return int(found[1]) if found else 1


def readable_rows(path: Path) -> Iterator[Submission]:
    """Yield the rows that can be read in a file of the spool that was set aside, in no order, some more than once."""
    with closing(_records(path)) as records:
        for values in records:
            if row := _row(values, _SPOOL_COLUMNS):
                yield row[0]


def _is_undamaged(row: Submission) -> bool:
    return row.body is None or sha256(row.body).digest() == row.body_sha256


def _salvage(path: Path, spool: Spool, columns: Sequence[str]) -> tuple[int, set[str]]:
    """Return how many rows were salvaged, and the ids of the rows whose body no longer matches its hash."""
    seen: set[str] = set()
    damaged: set[str] = set()
    batch: list[Submission] = []
    with closing(_records(path)) as records:
        for values in records:
            if (row := _row(values, columns)) is None or row[0].id in seen:
                continue
            submission, refusal = row
            if not _is_undamaged(submission):
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


def _records(path: Path) -> Generator[list[Value], None, None]:
    with Pages(path) as pages:
        yield from pages.records()
    if is_kept_of_overwritten(path):
        with Pages(kept_log(path), with_old_frames=True) as pages:
            yield from pages.records()


def _row(values: list[Value], columns: Sequence[str]) -> tuple[Submission, str | None] | None:
    """Return the record's row and why the database refused it, if it did; None if the record is no whole row."""
    if not len(columns) - len(_LATER_COLUMNS) <= len(values) <= len(columns):
        return None
    record = _LATER_COLUMNS | dict(zip(columns, values, strict=False))
    refusal = record.get("refusal")
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
