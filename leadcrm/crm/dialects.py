"""Where the CRM's SQL differs between the databases: one `Dialect` for each, and none by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from leadcrm.database.entities import Entities

Step = Literal["hour", "day"]
"""The length of time that statistics count by."""

_STEP_CHARS = MappingProxyType({"hour": len("2024-01-15 10"), "day": len("2024-01-15")})


@dataclass(frozen=True, slots=True)
class Dialect:
    """The SQL that one database needs.

    Attributes:
        bytewise: Put after a text, compares it by its bytes. Only then is a prefix a range of an index.
        position: The function that returns where one text begins in another, 0 where it does not.
        truncate: Returns the expression for the start of the hour or day of a column of times.
    """

    bytewise: str
    position: str
    truncate: Callable[[str, Step], str]


POSTGRES = Dialect(
    bytewise=' COLLATE "C"',
    position="strpos",
    truncate=lambda column, step: f"date_trunc('{step}', {column})",
)

SQLITE = Dialect(
    bytewise="",  # SQLite compares by bytes unless told otherwise
    position="instr",
    truncate=lambda column, step: f"substr({column}, 1, {_STEP_CHARS[step]})",
)

_DIALECTS: Mapping[str, Dialect] = MappingProxyType({"PostgreSQL": POSTGRES, "SQLite": SQLITE})


def dialect_of(entities: Entities) -> Dialect:
    """Return the dialect of a bound database."""
    return _DIALECTS[entities.database.provider.dialect]
