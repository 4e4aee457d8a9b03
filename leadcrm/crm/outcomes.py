"""What became of the leads of a period, by the values of a column: statuses, and how soon somebody touched them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from leadcrm.crm.correction import KINDS
from leadcrm.crm.dialects import dialect_of
from leadcrm.crm.events import PROGRAM_NAMES
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.past_days import statuses_with_days
from leadcrm.crm.statistics import MAX_VALUES
from leadcrm.crm.value_counts import DIMENSIONS, LONGEST_VALUE, gathered_sql
from leadcrm.database.entities import Entities, quoted_table


class Outcome(NamedTuple):
    """The leads with one value.

    Attributes:
        value: None where the column is empty.
        leads: Their number.
        statuses: Their number by status.
        touched: How many of them somebody changed or noted.
        first_touch_s: The median of the seconds from their arrival to that; None where there are none.
    """

    value: str | None
    leads: int
    statuses: dict[str, int]
    touched: int
    first_touch_s: float | None


def outcomes_by(entities: Entities, lead_filter: LeadFilter, column: str) -> list[Outcome]:
    """Return the outcomes by a column of `DIMENSIONS`, the most frequent values first. The caller holds the session.

    Args:
        entities: The bound database.
        lead_filter: Which leads, with both ends of the period and neither `ids` nor `q`.
        column: What to tell apart.
    """
    assert column in DIMENSIONS
    statuses: dict[str | None, dict[str, int]] = {}
    for value, status, leads in statuses_with_days(entities, lead_filter, column, _statuses):
        by_status = statuses.setdefault(value, {})
        by_status[str(status)] = by_status.get(str(status), 0) + leads
    touches = {value: (touched, median) for value, touched, median in _touches(entities, lead_filter, column)}
    made = [
        Outcome(value, sum(by_status.values()), by_status, *touches.get(value, (0, None)))
        for value, by_status in statuses.items()
    ]
    return sorted(made, key=lambda outcome: -outcome.leads)[:MAX_VALUES]


def _value(column: str) -> str:
    return f"substr(CAST(lead.{column} AS text), 1, {LONGEST_VALUE})"


def _statuses(entities: Entities, lead_filter: LeadFilter, column: str) -> Iterator[tuple[str | None, str, int]]:
    table = quoted_table(entities.lead)
    columns = f"{_value(column)} AS value, lead.status AS status"
    gathered, values = gathered_sql(dialect_of(entities), table, columns, lead_filter)
    counted = f"SELECT value, status, count(*) AS leads FROM ({gathered}) AS gathered GROUP BY value, status"  # noqa: S608 - names of ours
    yield from entities.database.select(f"* FROM ({counted}) AS counted", values, {})


def _touches(entities: Entities, lead_filter: LeadFilter, column: str) -> Iterator[tuple[str | None, int, float]]:
    dialect = dialect_of(entities)
    columns = f"lead.id AS id, {_value(column)} AS value, lead.created_at AS created_at"
    gathered, values = gathered_sql(dialect, quoted_table(entities.lead), columns, lead_filter)
    people = " AND ".join(f"event.actor NOT LIKE '{name} v%'" for name in PROGRAM_NAMES)
    # A lead that was made of a correction came so: nobody has called the person yet.
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    first = (
        f"SELECT event.lead_id AS id, min(event.at) AS at FROM {quoted_table(entities.lead_event)} event "  # noqa: S608 - names of ours
        f"WHERE event.lead_id IN (SELECT id FROM gathered) AND {people} "
        f"AND event.field NOT IN ({kinds}) GROUP BY event.lead_id"
    )
    waits = (
        f"SELECT gathered.value AS value, {dialect.seconds_between('gathered.created_at', 'touched.at')} AS seconds "  # noqa: S608 - the same
        "FROM gathered JOIN touched ON touched.id = gathered.id"
    )
    ranked = (
        "SELECT value, seconds, row_number() OVER (PARTITION BY value ORDER BY seconds) AS place, "
        "count(*) OVER (PARTITION BY value) AS touched FROM waits"
    )
    query = (
        f"* FROM (WITH gathered AS ({gathered}), touched AS ({first}), waits AS ({waits}), ranked AS ({ranked}) "  # noqa: S608 - the same
        "SELECT value, touched, seconds FROM ranked WHERE place = (touched + 1) / 2) AS counted"
    )
    for value, touched, seconds in entities.database.select(query, values, {}):
        yield value, touched, float(seconds)
