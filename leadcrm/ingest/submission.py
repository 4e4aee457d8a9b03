"""What one request becomes on arrival, and the receipt its sender gets.

A submission is minted before anything else happens to a request: it gets its id and time, and its bytes are kept as
they came. Everything after that (a commit in doubt, the spool, draining, replay) is idempotent by that id.

Knows nothing of HTTP, of databases or of how a batch is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from leadcrm.database.states import Outcome, State
from leadcrm.errors import InvalidPayload
from leadcrm.ingest.normalize import normalize
from leadcrm.ingest.payload.reader import read_payload

Fields = tuple["str | None", ...]


class Submission(NamedTuple):
    """One raw row, in the order of its columns, and its lead's fields.

    Attributes:
        id: the UUID as text.
        received_at: aware UTC.
        source: where the request came in, a name of `READERS`.
        body: the bytes as received; None where the first row of the same key and bytes keeps them.
        fields: the lead's 14 columns in their order; None where it is no lead.

    All text is storable: no NUL, no lone surrogate.
    """

    id: str
    received_at: datetime
    request_id: str
    idempotency_key: str | None
    method: str
    target: str
    remote_addr: str
    content_type: str | None
    headers: dict[str, str]
    body: bytes | None
    body_sha256: bytes
    state: State
    key_sha256: bytes | None
    error: str | None
    duplicate_of: str | None
    node: str
    source: str
    fields: Fields | None = None

    @property
    def held_bytes(self) -> int:
        """How many bytes of memory it takes: its body's, and its fields' where the body is compressed."""
        held = len(self.body) if self.body is not None else 0
        if self.fields is not None and "content-encoding" in self.headers:
            held += sum(len(field) for field in self.fields if field)
        return held

    @property
    def holds_key(self) -> bool:
        """Say whether this row claims its Idempotency-Key: one key, one such row."""
        return self.key_sha256 is not None and self.state.holds_key

    def duplicating(self, first: str, first_body_sha256: bytes) -> Submission:
        """Return this row as a duplicate of `first`: a repeat drops its bytes, a conflict keeps them."""
        if self.body_sha256 == first_body_sha256:
            return self._replace(state=State.REPEAT, body=None, duplicate_of=first, fields=None, error=None)
        return self._replace(state=State.CONFLICT, duplicate_of=first, fields=None, error=None)

    def failing(self, error: str) -> Submission:
        """Return this row without its lead, which could not be made for the reason given."""
        return self._replace(state=State.FAILED, error=error, fields=None)

    def reprocessed(self, *, max_decoded_bytes: int) -> Submission:
        """Return this row with its body read again, as its source says and as if it had just arrived.

        Only for a row with its body.
        """
        assert self.body is not None
        read = READERS.get(self.source)
        if read is None:
            return self.failing(f"this version knows no source {self.source!r}")
        state, error, fields = read(
            self.body,
            content_type=self.content_type or "",
            content_encoding=self.headers.get("content-encoding", ""),
            max_decoded_bytes=max_decoded_bytes,
        )
        return self._replace(state=state, error=error, fields=fields)


class Processed(NamedTuple):
    """What parsing and normalizing made of a body: `STORED` with fields, `INVALID`, or `FAILED` with its error."""

    state: State
    error: str | None
    fields: Fields | None


def process(body: bytes, *, content_type: str, content_encoding: str, max_decoded_bytes: int) -> Processed:
    """Parse and normalize a body. Never raises: nothing in a body may prevent its being kept."""
    try:
        payload = read_payload(
            body,
            content_type=content_type,
            content_encoding=content_encoding,
            max_decoded_bytes=max_decoded_bytes,
        )
        return Processed(State.STORED, None, normalize(payload))
    except InvalidPayload as error:
        return Processed(State.INVALID, str(error), None)
    except Exception as error:  # a fault of ours: the row waits as failed until it is mended
        return Processed(State.FAILED, f"normalizing failed: {type(error).__name__}", None)


class Reader(Protocol):
    """What makes of a body what it is; never raises."""

    def __call__(self, body: bytes, *, content_type: str, content_encoding: str, max_decoded_bytes: int) -> Processed:
        """Parse and normalize a body."""


API_SOURCE = "api"
"""The source of what is sent to `/api/lead`."""

READERS: Mapping[str, Reader] = {API_SOURCE: process}
"""How a body is read, by the source that its raw row names: what arrives and what is read again are read alike."""


class Receipt(NamedTuple):
    """What a sender is told once the row is on stable storage: `stored` names where, `database` or `spool`."""

    outcome: Outcome
    lead_id: str
    stored: str


def receipt_for(state: State, lead_id: str, stored: str) -> Receipt:
    """Return the receipt of a row that was stored in `state` and leads to `lead_id`."""
    outcome = state.outcome
    if outcome is Outcome.CREATED and stored == "spool":
        outcome = Outcome.SPOOLED
    return Receipt(outcome, lead_id, stored)
