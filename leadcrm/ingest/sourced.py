"""From a source's request to its raw row, its lead or its several leads: on arrival, in the drain and in a replay.

`interpret` verifies, parses, maps and keys. It never raises, because nothing may prevent a request's own row from being
kept: each row gets a state and, if it has no lead, an error that says why.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import orjson
from uuid_utils import uuid7

from leadcrm.database.states import State
from leadcrm.errors import InvalidPayload
from leadcrm.ingest.normalize import storable
from leadcrm.ingest.payload.document import read_document
from leadcrm.ingest.submission import FAILED_HINT, Fields, Submission
from leadcrm.sources.live import LiveSources
from leadcrm.sources.proof import Evidence, query_of
from leadcrm.sources.source import Lead, Source, TooManyLeads

CREDENTIALS_HEADER = "leadcrm-credentials"
"""Under this name an unverified row's headers hold the SHA-256 of the tokens that came with it."""

MAX_JSON_BYTES = 262_144

_PROBE = "a probe or a handshake: it carries no lead"

logger = logging.getLogger("leadcrm.ingest.sourced")


class SourceRows:
    """Reads the rows of sources again, as the sources are now."""

    def __init__(self, live: LiveSources, *, max_decoded_bytes: int) -> None:
        """Take the sources, and the limit of a body once its content codings are undone."""
        self._live = live
        self._max_decoded_bytes = max_decoded_bytes

    def reread(self, row: Submission) -> Submission | None:
        """See `SourceReader.reread`."""
        source = self._live.get(row.source)
        if source is None:
            return None
        if self._live.version is None:
            # A drain begins as soon as the database is back, and its leads say by which version they were mapped.
            self._live.learn()
        version = self._live.version
        if row.state.holds_key and not source.enabled:
            # Its sender heard that it is a lead, so it becomes one by the rules that are left.
            source = source.reopened()
        if row.part_of is not None:
            return _as_part(row, source, version)
        credentials = None
        if row.state is State.UNVERIFIED:
            credentials = frozenset(
                bytes.fromhex(digest) for digest in row.headers.get(CREDENTIALS_HEADER, "").split(",") if digest
            )
        return interpret(
            row,
            source,
            version,
            query=query_of(row.target),
            headers=row.headers,
            credentials=credentials,
            max_decoded_bytes=self._max_decoded_bytes,
        )


def interpret(
    row: Submission,
    source: Source,
    version: int | None,
    *,
    query: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    credentials: frozenset[bytes] | None,
    max_decoded_bytes: int,
    target: str | None = None,
) -> Submission:
    """Return a row with its state, fields, key and parts. Never raises.

    Args:
        row: The row with its body. Its key, if it has one, came in a header.
        source: Its source.
        version: Of the text that the source is of.
        query: The fields of its query string.
        headers: By name in lower case.
        credentials: The hashes of the tokens that came with it; None if it is verified already.
        max_decoded_bytes: The limit of the body once its content codings are undone.
        target: The path and query as received, with their secrets.
    """
    body = row.body
    assert body is not None
    row = row._replace(mapping_version=version)
    if not source.enabled:
        return row._replace(state=State.UNROUTED, error="the source is switched off or was taken out", fields=None)
    try:
        return _interpret(row, body, source, query, headers, credentials, max_decoded_bytes, target or row.target)
    except Exception as error:  # our own fault: the row stays failed until we have fixed it
        text = "a request of a source could not be mapped and is kept as failed: %s"
        extra = {"action": "map", "hint": FAILED_HINT, "repeat_key": text}
        # Without its stack, which may quote the body.
        logger.error(text, type(error).__name__, extra=extra)  # noqa: TRY400
        return row.failing(f"mapping failed: {type(error).__name__}")


def _interpret(
    row: Submission,
    body: bytes,
    source: Source,
    query: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    credentials: frozenset[bytes] | None,
    max_decoded_bytes: int,
    target: str,
) -> Submission:
    fields = source.query_of(query)
    if row.method in ("GET", "HEAD") and (probe := _as_probe(row, source, query, is_known=credentials is None)):
        return probe
    read = partial(
        read_document,
        body,
        content_type=row.content_type or "",
        content_encoding=headers.get("content-encoding", ""),
        max_decoded_bytes=max_decoded_bytes,
    )
    document, leads, fault = _read(read, source, fields, headers)
    if credentials is not None:
        evidence = Evidence(row.method, target, headers, body, credentials, row.received_at, document)
        # A key header is not signed: with another one, a replay would be another lead.
        has_keys = row.key_sha256 is None and bool(leads) and all(lead.key for lead in leads)
        unproved = source.proof.fault(evidence, has_key=has_keys)
        if unproved is not None:
            return row._replace(state=State.UNVERIFIED, error=unproved, fields=None)
    return _judged(row, source, read, document, leads, fault, fields, headers)


def _as_probe(
    row: Submission, source: Source, query: Sequence[tuple[str, str]], *, is_known: bool
) -> Submission | None:
    """Return the row of a request that cannot carry a lead, or None if it may."""
    fields = source.query_of(query)
    if row.method == "HEAD" or not (row.body or fields):
        return _as_event(row, _PROBE)
    if not source.proof.is_handshake(fields):
        return None
    if is_known or source.proof.challenge_answer(dict(query)) is not None:
        return _as_event(row, _PROBE)
    return row._replace(state=State.UNVERIFIED, error="a handshake that is not proved", fields=None)


def _judged(
    row: Submission,
    source: Source,
    read: Any,
    document: Any,
    leads: list[Lead],
    fault: str | None,
    fields: Mapping[str, str],
    headers: Mapping[str, str],
) -> Submission:
    """Return the row of a request that is proved, with its lead or leads."""
    if fault is not None or (not fields and document in ({}, [])):
        return row._replace(state=State.INVALID, error=fault or "the request is empty", fields=None)
    if not leads:
        return _as_event(row, "by the rules of the source it is no lead")
    if any(lead.is_inexact for lead in leads):
        _, exact, _ = _read(partial(read, exactly=True), source, fields, headers)
        leads = exact if len(exact) == len(leads) else leads
    if len(leads) > 1:
        return row._replace(
            state=State.BATCH,
            error=None,
            fields=None,
            parts=tuple(_part(row, source, lead, headers, number) for number, lead in enumerate(leads)),
        )
    return _as_lead(row, source, leads[0])


def _read(
    read: Any, source: Source, fields: Mapping[str, str], headers: Mapping[str, str]
) -> tuple[Any, list[Lead], str | None]:
    """Return the document, its leads, and why there are none, if they cannot be read."""
    try:
        document = read()
        return document, source.leads(document, fields, headers, _parse_member), None
    except InvalidPayload as error:
        return None, [], str(error)
    except TooManyLeads as error:
        return None, [], str(error)


def _as_part(row: Submission, source: Source, version: int | None) -> Submission:
    assert row.body is not None
    try:
        leads = source.leads(orjson.loads(row.body), source.query_of(query_of(row.target)), row.headers, is_part=True)
    except Exception as error:
        return row.failing(f"mapping failed: {type(error).__name__}")
    row = row._replace(mapping_version=version)
    # Its key stays: it may have come with the whole request.
    return _as_lead(row, source, leads[0]) if leads else row.failing("by the rules of the source it is no lead")


def _as_event(row: Submission, why: str) -> Submission:
    return row._replace(state=State.EVENT, error=why, fields=None)


def _as_lead(row: Submission, source: Source, lead: Lead) -> Submission:
    row = row._replace(state=State.STORED, error=None, fields=_fields(lead), is_test=lead.is_test)
    if row.key_sha256 is None and lead.key is not None:
        key = lead.key.encode(errors="surrogatepass")
        return row._replace(idempotency_key=storable(lead.key), key_sha256=source.key_sha256(key))
    return row


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
    return tuple([None if column is None else storable(column) for column in lead.columns])


def _encoded(item: Any) -> bytes:
    try:
        return orjson.dumps(item)
    except TypeError:
        # Lone surrogates, or deeper than orjson goes.
        return json.dumps(item).encode()


def _parse_member(text: str) -> Any:
    if len(text) > MAX_JSON_BYTES or text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
