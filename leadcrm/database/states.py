"""The states of a raw request, and the outcomes that senders and the log are told.

A state has all that follows from it as attributes: constraints, sets and texts elsewhere are derived from here, and a
test holds the migrations' CHECKs and partial indexes to it.
"""

from __future__ import annotations

from enum import Enum


class Outcome(str, Enum):
    """What became of a request, in the words of the log and of the metrics."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    INVALID = "invalid"
    SPOOLED = "spooled"
    REJECTED = "rejected"
    ERROR = "error"


class State(str, Enum):
    """What a kept request is now.

    Attributes:
        outcome: what its sender was told, had it been stored in this state at once.
        holds_key: its Idempotency-Key is taken: one key, one such row.
        is_replayable: a replay may still make a lead of it.
        in_inbox: people should look at it: it was kept, but is no lead.
    """

    outcome: Outcome
    holds_key: bool
    is_replayable: bool
    in_inbox: bool

    STORED = "stored", Outcome.CREATED, True, False, False
    """It has its lead."""

    FAILED = "failed", Outcome.CREATED, True, True, True
    """Normalizing it failed, or the database refused its lead. Its sender was told 201."""

    INVALID = "invalid", Outcome.INVALID, False, True, True
    """No payload can be read from its body."""

    CONFLICT = "conflict", Outcome.CONFLICT, False, False, True
    """Another body came first under its key."""

    REPEAT = "repeat", Outcome.DUPLICATE, False, False, False
    """The same body came first under its key, and is kept there."""

    # The defaults are never used: they let a type checker see that State("stored") looks a member up.
    def __new__(
        cls,
        value: str,
        outcome: Outcome = Outcome.ERROR,
        holds_key: bool = False,
        is_replayable: bool = False,
        in_inbox: bool = False,
    ) -> State:
        """Make a member that is its text, with its properties."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.outcome = outcome
        member.holds_key = holds_key
        member.is_replayable = is_replayable
        member.in_inbox = in_inbox
        return member

    def __str__(self) -> str:
        """Return its text, which Python 3.12 and later would not."""
        return str.__str__(self)

    def __format__(self, format_spec: str) -> str:
        """Format its text, which Python 3.12 and later would not."""
        return str.__format__(self, format_spec)


# As queries take them: Pony knows plain strings alone.

KEY_HOLDING_STATES = tuple(state.value for state in State if state.holds_key)
"""The states in which a raw row holds its Idempotency-Key: the unique index is over these."""

REPLAYABLE_STATES = tuple(state.value for state in State if state.is_replayable)

INBOX_STATES = tuple(state.value for state in State if state.in_inbox)
