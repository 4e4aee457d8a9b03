"""The states of raw rows, as lists that the CRM filters and counts by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from leadcrm.database.states import State

SPOOLED = "spooled"
"""The state that the CRM shows for every row of this node's spool, whatever its state will be in the database."""

NO_LEAD_STATES = tuple(state.value for state in State if state is not State.STORED)

INBOX_STATES = (*NO_LEAD_STATES, SPOOLED)
"""The states of rows that are no leads, those that most need a person first."""

RAW_STATES = (*INBOX_STATES, State.STORED.value)

OUTCOME_STATES: Mapping[str, str] = MappingProxyType(
    {
        "repeats": State.REPEAT.value,
        "conflicts": State.CONFLICT.value,
        "invalid": State.INVALID.value,
        "failed": State.FAILED.value,
    }
)
"""The ledger's words for rows that are no leads, with their states. The word for leads is `created`."""

OUTCOMES = ("created", *OUTCOME_STATES)
