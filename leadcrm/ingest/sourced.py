"""From a source's request to its raw row, its lead or its several leads: on arrival, in the drain and in a replay.

An `Arrival` is verified, parsed, mapped and keyed. It never raises, because nothing may prevent a request's own row
from being kept: each row gets a state and, if it has no lead, an error that says why.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from uuid_utils import uuid7

from leadcrm.database.states import State
from leadcrm.errors import InvalidPayload, TooLaborious
from leadcrm.ingest.normalize import storable
from leadcrm.ingest.payload.amplification import MAX_RATIO, are_blown_up, within_ratio
from leadcrm.ingest.payload.content_coding import is_gzip
from leadcrm.ingest.payload.document import read_document
from leadcrm.ingest.payload.encoded_twice import decoded_once
from leadcrm.ingest.payload.members import may_hold_adf, may_hold_leads, read_members
from leadcrm.ingest.payload.references import Unescaping, may_refer
from leadcrm.ingest.payload.surrounded import json_apart, may_surround_json
from leadcrm.ingest.submission import FAILED_HINT, Fields, Submission
from leadcrm.sources.labels import Effort
from leadcrm.sources.live import LiveSources
from leadcrm.sources.proof import Evidence, Verdict, query_of
from leadcrm.sources.several import holds_contact
from leadcrm.sources.source import Lead, Source, TooManyLeads

CREDENTIALS_HEADER = "leadcrm-credentials"
"""Under this name the headers of a row that was never verified hold the SHA-256 of the tokens that came with it."""

_NEVER_VERIFIED = (State.UNVERIFIED, State.UNROUTED)

MAX_JSON_BYTES = 262_144

MAX_HURRIED_MARKS = 4_000
"""Of the JSON in a member, where others wait."""

_FORM = "application/x-www-form-urlencoded"

_PROBE = "a probe or a handshake: it carries no lead"

logger = logging.getLogger("leadcrm.ingest.sourced")


class SourceRows:
    """Reads the rows of sources again, as the sources are now."""

    def __init__(self, live: LiveSources, *, max_decoded_bytes: int) -> None:
        """Take the sources, and the limit of a body once its content codings are undone."""
        self._live = live
        self._max_decoded_bytes = max_decoded_bytes

    @property
    def names(self) -> list[str]:
        """The names of the sources that have a mapping: one that was taken out of the file has none any more."""
        return sorted(self._live.sources)

    def reread(self, row: Submission, *, at_leisure: bool) -> Submission | None:
        """See `SourceReader.reread`."""
        source = self._live.get(row.source)
        if source is None:
            return None
        if self._live.version is None:
            # A drain begins as soon as the database is back, and its leads say by which version they were mapped.
            self._live.learn()
        if row.state.holds_key and not source.enabled:
            # Its sender heard that it is a lead, so it becomes one by the rules that are left.
            source = source.reopened()
        row = row._replace(mapping_version=self._live.version)
        if row.part_of is not None:
            return _as_part(row, source)
        credentials = None
        if row.state in _NEVER_VERIFIED:
            credentials = frozenset(
                bytes.fromhex(digest) for digest in row.headers.get(CREDENTIALS_HEADER, "").split(",") if digest
            )
        arrival = Arrival(
            row, source, query_of(row.target), row.headers, credentials, self._max_decoded_bytes, row.target
        )
        return arrival.interpreted(at_leisure=at_leisure)


@dataclass(slots=True)
class Arrival:
    """A source's request, on arrival or again. Its methods return its row with state, fields, key and parts.

    They never raise: what is our own fault makes the row `failed`.

    Attributes:
        row: The row with its body. Its key, if it has one, came in a header.
        source: Its source.
        query: The fields of its query string.
        headers: By name in lower case.
        credentials: The hashes of the tokens that came with it; None if it is verified already.
        max_decoded_bytes: The limit of the body once its content codings are undone.
        target: The path and query as received, with their secrets.
    """

    row: Submission
    source: Source
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    credentials: frozenset[bytes] | None
    max_decoded_bytes: int
    target: str
    _verdict: Verdict | None = field(default=None, init=False)

    def interpreted(self, *, at_leisure: bool = True) -> Submission:
        """Return the row once its body is read; see `read` for `at_leisure`."""
        return self.judged_unread() or self.read(at_leisure=at_leisure)

    def judged_unread(self) -> Submission | None:
        """Return the row if its body need not be read: it carries no lead, or nothing in it could prove its sender."""
        row = self.row
        if not self.source.enabled:
            error = "the source is switched off or was taken out"
            return row._replace(
                state=State.UNROUTED, error=error, fields=None, headers=self._headers_with_credentials()
            )
        try:
            if row.method in ("GET", "HEAD") and (probe := _as_probe(row, self.source, self.query, self.credentials)):
                return probe
            fault = self._fault(None, has_key=row.key_sha256 is None)
        except Exception as error:
            return _failing(row, error)
        if fault is None or self.source.proof.kind == "body":
            return None
        return self._unproved(fault)

    def read(self, *, at_leisure: bool) -> Submission:
        """Return the row with its body read; without leisure, postponed if that takes long."""
        try:
            return self._read(at_leisure=at_leisure)
        except TooLaborious:
            return self.row.postponed()
        except Exception as error:
            return _failing(self.row, error)

    def kept_unread(self) -> Submission:
        """Return the row whose body is too laborious to be read now: postponed if its sender is proved."""
        # A signature that is old proves its sender where the lead has a key, as leads of such a source have.
        fault = self._fault(None, has_key=self.row.key_sha256 is None and bool(self.source.keys))
        return self.row.postponed() if fault is None else self._unproved(fault)

    def _read(self, *, at_leisure: bool) -> Submission:
        fields = _fields_of_query(self.source, self.query, self.target, at_leisure=at_leisure)
        document: Any = None
        leads: list[Lead] = []
        fault = None
        try:
            document = self._document(at_leisure=at_leisure)
            leads = self._leads(document, fields, at_leisure=at_leisure)
        except (InvalidPayload, TooManyLeads) as error:
            fault = str(error)
        # A key header is not signed: with another one, a replay would be another lead.
        has_keys = self.row.key_sha256 is None and bool(leads) and all(lead.key for lead in leads)
        unproved = self._fault(document, has_key=has_keys)
        if unproved is not None:
            return self._unproved(unproved)
        if any(lead.is_inexact for lead in leads):
            exact = self._leads(self._document(exactly=True, at_leisure=at_leisure), fields, at_leisure=at_leisure)
            leads = exact if len(exact) == len(leads) else leads
        return _judged(self.row, self.source, document, leads, fault, fields, self.headers)

    def _document(self, *, exactly: bool = False, at_leisure: bool) -> Any:
        """Return what the body holds, or what a text in it does where the lead is in that."""
        body = self.row.body or b""
        if body[:1] != b"{":
            body = decoded_once(body, at_leisure=at_leisure)
        document = self._whole(body, exactly=exactly, at_leisure=at_leisure)
        is_compressed = _is_compressed(self.row, self.headers)
        # A laborious body has been put off by now: to look through one takes long as well.
        if type(document) is not dict or not (is_compressed or may_hold_leads(body)):
            return document
        return read_members(
            document,
            may_hold_adf=is_compressed or may_hold_adf(body),
            takes_several=self.source.takes_several,
            has_keys=bool(self.source.keys),
            at_leisure=at_leisure,
        )

    def _whole(self, body: bytes, *, exactly: bool, at_leisure: bool) -> object:
        """Return what a body holds, or the JSON in it where that has a contact and the whole has none."""
        document: object = None
        fault: InvalidPayload | None = None
        try:
            document = self._parsed(body, exactly=exactly, at_leisure=at_leisure)
        except InvalidPayload as error:
            fault = error
        if fault is None and not may_surround_json(body):
            return document
        effort = None if at_leisure else Effort()
        if fault is None and holds_contact(document, effort):
            return document
        if (apart := json_apart(body, at_leisure=at_leisure)) is not None:
            with suppress(InvalidPayload):
                found = self._parsed(apart, exactly=exactly, at_leisure=at_leisure)
                if holds_contact(found, effort):
                    return found
        if fault is not None:
            raise fault
        return document

    def _parsed(self, body: bytes, *, exactly: bool, at_leisure: bool) -> object:
        return read_document(
            body,
            content_type=self.row.content_type or "",
            content_encoding=self.headers.get("content-encoding", ""),
            max_decoded_bytes=self.max_decoded_bytes,
            default=self.source.charset,
            exactly=exactly,
            at_leisure=at_leisure,
        )

    def _leads(self, document: Any, fields: Mapping[str, Any], *, at_leisure: bool) -> list[Lead]:
        may_be_escaped = may_refer(self.row.body or b"") or _is_compressed(self.row, self.headers)
        if fields and not may_be_escaped:
            may_be_escaped = may_refer(self.target.encode(errors="surrogateescape"))
        unescape = Unescaping(at_leisure=at_leisure) if may_be_escaped else None
        parse = _parse_member if at_leisure else _parse_short_member
        return self.source.leads(document, fields, self.headers, parse, unescape=unescape, at_leisure=at_leisure)

    def _fault(self, document: Any, *, has_key: bool) -> str | None:
        proof = self.source.proof
        if self.credentials is None or not proof.secrets:
            return None
        if self._verdict is None:
            row = self.row
            body = row.body or b""
            self._verdict = proof.verdict(
                Evidence(row.method, self.target, self.headers, body, self.credentials, row.received_at)
            )
        fault = self._verdict.fault_of(has_key=has_key)
        return None if fault is not None and proof.is_in(document) else fault

    def _unproved(self, fault: str) -> Submission:
        headers = self._headers_with_credentials()
        return self.row._replace(state=State.UNVERIFIED, error=fault, fields=None, headers=headers)

    def _headers_with_credentials(self) -> dict[str, str]:
        # Also where there are none: a sender may send a header of this name.
        digests = ",".join(credential.hex() for credential in sorted(self.credentials or ()))
        return {**self.row.headers, CREDENTIALS_HEADER: digests}


def _fields_of_query(
    source: Source, query: Sequence[tuple[str, str]], target: str, *, at_leisure: bool
) -> Mapping[str, Any]:
    """Return the fields of a query, without secrets, as those of a form are read where it is one.

    Browsers send a form so, and trackers leave the plus of a phone as it is.

    Raises:
        TooLaborious: Without leisure, it cannot be read.
    """
    fields = source.query_of(query)
    if not fields:
        return fields
    text = decoded_once(target.partition("?")[2].encode(errors="surrogateescape"), at_leisure=at_leisure)
    try:
        form = read_document(
            text,
            content_type=_FORM,
            content_encoding="",
            max_decoded_bytes=len(text),
            default=source.charset,
            at_leisure=at_leisure,
        )
    except InvalidPayload:
        return fields
    if not isinstance(form, dict):
        return fields
    if not may_hold_leads(text):
        return source.without_secrets(form)
    found = read_members(form, may_hold_adf=may_hold_adf(text), takes_several=False, at_leisure=at_leisure)
    return source.without_secrets(found if isinstance(found, dict) else form)


def _failing(row: Submission, error: Exception) -> Submission:
    text = "a request of a source could not be mapped and is kept as failed: %s"
    extra = {"action": "map", "hint": FAILED_HINT, "repeat_key": text}
    # Without its stack, which may quote the body.
    logger.error(text, type(error).__name__, extra=extra)
    return row.failing(f"mapping failed: {type(error).__name__}")


def _as_probe(
    row: Submission, source: Source, query: Sequence[tuple[str, str]], credentials: frozenset[bytes] | None
) -> Submission | None:
    """Return the row of a request that cannot carry a lead, or None if it may."""
    fields = source.query_of(query)
    if row.method == "HEAD" or not (row.body or fields):
        return _as_event(row, _PROBE)
    if not source.proof.is_handshake(fields):
        return None
    if credentials is None or source.proof.challenge_answer(dict(query)) is not None:
        return _as_event(row, _PROBE)
    return row._replace(state=State.UNVERIFIED, error="a handshake that is not proved", fields=None)


def _is_compressed(row: Submission, headers: Mapping[str, str]) -> bool:
    return "content-encoding" in headers or is_gzip(row.body or b"")


def _judged(
    row: Submission,
    source: Source,
    document: Any,
    leads: list[Lead],
    fault: str | None,
    fields: Mapping[str, Any],
    headers: Mapping[str, str],
) -> Submission:
    """Return the row of a request that is proved, with its lead or leads."""
    assert row.body is not None
    if fault is not None or (not fields and document in ({}, [])):
        return row._replace(state=State.INVALID, error=fault or "the request is empty", fields=None)
    if source.proof.answer_to(document) is not None:
        return _as_event(row, _PROBE)
    if not leads:
        return _without_lead(row, source)
    if len(leads) == 1:
        return _as_lead(row, source, leads[0], is_compressed=_is_compressed(row, headers))
    parts = tuple(_part(row, source, lead, headers, number) for number, lead in enumerate(leads))
    if are_blown_up(sum(map(_characters, parts)), len(row.body) + len(row.target)):
        error = f"its leads are more than {MAX_RATIO} times as long as the request"
        return row._replace(state=State.INVALID, error=error, fields=None)
    return row._replace(state=State.BATCH, error=None, fields=None, parts=parts)


def _without_lead(row: Submission, source: Source) -> Submission:
    """Return the row of a body without any lead: it is meant so only where the source has rules of what is one."""
    if source.only is None and source.each is None:
        return row._replace(state=State.INVALID, error="nothing in the body tells of a lead", fields=None)
    return _as_event(row, "by the rules of the source it is no lead")


def _characters(part: Submission) -> int:
    """Return how long a part is, beside what every row holds."""
    values = sum(len(value) for value in part.fields or () if value)
    return values + len(part.body or b"") + sum(map(len, part.headers.values()))


def _as_part(row: Submission, source: Source) -> Submission:
    assert row.body is not None
    try:
        fields = _fields_of_query(source, query_of(row.target), row.target, at_leisure=True)
        unescape = Unescaping(at_leisure=True)
        leads = source.leads(orjson.loads(row.body), fields, row.headers, is_part=True, unescape=unescape)
    except Exception as error:
        return row.failing(f"mapping failed: {type(error).__name__}")
    # Its key stays: it may have come with the whole request.
    return _as_lead(row, source, leads[0]) if leads else row.failing("by the rules of the source it is no lead")


def _as_event(row: Submission, why: str) -> Submission:
    return row._replace(state=State.EVENT, error=why, fields=None)


def _as_lead(row: Submission, source: Source, lead: Lead, *, is_compressed: bool = False) -> Submission:
    fields, cut = _fields(lead), None
    if is_compressed:
        fields, cut = within_ratio(fields, len(row.body or b""))
    key, key_sha256 = row.idempotency_key, row.key_sha256
    if key_sha256 is None and lead.key is not None:
        key = storable(lead.key)
        key_sha256 = source.key_sha256(lead.key.encode(errors="surrogatepass"))
    return row._replace(
        state=State.STORED,
        error=cut,
        fields=fields,
        is_test=lead.is_test,
        idempotency_key=key,
        key_sha256=key_sha256,
    )


def _part(row: Submission, source: Source, lead: Lead, headers: Mapping[str, str], number: int) -> Submission:
    key = lead.key
    if key is None and row.idempotency_key is not None:
        # The request's own key, told apart by the place in the body.
        key = f"{row.idempotency_key}\0{number}"
    body = _encoded(lead.item)
    return row._replace(
        id=str(uuid7()),
        content_type="application/json",
        headers={name: headers[name] for name in source.header_names if name in headers},
        body=body,
        body_sha256=sha256(body).digest(),
        part_of=row.id,
        state=State.STORED,
        error=None,
        idempotency_key=None if key is None else storable(key),
        key_sha256=None if key is None else source.key_sha256(key.encode(errors="surrogatepass")),
        fields=_fields(lead),
        is_test=lead.is_test,
    )


def _fields(lead: Lead) -> Fields:
    return tuple(
        [
            column if column is None or (column.isascii() and "\x00" not in column) else storable(column)
            for column in lead.columns
        ]
    )


def _encoded(item: Any) -> bytes:
    try:
        return orjson.dumps(item)
    except TypeError:
        # Lone surrogates, or deeper than orjson goes.
        return json.dumps(item).encode()


def _parse_short_member(text: str) -> Any:
    if text.count("[") + text.count("{") + text.count(",") > MAX_HURRIED_MARKS:
        raise TooLaborious
    return _parse_member(text)


def _parse_member(text: str) -> Any:
    if len(text) > MAX_JSON_BYTES or text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
