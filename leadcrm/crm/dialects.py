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

Unit = Literal["quarter", "hour", "day"]
"""What the database counts by: quarters of an hour make the hours and days of every time zone."""

_STEP_CHARS = MappingProxyType({"hour": len("2024-01-15 10"), "day": len("2024-01-15")})


@dataclass(frozen=True, slots=True)
class Dialect:
    """The SQL that one database needs.

    Attributes:
        bytewise: Put after a text, compares it by its bytes. Only then is a prefix a range of an index.
        position: The function that returns where one text begins in another, 0 where it does not.
        digits: The digits of `lead.phone`, without the zero in `+44 (0)20`.
        is_written: Whether `lead.phone` has more than digits after a plus: else it is its own digits.
        phone_end: Its last seven digits, as the index over them has it.
        truncate: Returns the expression for the start of the quarter, hour or day of a column of times.
        id_digits: Returns the expression for the hexadecimal digits of a column of ids.
        ids_in_spans: What comes after an id to say that its lead, of `{table}`, arrived within one of some times and
            has `{passed}`; `?` is a JSON array of pairs of texts. Nothing but the index by arrival serves it.
        seconds_between: Returns the expression for the whole seconds from one time to another.
    """

    bytewise: str
    position: str
    digits: str
    is_written: str
    phone_end: str
    truncate: Callable[[str, Unit], str]
    id_digits: Callable[[str], str]
    seconds_between: Callable[[str, str], str]
    ids_in_spans: str


_BETWEEN_DIGITS = (*(f"'{mark}'" for mark in " -()./"), *(f"char({code})" for code in (9, 160, 8239, 8209, 8208, 8211)))


def _without(text: str, parts: Iterable[str]) -> str:
    return reduce(lambda rest, part: f"replace({rest}, {part}, '')", parts, text)


def _truncate_postgres(column: str, unit: Unit) -> str:
    if unit != "quarter":
        return f"date_trunc('{unit}', {column})"
    return f"date_trunc('hour', {column}) + floor(extract(minute FROM {column}) / 15) * interval '15 minutes'"


def _truncate_sqlite(column: str, unit: Unit) -> str:
    if unit != "quarter":
        return f"substr({column}, 1, {_STEP_CHARS[unit]})"
    quarter = f"CAST(substr({column}, 15, 2) AS integer) / 15"
    return f"substr({column}, 1, 14) || substr('00153045', 1 + 2 * ({quarter}), 2)"


_START = "substr(lead.phone, 1, 64)"

POSTGRES = Dialect(
    bytewise=' COLLATE "C"',
    position="strpos",
    digits=f"regexp_replace(replace({_START}, '(0)', ''), '[^0-9]', '', 'g')",
    is_written="lead.phone ~ '..*[^0-9]'",
    phone_end=f"right(regexp_replace({_START}, '[^0-9]', '', 'g'), 7)",
    truncate=_truncate_postgres,
    id_digits=lambda column: f"replace(CAST({column} AS text), '-', '')",
    seconds_between=lambda begin, end: f"CAST(floor(extract(epoch FROM {end} - {begin})) AS bigint)",
    # As an array, of which the planner expects few: of a query it expects so many that it reads the whole table.
    ids_in_spans="= ANY(ARRAY(SELECT lead.id FROM json_array_elements(CAST(? AS json)) AS span CROSS JOIN LATERAL "
    "(SELECT lead.* FROM {table} lead WHERE lead.created_at >= CAST(span->>0 AS timestamp) "
    "AND lead.created_at < CAST(span->>1 AS timestamp) OFFSET 0) AS lead WHERE {passed}))",
)

SQLITE = Dialect(
    bytewise="",  # SQLite compares by bytes unless told otherwise
    position="instr",
    digits=_without(_START, ("'(0)'", "'+'", *_BETWEEN_DIGITS)),
    is_written="substr(lead.phone, 2) GLOB '*[^0-9]*'",
    phone_end=(
        f"substr(CASE WHEN lead.phone GLOB '*[^+0-9]*' THEN {_without(_START, _BETWEEN_DIGITS)} ELSE {_START} END, -7)"
    ),
    truncate=_truncate_sqlite,
    id_digits=lambda column: f"lower(hex({column}))",
    # Days with a fraction, which is exact to a few microseconds.
    seconds_between=lambda begin, end: f"CAST(round((julianday({end}) - julianday({begin})) * 86400, 3) AS integer)",
    # CROSS tells the planner which of the two to go through. Pony makes one dollar sign of two.
    ids_in_spans="IN (SELECT lead.id FROM json_each(?) AS span CROSS JOIN {table} lead WHERE lead.created_at >= "
    "json_extract(span.value, '$$[0]') AND lead.created_at < json_extract(span.value, '$$[1]') AND {passed})",
)

_DIALECTS: Mapping[str, Dialect] = MappingProxyType({"PostgreSQL": POSTGRES, "SQLite": SQLITE})


def chars_of(unit: Unit) -> int | None:
    """Return how many characters of the start of a quarter tell the unit that it lies in; None for all of them."""
    return None if unit == "quarter" else _STEP_CHARS[unit]


def dialect_of(entities: Entities) -> Dialect:
    """Return the dialect of a bound database."""
    return _DIALECTS[entities.database.provider.dialect]
