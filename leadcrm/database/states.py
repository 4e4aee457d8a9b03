"""The states of a raw row, and the outcomes that the log and the metrics report.

A state carries its consequences as attributes, from which the rest of the code derives its sets and texts. A test
compares the migrations' CHECKs and partial indexes with them.
"""

from __future__ import annotations

from enum import Enum


class Outcome(str, Enum):
    """The outcome of a request, as the log and the metrics name it."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    INVALID = "invalid"
    SPOOLED = "spooled"
    REJECTED = "rejected"
    ERROR = "error"


class State(str, Enum):
    """The state of a raw row.

    Attributes:
        outcome: The outcome of a request whose row is stored in this state on arrival.
        tally: The word under which `leadcrm verify` and the statistics count rows in this state.
        holds_key: The row claims its Idempotency-Key. Each key has at most one such row.
        is_replayable: A replay may still make a lead of the row.
        in_inbox: The inbox lists the row: it was kept, but it is not a lead.

    The members are in the order in which reports count them, and in the reverse order of what needs a person first.
    """

    outcome: Outcome
    tally: str
    holds_key: bool
    is_replayable: bool
    in_inbox: bool

    STORED = "stored", Outcome.CREATED, "created", True, False, False
    """The row has its lead."""

    BATCH = "batch", Outcome.CREATED, "batches", False, False, False
    """The body holds several leads, each of which is a row of its own that names this one as `part_of`."""

    EVENT = "event", Outcome.CREATED, "events", False, True, False
    """The source says that the request is no lead: another event, a handshake, a probe."""

    REPEAT = "repeat", Outcome.DUPLICATE, "repeats", False, False, True
    """The same body arrived first under the same key; the first row keeps it."""

    CONFLICT = "conflict", Outcome.CONFLICT, "conflicts", False, True, True
    """Another body arrived first under the same key."""

    UNROUTED = "unrouted", Outcome.CREATED, "unrouted", False, True, True
    """The source is switched off or was taken out of `SOURCES_FILE`. Its sender is answered as before."""

    UNVERIFIED = "unverified", Outcome.REJECTED, "unverified", False, True, True
    """The request did not prove that it comes from the source's sender."""

    INVALID = "invalid", Outcome.INVALID, "invalid", False, True, True
    """The body holds no readable payload."""

    FAILED = "failed", Outcome.CREATED, "failed", True, True, True
    """Normalizing the body failed, or the database refused the lead. The sender got 201."""

    # The defaults are never used. They let the type checker accept the look-up State("stored").
    def __new__(
        cls,
        value: str,
        outcome: Outcome = Outcome.ERROR,
        tally: str = "",
        holds_key: bool = False,
        is_replayable: bool = False,
        in_inbox: bool = False,
    ) -> State:
        """Create a member that equals its text and carries its properties."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.outcome = outcome
        member.tally = tally
        member.holds_key = holds_key
        member.is_replayable = is_replayable
        member.in_inbox = in_inbox
        return member

    def __str__(self) -> str:
        """Return the text: Python 3.12 and later would return the member's name."""
        return str.__str__(self)

    def __format__(self, format_spec: str) -> str:
        """Format the text: Python 3.12 and later would format the member's name."""
        return str.__format__(self, format_spec)


# Plain strings, because Pony's queries accept no others.

KEY_HOLDING_STATES = tuple(state.value for state in State if state.holds_key)
"""The states in which a raw row holds its Idempotency-Key; the unique index covers exactly these."""

KEY_HOLDING_SQL = f"state IN ({', '.join(map(repr, KEY_HOLDING_STATES))})"
"""The same as a condition, in the words of that index: SQLite takes no value for the predicate of a partial index."""

REPLAYABLE_STATES = tuple(state.value for state in reversed(State) if state.is_replayable)

UNSTORED_STATES = tuple(state.value for state in reversed(State) if state is not State.STORED)
"""The states of rows that have no lead of their own."""

INBOX_STATES = tuple(state.value for state in reversed(State) if state.in_inbox)

TALLIES = tuple(state.tally for state in State)
"""The words under which rows are counted, in the order in which reports show them."""
