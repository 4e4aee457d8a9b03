"""Replay of one kept request, with the answer for a request that still waits in this node's spool."""

from __future__ import annotations

from uuid import UUID

from leadcrm.crm.audit import Action, Actor, record
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.states import SPOOLED
from leadcrm.database.entities import Entities
from leadcrm.database.states import State
from leadcrm.ingest.replay import Replay, replay
from leadcrm.ingest.submission import SourceReader

_WAITS = "it waits in this node's spool for the database: leadcrm spool drain"


def replay_raw(
    entities: Entities,
    spool: SpoolReader,
    id: UUID,
    *,
    actor: Actor,
    max_decoded_bytes: int,
    sources: SourceReader | None = None,
) -> Replay | None:
    """Try to make a lead of one request. Durable on return.

    Returns:
        None where neither the database nor this node's spool knows the id.

    Raises:
        StoreUnavailable: The database cannot be changed, or the commit is in doubt; replaying again is safe.
    """

    def on_result(done: Replay) -> None:
        record(entities, actor, Action.REPLAY, id, {"state": State(done.state).value, "changed": done.changed})

    result = replay(entities, id, max_decoded_bytes=max_decoded_bytes, sources=sources, on_result=on_result)
    return waiting_in(spool, id) if result is None else result


def waiting_in(spool: SpoolReader, id: UUID) -> Replay | None:
    """Return the answer for a request that still waits in this node's spool; None where it does not."""
    return Replay(str(id), SPOOLED, False, None, _WAITS) if spool.get(id) else None
