"""The submission that a request becomes on arrival, and the receipt that its sender gets.

A submission gets its id and time before anything else happens to the request, and it keeps the bytes as received. By
that id everything that follows is idempotent: a commit in doubt, the spool, the drain and the replay.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from leadcrm.database.states import Outcome, State
from leadcrm.errors import InvalidPayload, TooDeep, TooLaborious
from leadcrm.ingest.normalize import normalize
from leadcrm.ingest.payload.amplification import within_ratio
from leadcrm.ingest.payload.content_coding import is_gzip
from leadcrm.ingest.payload.lenient import read_leniently
from leadcrm.ingest.payload.reader import read_payload

FAILED_HINT = "`leadcrm raw list --state failed` lists such rows; `leadcrm replay` makes their leads once it can"

POSTPONED = "reading it takes long: its lead is made later"
"""The error of a row that is `failed` only until recovery has read it at leisure."""

ERASED = "erased "
"""How the error of a tombstone begins; the time and who erased it follow."""

logger = logging.getLogger("leadcrm.ingest.submission")

Fields = tuple["str | None", ...]

PART_BYTES = 1024
"""The memory that a part holds besides its body, about."""


class Submission(NamedTuple):
    """One raw row, in the order of its columns, and its lead's fields.

    All text is storable: it holds no NUL and no lone surrogate.

    Attributes:
        id: The UUID as text.
        received_at: Aware UTC.
        source: The name in `READERS` of the source that the request arrived at.
        body: The bytes as received; None if the first row with the same key and bytes keeps them.
        mapping_version: The version of the text of SOURCES_FILE that mapped the body; None for `api`.
        part_of: The row of the whole body, of which this one's body is one lead.
        fields: The lead's 14 columns in their order; None if the row has no lead.
        is_test: The lead is the sender's test.
        parts: The rows of the leads in a body with several, which are kept with this one.
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
    mapping_version: int | None = None
    part_of: str | None = None
    fields: Fields | None = None
    is_test: bool = False
    parts: tuple[Submission, ...] = ()

    @property
    def held_bytes(self) -> int:
        """The memory that it holds in bytes: the body, and the fields too if the body is compressed."""
        held = len(self.body) if self.body is not None else 0
        if self.fields is not None and self.is_compressed:
            held += sum(len(field) for field in self.fields if field)
        if self.parts:
            held += sum(part.held_bytes + PART_BYTES for part in self.parts)
        return held

    @property
    def is_compressed(self) -> bool:
        """Say whether its fields may be longer than its body."""
        return "content-encoding" in self.headers or (self.body is not None and is_gzip(self.body))

    @property
    def holds_key(self) -> bool:
        """Say whether this row claims its Idempotency-Key. Each key has at most one such row."""
        return self.key_sha256 is not None and self.state.holds_key

    def duplicating(self, first: str, first_body_sha256: bytes) -> Submission:
        """Return this row as a duplicate of the row `first`: a repeat drops its body, a conflict keeps it."""
        error = self.error if self.is_erased else None
        if self.body_sha256 == first_body_sha256:
            return self._replace(state=State.REPEAT, body=None, duplicate_of=first, fields=None, error=error)
        return self._replace(state=State.CONFLICT, duplicate_of=first, fields=None, error=error)

    def failing(self, error: str) -> Submission:
        """Return this row without a lead, in the state `failed` with the reason."""
        return self._replace(state=State.FAILED, error=error, fields=None)

    @property
    def is_erased(self) -> bool:
        """Say whether the row is a tombstone: its content was erased, and it goes on to hold its id and its key."""
        return self.error is not None and self.error.startswith(ERASED)

    def postponed(self) -> Submission:
        """Return this row as one that is read at leisure."""
        return self.failing(POSTPONED)

    @property
    def is_postponed(self) -> bool:
        """Say whether the row waits to be read at leisure."""
        return self.state is State.FAILED and self.error == POSTPONED

    def reprocessed(
        self, *, max_decoded_bytes: int, sources: SourceReader | None = None, at_leisure: bool = True
    ) -> Submission:
        """Return this row with its body read again by its source's reader, as if it had just arrived.

        The row must have its body. Without leisure a laborious one is postponed.

        Args:
            max_decoded_bytes: The limit of the body once its content codings are undone.
            sources: What reads the rows of sources; None if only those of `READERS` can be read.
            at_leisure: The reading may take long.
        """
        assert self.body is not None
        read = READERS.get(self.source)
        if read is None:
            reread = sources.reread(self, at_leisure=at_leisure) if sources is not None else None
            return reread or self.failing(f"this version knows no source {self.source!r}")
        state, error, fields = read(
            self.body,
            content_type=self.content_type or "",
            content_encoding=self.headers.get("content-encoding", ""),
            max_decoded_bytes=max_decoded_bytes,
            at_leisure=at_leisure,
        )
        return self._replace(state=state, error=error, fields=fields)


class Processed(NamedTuple):
    """The result of parsing and normalizing a body: `STORED` with fields, or `INVALID` or `FAILED` with an error.

    The error of a `STORED` body says why it could be read only leniently, and which of its values were cut.
    """

    state: State
    error: str | None
    fields: Fields | None


NOT_YET = Processed(State.FAILED, POSTPONED, None)
"""A body that was not read yet."""


def process(
    body: bytes, *, content_type: str, content_encoding: str, max_decoded_bytes: int, at_leisure: bool = True
) -> Processed:
    """Parse and normalize a body. Never raises, because no body may prevent its own row from being kept.

    Without leisure it takes some milliseconds at most, and postpones the body if that is not enough.
    """
    try:
        payload = read_payload(
            body,
            content_type=content_type,
            content_encoding=content_encoding,
            max_decoded_bytes=max_decoded_bytes,
            at_leisure=at_leisure,
        )
        return _stored(payload, None, body, content_encoding)
    except TooDeep as error:
        return Processed(State.INVALID, str(error), None)
    except InvalidPayload as error:
        return _process_leniently(
            body,
            str(error),
            content_type=content_type,
            content_encoding=content_encoding,
            max_decoded_bytes=max_decoded_bytes,
            at_leisure=at_leisure,
        )
    except TooLaborious:
        return NOT_YET
    except Exception as error:  # our own fault: the row stays failed until we have fixed it
        return _failed(error)


def _process_leniently(
    body: bytes, refusal: str, *, content_type: str, content_encoding: str, max_decoded_bytes: int, at_leisure: bool
) -> Processed:
    try:
        reading = read_leniently(
            body,
            content_type=content_type,
            content_encoding=content_encoding,
            max_decoded_bytes=max_decoded_bytes,
            at_leisure=at_leisure,
        )
        if reading is None:
            return Processed(State.INVALID, refusal, None)
        return _stored(reading.payload, f"read leniently: {reading.mistake}", body, content_encoding)
    except TooLaborious:
        return NOT_YET
    except Exception as error:
        return _failed(error)


def _stored(payload: Mapping[str, object], remark: str | None, body: bytes, content_encoding: str) -> Processed:
    fields = normalize(payload)
    if content_encoding:
        fields, cut = within_ratio(fields, len(body))
        remark = "; ".join(filter(None, (remark, cut))) or None
    return Processed(State.STORED, remark, fields)


def _failed(error: Exception) -> Processed:
    text = "a body could not be normalized and is kept as failed: %s"
    # Without its stack, which may quote the body.
    logger.error(text, type(error).__name__, extra={"action": "normalize", "hint": FAILED_HINT, "repeat_key": text})
    return Processed(State.FAILED, f"normalizing failed: {type(error).__name__}", None)


class SourceReader(Protocol):
    """Reads the rows of the sources in `SOURCES_FILE`."""

    @property
    def names(self) -> Collection[str]:
        """The names of the sources that have a mapping."""

    def reread(self, row: Submission, *, at_leisure: bool) -> Submission | None:
        """Return a row with its body read again by its source as it is now; None if there never was such a source.

        Without leisure a laborious body is postponed.
        """


class Reader(Protocol):
    """Reads the bodies of a source; never raises."""

    def __call__(
        self, body: bytes, *, content_type: str, content_encoding: str, max_decoded_bytes: int, at_leisure: bool = True
    ) -> Processed:
        """Parse and normalize a body; without leisure in some milliseconds at most."""


API_SOURCE = "api"
"""The source of requests to `/api/lead`."""

READERS: Mapping[str, Reader] = {API_SOURCE: process}
"""The reader of each source. A body is read again by the reader that read it on arrival."""


class Receipt(NamedTuple):
    """The sender's receipt for a row on stable storage.

    Attributes:
        stored: Where it is: `database` or `spool`.
        is_failed: The request is kept, but its lead could not be made.
        parts: The receipts of the leads of a body with several.
    """

    outcome: Outcome
    lead_id: str
    stored: str
    is_failed: bool = False
    parts: tuple[Receipt, ...] = ()


def receipt_for(state: State, lead_id: str, stored: str) -> Receipt:
    """Return the receipt for a row that was stored in `state` and whose lead is `lead_id`."""
    outcome = state.outcome
    if outcome is Outcome.CREATED and stored == "spool":
        outcome = Outcome.SPOOLED
    return Receipt(outcome, lead_id, stored, state is State.FAILED)
