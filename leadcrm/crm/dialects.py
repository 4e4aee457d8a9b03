"""Where the CRM's SQL differs between the databases: one `Dialect` for each, and none by default."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
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
        digits: The digits of `lead.phone`, without the zero in `+44 (0)20`.
        phone_end: Its last seven digits, as the index over them has it.
        truncate: Returns the expression for the start of the hour or day of a column of times.
    """

    bytewise: str
    position: str
    digits: str
    phone_end: str
    truncate: Callable[[str, Step], str]


_BETWEEN_DIGITS = (*(f"'{mark}'" for mark in " -()./"), *(f"char({code})" for code in (9, 160, 8239, 8209, 8208, 8211)))


def _without(text: str, parts: Iterable[str]) -> str:
    return reduce(lambda rest, part: f"replace({rest}, {part}, '')", parts, text)


_START = "substr(lead.phone, 1, 64)"

POSTGRES = Dialect(
    bytewise=' COLLATE "C"',
    position="strpos",
    digits=f"regexp_replace(replace({_START}, '(0)', ''), '[^0-9]', '', 'g')",
    phone_end=f"right(regexp_replace({_START}, '[^0-9]', '', 'g'), 7)",
    truncate=lambda column, step: f"date_trunc('{step}', {column})",
)

SQLITE = Dialect(
    bytewise="",  # SQLite compares by bytes unless told otherwise
    position="instr",
    digits=_without(_START, ("'(0)'", "'+'", *_BETWEEN_DIGITS)),
    phone_end=(
        f"substr(CASE WHEN lead.phone GLOB '*[^+0-9]*' THEN {_without(_START, _BETWEEN_DIGITS)} ELSE {_START} END, -7)"
    ),
    truncate=lambda column, step: f"substr({column}, 1, {_STEP_CHARS[step]})",
)

_DIALECTS: Mapping[str, Dialect] = MappingProxyType({"PostgreSQL": POSTGRES, "SQLite": SQLITE})


def dialect_of(entities: Entities) -> Dialect:
    """Return the dialect of a bound database."""
    return _DIALECTS[entities.database.provider.dialect]
