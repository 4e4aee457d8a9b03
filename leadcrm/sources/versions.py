"""The numbered versions of the text of SOURCES_FILE, in the database: each that took effect, its time and hash."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from pony.orm import flush, max, select

from leadcrm.configuration.toml import TomlFault, read_toml
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.errors import StoreUnavailable, SubmissionRefused
from leadcrm.sources.catalogue import Catalogue

ATTEMPTS = 5
"""Another node may take the next number at the same time."""


def version_of(entities: Entities, catalogue: Catalogue) -> int:
    """Return the version of a catalogue's text, which is added if it is new. Durable on return.

    Raises:
        StoreUnavailable: The database cannot be used now.
    """
    versions = entities.source_version
    for _ in range(ATTEMPTS):
        try:
            with session(entities, writes=True):
                known = versions.get(sha256=catalogue.sha256)
                if known is not None:
                    return int(known.version)
                version = 1 + (max(row.version for row in versions) or 0)
                versions(
                    version=version,
                    taken_at=datetime.now(timezone.utc).replace(tzinfo=None),
                    sha256=catalogue.sha256,
                    text=catalogue.text,
                )
                flush()
                return version
        except SubmissionRefused:
            continue
    raise StoreUnavailable("rival versions of SOURCES_FILE keep taking the number")


def tables_of_all_versions(entities: Entities) -> dict[str, Mapping[str, Any]]:
    """Return the latest table of every source that ever was, by name.

    Raises:
        StoreUnavailable: The database cannot be used now.
    """
    tables: dict[str, Mapping[str, Any]] = {}
    with session(entities):
        texts = list(select((row.version, row.text) for row in entities.source_version).order_by(1))
    for _, text in texts:
        try:
            named = read_toml(text).get("source", {})
        except TomlFault:
            continue
        tables.update({name: table for name, table in named.items() if isinstance(table, dict)})
    return tables
