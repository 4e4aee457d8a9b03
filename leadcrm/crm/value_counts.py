"""Numbers of leads by their values, all dimensions in one look at the database."""

from __future__ import annotations

from collections import Counter
from typing import Any

from leadcrm.crm.conditions import conditions
from leadcrm.crm.dialects import Dialect, Unit, dialect_of
from leadcrm.crm.leads import LeadFilter
from leadcrm.database.entities import Entities

DIMENSIONS = ("status", "assigned_to", "country", "offer", "marker", "sourcetype", "source", "creo")

LONGEST_VALUE = 256
"""The characters of a value: longer ones that begin alike count as one."""

Counts = dict[str, Counter[Any]]
"""By `step`, the start of a unit of time as the database writes it, and by each of `DIMENSIONS`: leads by value."""


def gathered_sql(dialect: Dialect, table: str, columns: str, lead_filter: LeadFilter) -> tuple[str, dict[str, str]]:
    """Return the query for columns of the leads that a filter without `ids` and `q` lets through, and its values."""
    values: dict[str, str] = {}
    parts = []
    for condition, texts in conditions(dialect, lead_filter):
        names = iter(texts)
        numbered = []
        for piece in condition.split("?"):
            numbered.append(piece)
            if (text := next(names, None)) is not None:
                numbered.append(f"$value{len(values)}")
                values[f"value{len(values)}"] = text
        parts.append(f"({''.join(numbered)})")
    return f"SELECT {columns} FROM {table} lead WHERE {' AND '.join(parts) or '1 = 1'}", values  # noqa: S608 - names of ours


def count_by_values(entities: Entities, lead_filter: LeadFilter, unit: Unit) -> Counts:
    """Count the leads that a filter lets through by the units of time and by the values of each dimension.

    The caller holds the session.

    Args:
        entities: The bound database.
        lead_filter: Which leads, with neither `ids` nor `q`.
        unit: The unit of time.
    """
    names = ("step", *DIMENSIONS)
    dialect = dialect_of(entities)
    table = entities.database.provider.quote_name(entities.lead._table_)
    start = dialect.truncate("lead.created_at", unit)
    gathered, values = gathered_sql(dialect, table, f"{start} AS step, {', '.join(DIMENSIONS)}", lead_filter)
    # In SQL, since Pony has no common table expressions: all dimensions count the same leads, though others arrive
    # meanwhile. Grouping by all dimensions at once would give about as many groups as there are leads.
    by_dimension = " UNION ALL ".join(
        f"SELECT {number}, substr(CAST({name} AS text), 1, {LONGEST_VALUE}), count(*) FROM gathered GROUP BY {name}"  # noqa: S608 - names of ours
        for number, name in enumerate(names)
    )
    rows = entities.database.select(f"* FROM (WITH gathered AS ({gathered}) {by_dimension}) AS counted", values, {})
    counts: Counts = {name: Counter() for name in names}
    for number, value, leads in rows:
        counts[names[number]][value] += leads
    return counts
