"""What a courier has taken of a feed and not yet kept: events that wait for an attempt, are under way, or are done.

Attempts end in any order, results are kept in the order of the feed: the cursor that comes with them passes an event
only if this and all before it are among them. Those whose earlier attempts failed are behind the cursor already, so
that theirs can be kept at any time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from time import monotonic

from leadcrm.crm.feed import FeedEvent
from leadcrm.delivery.attempt import Attempt
from leadcrm.delivery.ledger import Result
from leadcrm.delivery.work import Work


@dataclass(slots=True, eq=False)
class Place:
    """An event in the window.

    Attributes:
        fresh_until: Until when its lead may be sent without another reading; like all moments here by `monotonic()`.
        started_at: When its attempt began.
        done_at: When it was dealt with; None before.
        attempt: What came of it; None as well where the sink does not want it.
    """

    event: FeedEvent
    is_fresh: bool
    fresh_until: float
    started_at: float = 0.0
    done_at: float | None = None
    attempt: Attempt | None = None


class Window:
    """The places of one sink. Only the courier's thread uses it."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.todo: deque[Place] = deque()
        """What waits for an attempt, in order."""
        self.under_way: set[Place] = set()
        """What is attempted now."""
        self.read_to = 0
        """The number up to which the feed was read; 0 before the first reading."""
        self.done = 0
        """How many have a result."""
        self._due: set[int] = set()
        self._done_again: list[Place] = []
        self._fresh: deque[Place] = deque()
        self._kept_to = 0

    def __len__(self) -> int:
        return len(self._due) + len(self._fresh)

    @property
    def due(self) -> frozenset[int]:
        """The numbers of the events whose earlier attempts failed."""
        return frozenset(self._due)

    @property
    def oldest_done_at(self) -> float | None:
        """Since when a result could have been kept; None if none can be."""
        firsts = (*self._done_again[:1], *islice(self._fresh, 1))
        return min((place.done_at for place in firsts if place.done_at is not None), default=None)

    def add(self, work: Work, fresh_until: float) -> None:
        """Take what is to be delivered next."""
        due = [Place(event, False, fresh_until) for event in work.due]
        fresh = [Place(event, True, fresh_until) for event in work.fresh]
        self.todo += (*due, *fresh)
        self._due.update(place.event.seq for place in due)
        self._fresh += fresh
        self.read_to = max(self.read_to, work.cursor)

    def start(self) -> Place:
        """Take the first that waits, whose attempt begins."""
        place = self.todo.popleft()
        place.started_at = monotonic()
        self.under_way.add(place)
        return place

    def end(self, place: Place, attempt: Attempt | None) -> None:
        """Take what came of one that was started."""
        self.under_way.remove(place)
        place.attempt, place.done_at = attempt, monotonic()
        self.done += 1
        if not place.is_fresh:
            self._done_again.append(place)

    def take_done(self) -> tuple[list[Result], int]:
        """Remove what can be kept now, and return it with the cursor that goes with it."""
        done, self._done_again = self._done_again, []
        self._due -= {place.event.seq for place in done}
        while self._fresh and self._fresh[0].done_at is not None:
            place = self._fresh.popleft()
            self._kept_to = place.event.seq
            done.append(place)
        if not self._fresh:
            # Numbers without an event are passed with the last event before them.
            self._kept_to = max(self._kept_to, self.read_to)
        self.done -= len(done)
        return [Result(place.event, place.is_fresh, place.attempt) for place in done], self._kept_to
