"""What one request becomes on arrival, and what its sender is told.

A submission is minted before anything else happens to a request: its id and time are given, its bytes are kept as
they came. Whatever follows (a commit in doubt, the spool, draining, replay) is idempotent by that id.

Knows nothing of HTTP, of databases or of how a batch is written.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import NamedTuple

from leadcrm.database.entities import KEY_HOLDING_STATES
from leadcrm.errors import InvalidPayload
from leadcrm.ingest.normalize import normalize
from leadcrm.ingest.payload.reader import read_payload

Fields = tuple["str | None", ...]


class Submission(NamedTuple):
    """One raw row and, where it is a lead, its normalized fields.

    `id` is the UUID as text, `received_at` aware UTC, `body` the bytes as received (None where the first row of
    the same key and bytes keeps them), `fields` the 14 columns in order (None: no lead). All text is storable:
    no NUL, no lone surrogate.
    """

    id: str
    received_at: datetime
    request_id: str
    idempotency_key: str | None
    key_sha256: bytes | None
    method: str
    target: str
    remote_addr: str
    content_type: str | None
    headers: dict[str, str]
    body: bytes | None
    body_sha256: bytes
    node: str
    state: str
    error: str | None = None
    duplicate_of: str | None = None
    fields: Fields | None = None

    @property
    def held_bytes(self) -> int:
        """How many bytes the body has, and the fields where they may be longer: where it is compressed."""
        held = len(self.body) if self.body is not None else 0
        if self.fields is not None and "content-encoding" in self.headers:
            held += sum(len(field) for field in self.fields if field)
        return held

    @property
    def holds_key(self) -> bool:
        """Say whether this row claims its Idempotency-Key: one key, one such row."""
        return self.key_sha256 is not None and self.state in KEY_HOLDING_STATES

    def duplicating(self, first: str, first_body_sha256: bytes) -> Submission:
        """Return this row as a duplicate of `first`: a repeat drops its bytes, a conflict keeps them."""
        if self.body_sha256 == first_body_sha256:
            return self._replace(state="repeat", body=None, duplicate_of=first, fields=None, error=None)
        return self._replace(state="conflict", duplicate_of=first, fields=None, error=None)

    def failing(self, error: str) -> Submission:
        """Return this row without its lead, which could not be made for the reason given."""
        return self._replace(state="failed", error=error, fields=None)


class Processed(NamedTuple):
    """What parsing and normalizing made of a body: `stored` with fields, `invalid`, or `failed` with its error."""

    state: str
    error: str | None
    fields: Fields | None


def process(body: bytes, *, content_type: str, content_encoding: str, max_decoded_bytes: int) -> Processed:
    """Parse and normalize a body. Never raises: nothing that a body holds may prevent its being kept."""
    try:
        payload = read_payload(
            body,
            content_type=content_type,
            content_encoding=content_encoding,
            max_decoded_bytes=max_decoded_bytes,
        )
        return Processed("stored", None, normalize(payload))
    except InvalidPayload as error:
        return Processed("invalid", str(error), None)
    except Exception as error:  # a fault of ours: the row waits as failed for its mending
        return Processed("failed", f"normalizing failed: {type(error).__name__}", None)


class Outcome(str, Enum):
    """What became of a submission, in the words of the log."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    INVALID = "invalid"
    SPOOLED = "spooled"
    REJECTED = "rejected"
    ERROR = "error"


class Receipt(NamedTuple):
    """What a sender is told once the row is on stable storage: `stored` names where, `database` or `spool`."""

    outcome: Outcome
    lead_id: str
    stored: str


_OUTCOMES = {
    "stored": Outcome.CREATED,
    "failed": Outcome.CREATED,
    "invalid": Outcome.INVALID,
    "repeat": Outcome.DUPLICATE,
    "conflict": Outcome.CONFLICT,
}


def receipt_for(state: str, lead_id: str, stored: str) -> Receipt:
    """Return the receipt of a row that was stored in `state` and leads to `lead_id`."""
    outcome = _OUTCOMES[state]
    if outcome is Outcome.CREATED and stored == "spool":
        outcome = Outcome.SPOOLED
    return Receipt(outcome, lead_id, stored)
