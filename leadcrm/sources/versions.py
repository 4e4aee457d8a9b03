"""The sources of all texts of SOURCES_FILE that took effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pony.orm import select

from leadcrm.configuration.toml import TomlFault, read_toml
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session


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
