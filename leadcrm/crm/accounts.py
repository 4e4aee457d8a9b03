"""The account of what people do with whole persons' data from the command line."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID

from leadcrm.crm.audit import Action, Actor, make_entry, record_entries
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session

logger = logging.getLogger("leadcrm.crm.accounts")


def keep_account(entities: Entities, deed: Action, actor: Actor, rows: int, ids: Iterable[UUID] = ()) -> None:
    """Keep who did what with how many raw rows, in the log and in the audit trail, beside the traces in the rows.

    Args:
        entities: The bound database.
        deed: What was done.
        actor: Who did it.
        rows: The number of raw rows.
        ids: The rows that the trail shall name one by one.

    Raises:
        StoreUnavailable: The database cannot be changed.
    """
    extra = {"action": deed.value, "actor": actor.name, "rows": rows}
    logger.info("%s, %d raw rows", deed.value, rows, extra=extra)
    detail = {"rows": rows}
    entries = [make_entry(actor, deed, id, detail) for id in ids] or [make_entry(actor, deed, detail=detail)]
    with session(entities, writes=True):
        record_entries(entities, entries)
