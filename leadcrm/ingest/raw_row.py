"""Converts a raw row between its forms: submission, Pony entity, SQLite values, JSON record for PostgreSQL.

Only this module knows how each form represents a column's value. `Submission` has the columns' order.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import orjson

from leadcrm.database.entities import FIELD_COLUMNS, RAW_COLUMNS
from leadcrm.database.states import State
from leadcrm.ingest.normalize import NORMALIZER_VERSION
from leadcrm.ingest.submission import Submission


def submission_from_entity(row: Any) -> Submission:
    """Return the submission of a `RawLead`; its fields are None until its body is processed again."""
    return Submission(
        id=str(row.id),
        received_at=row.received_at.replace(tzinfo=timezone.utc),
        request_id=row.request_id,
        idempotency_key=row.idempotency_key,
        method=row.method,
        target=row.target,
        remote_addr=row.remote_addr,
        content_type=row.content_type,
        headers=dict(row.headers),
        body=row.body,
        body_sha256=row.body_sha256,
        state=State(row.state),
        key_sha256=row.key_sha256,
        error=row.error,
        duplicate_of=str(row.duplicate_of) if row.duplicate_of else None,
        node=row.node,
        source=row.source,
        mapping_version=row.mapping_version,
        part_of=str(row.part_of) if row.part_of else None,
    )


def submission_from_sqlite(values: Sequence[Any]) -> Submission:
    """Return the submission of a row's values in SQLite; its fields are None until its body is processed again.

    Raises:
        ValueError, TypeError: A value is not valid for its column.
    """
    row = dict(zip(RAW_COLUMNS, values, strict=True))
    row["id"] = str(UUID(bytes=row["id"]))
    row["received_at"] = datetime.fromisoformat(row["received_at"]).replace(tzinfo=timezone.utc)
    row["headers"] = orjson.loads(row["headers"])
    row["state"] = State(row["state"])
    for link in ("duplicate_of", "part_of"):
        if row[link] is not None:
            row[link] = str(UUID(bytes=row[link]))
    return Submission(**row)


def sqlite_raw_values(row: Submission) -> tuple[Any, ...]:
    """Return the values of a row of `leads_raw` in SQLite, in the columns' order.

    Python's driver binds a bytearray in a quarter of the time of the same bytes, for which it looks for an adapter.
    """
    return (
        uuid_bytes(row.id),
        _timestamp(row.received_at),
        row.request_id,
        row.idempotency_key,
        row.method,
        row.target,
        row.remote_addr,
        row.content_type,
        orjson.dumps(row.headers).decode(),
        row.body,
        bytearray(row.body_sha256),
        row.state.value,
        None if row.key_sha256 is None else bytearray(row.key_sha256),
        row.error,
        uuid_bytes(row.duplicate_of) if row.duplicate_of else None,
        row.node,
        row.source,
        row.mapping_version,
        uuid_bytes(row.part_of) if row.part_of else None,
    )


_NO_LEAD = (None,) * (len(FIELD_COLUMNS) + 2)


def sqlite_lead_values(row: Submission) -> tuple[Any, ...]:
    """Return what a row's lead has beside its row: fields, normalizer version, test; all None without a lead."""
    if row.fields is None:
        return _NO_LEAD
    return (*row.fields, NORMALIZER_VERSION, int(row.is_test))


_EVERY_ROW_HAS = RAW_COLUMNS[: RAW_COLUMNS.index("mapping_version")]
"""The columns of the rows of /api/lead too, which pay for no others."""


def postgres_record(row: Submission) -> dict[str, Any]:
    """Return the values of a row and its lead by column name, in types that JSON can hold."""
    record: dict[str, Any] = dict(zip(_EVERY_ROW_HAS, row))  # noqa: B905 - what follows them is not every row's
    if row.mapping_version is not None:
        record["mapping_version"] = row.mapping_version
    if row.part_of is not None:
        record["part_of"] = row.part_of
    record["body_sha256"] = row.body_sha256.hex()
    if row.body is not None:
        record["body"] = b2a_base64(row.body, newline=False).decode()
    if row.key_sha256 is not None:
        record["key_sha256"] = row.key_sha256.hex()
    if row.fields is not None:
        record.update(zip(FIELD_COLUMNS, row.fields))  # noqa: B905
        record["normalizer_version"] = NORMALIZER_VERSION
        if row.is_test:
            record["is_test"] = True
    return record


def uuid_bytes(id: str) -> bytearray:
    """Return a UUID's 16 bytes, the form in which SQLite keeps it."""
    return bytearray.fromhex(id.replace("-", ""))


def _timestamp(moment: datetime) -> str:
    """Return an aware UTC time in the form in which SQLite keeps it: without its zone, to the microsecond."""
    return moment.isoformat(" ", "microseconds")[:26]
