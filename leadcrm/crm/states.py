"""The states of raw rows as the CRM shows them: those of the database, and the one of every row in the spool."""

from __future__ import annotations

from leadcrm.database import states
from leadcrm.database.states import State

SPOOLED = "spooled"
"""The state that the CRM shows for every row of this node's spool, whatever its state will be in the database."""

INBOX_STATES = (*states.INBOX_STATES, SPOOLED)
"""The states of rows that are no leads, those that most need a person first."""

RAW_STATES = tuple(dict.fromkeys((*INBOX_STATES, *states.UNSTORED_STATES, State.STORED.value)))
