"""The numbered versions of the sinks, in the database: each text of SINKS_FILE that took effect, its time and hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.database.versions import version_of
from leadcrm.delivery.sink import Sink


def take_version(entities: Entities, sinks: Mapping[str, Sink]) -> int:
    """Return the version of sinks that are in force, which is added if it is new. Durable on return.

    Comments and the order of a text make no version; the content of a `secret_file` does.

    Raises:
        StoreUnavailable: The database cannot be used now.
    """
    return version_of(entities, entities.sink_version, _hash_of(sinks), _text_of(sinks))


class Version(NamedTuple):
    """The number of sinks that were in force, and when they first were."""

    number: int
    taken_at: datetime


def read_version(entities: Entities, sinks: Mapping[str, Sink]) -> Version | None:
    """Return which version sinks are; None if they never were in force.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    with session(entities):
        known = entities.sink_version.get(sha256=_hash_of(sinks))
        return None if known is None else Version(known.version, known.taken_at)


def _text_of(sinks: Mapping[str, Sink]) -> str:
    """Return sinks as JSON, without their URLs and secrets."""
    return json.dumps({name: _kept(sink) for name, sink in sinks.items()}, sort_keys=True)


def _kept(sink: Sink) -> dict[str, Any]:
    return {
        "kind": sink.kind,
        "host": sink.host,
        "events": sorted(sink.events),
        "only": {column: sorted(values) for column, values in sink.only.items()},
        "thin": sink.thin,
        "rate": None if sink.rate is None else [sink.rate.requests, sink.rate.per_s],
        "text": sink.text,
        "tests": sink.tests,
        "enabled": sink.enabled,
        "allow_private": sink.allow_private,
    }


def _hash_of(sinks: Mapping[str, Sink]) -> bytes:
    hidden = {name: [sink.url.geturl(), *(secret.hex() for secret in sink.secrets)] for name, sink in sinks.items()}
    return sha256(f"{_text_of(sinks)}\n{json.dumps(hidden, sort_keys=True)}".encode()).digest()
