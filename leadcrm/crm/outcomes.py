"""What became of the leads of a period, by the values of a column: statuses, and how soon somebody touched them."""

from __future__ import annotations

from array import array
from typing import NamedTuple

from leadcrm.crm.dialects import dialect_of
from leadcrm.crm.leads import LeadFilter
from leadcrm.crm.past_days import outcomes_with_days
from leadcrm.crm.statistics import MAX_VALUES
from leadcrm.crm.touches import MAX_SECONDS, OutcomeCounts, touch_sql
from leadcrm.crm.value_counts import DIMENSIONS, LONGEST_VALUE, gathered_sql
from leadcrm.database.entities import Entities, quoted_table


class Outcome(NamedTuple):
    """The leads with one value.

    Attributes:
        value: None where the column is empty.
        leads: Their number.
        statuses: Their number by status.
        touched: How many of them somebody changed or noted.
        first_touch_s: The median of the whole seconds from their arrival to that; None where there are none.
    """

    value: str | None
    leads: int
    statuses: dict[str, int]
    touched: int
    first_touch_s: int | None


def outcomes_by(entities: Entities, lead_filter: LeadFilter, column: str) -> list[Outcome]:
    """Return the outcomes by a column of `DIMENSIONS`, the most frequent values first. The caller holds the session.

    Args:
        entities: The bound database.
        lead_filter: Which leads, with both ends of the period and neither `ids` nor `q`.
        column: What to tell apart.
    """
    assert column in DIMENSIONS
    total = outcomes_with_days(entities, lead_filter, column, add_outcomes)
    statuses: dict[str | None, dict[str, int]] = {}
    for (value, status), leads in total.leads.items():
        statuses.setdefault(value, {})[status] = leads
    made = [
        Outcome(value, sum(by_status.values()), by_status, len(total.touches[value]), _median(total.touches[value]))
        for value, by_status in statuses.items()
    ]
    return sorted(made, key=lambda outcome: -outcome.leads)[:MAX_VALUES]


def _median(seconds: array[int]) -> int | None:
    return sorted(seconds)[(len(seconds) - 1) // 2] if seconds else None


def add_outcomes(entities: Entities, lead_filter: LeadFilter, column: str, total: OutcomeCounts) -> None:
    """Add what became of leads to other counts, as the database has them. The caller holds the session.

    Args:
        entities: The bound database.
        lead_filter: Which leads, with neither `ids` nor `q`. A row is read for each that was touched.
        column: One of `DIMENSIONS`.
        total: What to add to.
    """
    columns = f"substr(CAST(lead.{column} AS text), 1, {LONGEST_VALUE}) AS value, lead.status AS status"
    columns += f", {touch_sql(entities)} AS touch"
    gathered, values = gathered_sql(dialect_of(entities), quoted_table(entities.lead), columns, lead_filter)
    names = "value, status, touch"
    counted = f"SELECT {names}, count(*) AS leads FROM ({gathered}) AS gathered GROUP BY {names}"  # noqa: S608 - names of ours
    for value, status, touch, leads in entities.database.select(f"* FROM ({counted}) AS counted", values, {}):
        total.leads[value, status] += leads
        if touch is not None:
            total.touches[value].extend([min(max(touch, 0), MAX_SECONDS)] * leads)
