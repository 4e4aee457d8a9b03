"""The states of raw rows, as lists that the CRM filters and counts by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SPOOLED = "spooled"
"""The state that the CRM shows for every row of this node's spool, whatever its state will be in the database."""

NO_LEAD_STATES = ("failed", "invalid", "conflict", "repeat")

INBOX_STATES = (*NO_LEAD_STATES, SPOOLED)
"""The states of rows that are no leads, those that most need a person first."""

RAW_STATES = (*INBOX_STATES, "stored")

OUTCOME_STATES: Mapping[str, str] = MappingProxyType(
    {"repeats": "repeat", "conflicts": "conflict", "invalid": "invalid", "failed": "failed"}
)
"""The ledger's words for rows that are no leads, with their states. The word for leads is `created`."""

OUTCOMES = ("created", *OUTCOME_STATES)
