"""The work on leads: the people who do it, and the next lead to take."""

from __future__ import annotations

from collections.abc import Sequence

from pony.orm import select

from leadcrm.crm.audit import Action, Actor, record
from leadcrm.crm.changes import ChangeOutcome, apply_change, change_session, to_lead
from leadcrm.crm.leads import Lead
from leadcrm.crm.times import now
from leadcrm.crm.tokens import RIGHTS, Right
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session

MAX_PEOPLE = 500
"""Names of people that are listed."""


def list_people(entities: Entities) -> list[str]:
    """Return the names that leads are assigned to or that work on leads with a token, in their order.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    table = entities.database.provider.quote_name(entities.lead._table_)
    # From each name to the next in the index: to group all leads by name would read all of them.
    next_name = f"SELECT min(assigned_to) FROM {table} WHERE assigned_to"  # noqa: S608 - a name of ours
    roles = [role.value for role, rights in RIGHTS.items() if Right.WORK in rights]
    with session(entities):
        holders = select(each.name for each in entities.token if each.revoked_at is None and each.role in roles)
        assigned = entities.database.select(
            f"name FROM (WITH RECURSIVE people(name) AS ({next_name} IS NOT NULL UNION ALL "  # noqa: S608 - the same
            f"SELECT ({next_name} > people.name) FROM people WHERE people.name IS NOT NULL) "
            f"SELECT name FROM people WHERE name IS NOT NULL LIMIT {MAX_PEOPLE}) AS listed"
        )
        return sorted({*assigned, *holders})[:MAX_PEOPLE]


def take_next(entities: Entities, actor: Actor, closed_statuses: Sequence[str]) -> Lead | None:
    """Assign the oldest lead that nobody has to a person, and return it; None where there is none. Durable on return.

    Two people who ask at once get two leads.

    Args:
        entities: The bound database.
        actor: Who takes the lead.
        closed_statuses: The statuses of leads that need no more work.

    Raises:
        ChangeRefused: The database does not allow the change.
        StoreUnavailable: The database cannot be changed, or the commit is in doubt.
    """
    with change_session(entities):
        waiting = select(row for row in entities.lead if row.assigned_to is None and not row.is_test)
        at = now()
        waiting = waiting.where(lambda row: row.call_at is None or row.call_at <= at)
        if closed_statuses:
            waiting = waiting.where(lambda row: row.status not in closed_statuses)
        oldest = waiting.order_by(lambda row: (row.created_at, row.raw.id))
        # PostgreSQL passes by the leads that others are taking now; SQLite has one writer at a time.
        row = next(iter(oldest.for_update(skip_locked=True)[:1]), None)
        if row is None:
            return None
        outcome = apply_change(entities, row, {"assigned_to": actor.name}, actor)
        assert outcome is ChangeOutcome.CHANGED
        record(entities, actor, Action.CHANGE, row.raw.id, {"columns": ["assigned_to"], "next": True})
        return to_lead(row)
