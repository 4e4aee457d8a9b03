"""The filter of leads as conditions in SQL, for the queries of Pony and for those that Pony cannot write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from leadcrm.crm.dialects import Dialect
from leadcrm.crm.leads import CONTAINED_COLUMNS, FILTER_COLUMNS, LeadFilter
from leadcrm.crm.phones import same_number

Condition = tuple[str, Sequence[str]]
"""A condition over the alias `lead`, with a `?` for each value."""

_UNINDEXED = {"status": "new", "source": "api"}
"""The values of columns that their partial indexes leave out."""


def conditions(dialect: Dialect, lead_filter: LeadFilter) -> Iterator[Condition]:
    """Yield a condition for each part of the filter but `ids` and `q`."""
    for column, values in lead_filter.values:
        yield _is_one_of(column, values)
    for column, texts in lead_filter.contains:
        yield _contains(dialect, column, texts)
    if lead_filter.tests == "only":
        yield "lead.is_test", ()
    elif lead_filter.tests != "include" and not lead_filter.ids:
        yield "NOT lead.is_test", ()
    if lead_filter.since is not None:
        yield "lead.created_at >= ?", (moment_text(lead_filter.since),)
    if lead_filter.until is not None:
        yield "lead.created_at < ?", (moment_text(lead_filter.until),)
    if lead_filter.due is not None:
        yield "lead.call_at <= ?", (moment_text(lead_filter.due),)
    if lead_filter.email is not None:
        yield _is_email(dialect, lead_filter.email)
    if lead_filter.phone is not None:
        yield same_number(dialect, lead_filter.phone) or _is_exactly(dialect, lead_filter.phone)


def indexed_parts(lead_filter: LeadFilter) -> Iterator[LeadFilter]:
    """Yield each part of a filter whose leads an index finds."""
    if lead_filter.ids:
        yield LeadFilter(ids=lead_filter.ids)
    parts = [LeadFilter(email=lead_filter.email), LeadFilter(phone=lead_filter.phone), LeadFilter(due=lead_filter.due)]
    for column, values in lead_filter.values:
        has_index = column in _UNINDEXED and not {"", _UNINDEXED[column]}.intersection(values)
        if has_index or (column == "assigned_to" and ("" not in values or values == ("",))):
            parts.append(LeadFilter(values=((column, values),)))
    parts.append(LeadFilter(since=lead_filter.since, until=lead_filter.until))
    for part in parts:
        if part != LeadFilter():
            yield replace(part, tests="include")


def part_by_arrival(lead_filter: LeadFilter) -> LeadFilter:
    """Return the part of a filter whose leads an index has in the order of arrival: all of a period, or of a value."""
    values = next(
        (part.values for part in indexed_parts(lead_filter) if part.values and len(part.values[0][1]) == 1), ()
    )
    return LeadFilter(values=values, since=lead_filter.since, until=lead_filter.until, tests="include")


def every(tests: Iterable[Condition]) -> Condition:
    """Return the condition for what passes all tests, one by one, without their indexes.

    The database might take one of them for that of the order or of a search, and read all that it holds.
    """
    parts = list(tests)
    texts = [text for _, values in parts for text in values]
    return f"CASE WHEN {' AND '.join(f'({test})' for test, _ in parts) or '1 = 1'} THEN 1 END = 1", texts


def moment_text(at: datetime) -> str:
    """Return a time as it compares with a column's."""
    return at.isoformat(" ", "microseconds")


def case_variants(text: str) -> tuple[str, ...]:
    """Return the spellings of a text to search for: a database may fold the case of ASCII letters alone."""
    if text.isascii():
        return (text,)
    return tuple(dict.fromkeys((text, text.lower(), text.upper(), text.capitalize(), text.title())))


def _is_one_of(column: str, values: tuple[str, ...]) -> Condition:
    assert column in FILTER_COLUMNS
    if (column, values) == ("assigned_to", ("",)):
        # Never an empty text. Without that alternative, the index of leads that nobody has serves it.
        return "lead.assigned_to IS NULL", ()
    is_one = f"lead.{column} IN ({', '.join('?' * len(values))})"
    if "" in values:
        return f"{is_one} OR lead.{column} IS NULL", values
    unindexed = _UNINDEXED.get(column)
    if unindexed is not None and unindexed not in values:
        # Redundant, but it matches the partial index's predicate so the planner can use it.
        is_one = f"lead.{column} <> '{unindexed}' AND {is_one}"
    return is_one, values


def _contains(dialect: Dialect, column: str, texts: Sequence[str]) -> Condition:
    assert column in CONTAINED_COLUMNS
    variants = [variant for text in texts for variant in case_variants(text)]
    return " OR ".join([f"{dialect.position}(lower(lead.{column}), lower(?)) > 0"] * len(variants)), variants


# The indexes hold the first 64 characters, since no index takes texts of any length: the first comparison of each pair
# uses the index, the second is exact.


def _is_email(dialect: Dialect, email: str) -> Condition:
    variants = case_variants(email)
    indexed = f"lower(substr(lead.email, 1, 64)){dialect.bytewise} = lower(substr(?, 1, 64))"
    condition = f"{indexed} AND lower(lead.email) = lower(?)"
    return " OR ".join([condition] * len(variants)), [email for email in variants for _ in range(2)]


def _is_exactly(dialect: Dialect, phone: str) -> Condition:
    return f"substr(lead.phone, 1, 64){dialect.bytewise} = substr(?, 1, 64) AND lead.phone = ?", [phone, phone]
