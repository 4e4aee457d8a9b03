"""How many other leads the person of a lead has, by phone and email, for each lead of a list."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from leadcrm.crm.dialects import dialect_of
from leadcrm.crm.phones import SHORTEST_NUMBER
from leadcrm.database.entities import Entities, quoted_table
from leadcrm.database.sessions import session

MAX_OTHERS = 10
"""Of each lead: some phones, such as zeros alone, are those of thousands."""


def count_others(entities: Entities, ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the number of other leads of the same person, up to `MAX_OTHERS`, for those of the leads that have any.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    dialect = dialect_of(entities)
    table = quoted_table(entities.lead)
    end, number = dialect.phone_end, f"ltrim({dialect.digits}, '0')"
    one_end, one_number = (text.replace("lead.", "one.") for text in (end, number))
    is_same = (
        f"({number} = {one_number} "
        f"OR substr({one_number}, length({one_number}) - length({number}) + 1) = {number} "
        f"OR substr({number}, length({number}) - length({one_number}) + 1) = {one_number})"
    )
    by_phone = (
        f"lead.phone IS NOT NULL AND {end}{dialect.bytewise} = {one_end} AND length({one_number}) >= {SHORTEST_NUMBER} "
        f"AND length({number}) >= {SHORTEST_NUMBER} AND {is_same}"
    )
    by_email = (
        f"lower(substr(lead.email, 1, 64)){dialect.bytewise} = lower(substr(one.email, 1, 64)) "
        "AND lower(lead.email) = lower(one.email) AND one.email LIKE '%@%'"
    )
    found = " UNION ".join(
        f"SELECT * FROM (SELECT lead.id FROM {table} lead WHERE {condition} AND lead.id <> one.id "  # noqa: S608 - names of ours
        f"AND NOT lead.is_test LIMIT {MAX_OTHERS}) AS {name}"
        for name, condition in (("by_phone", by_phone), ("by_email", by_email))
    )
    names = {f"id{index}": _value(entities, id) for index, id in enumerate(ids)}
    wanted = ", ".join(f"${name}" for name in names)
    counted = f"SELECT one.id AS id, (SELECT count(*) FROM ({found}) AS others) AS leads FROM {table} one WHERE one.id IN ({wanted})"  # noqa: S608, E501 - the same
    with session(entities):
        rows = entities.database.select(f"* FROM ({counted}) AS counted WHERE leads > 0", names, {}) if ids else []
    return {id if isinstance(id, UUID) else UUID(bytes=bytes(id)): min(leads, MAX_OTHERS) for id, leads in rows}


def _value(entities: Entities, id: UUID) -> object:
    return id.bytes if entities.database.provider.dialect == "SQLite" else str(id)
