"""What became of the leads of past days, by what is packed of each."""

from __future__ import annotations

from collections import Counter
from itertools import compress

from leadcrm.crm.day_columns import ColumnFilter, Day, both, translate
from leadcrm.crm.tallies import Tally
from leadcrm.crm.touches import OutcomeCounts, unpack_touches


class DayOutcomes:
    """Adds the outcomes of days to counts, by the values of a column."""

    def __init__(self, wanted: ColumnFilter, column: str, total: OutcomeCounts) -> None:
        """Set which leads, the column, one of `COLUMNS`, and what to add to."""
        self._wanted = wanted
        self._column = column
        self._total = total
        self._tallies: dict[str, Tally] = {}

    def add(self, packed: bytes, touches: bytes) -> bool:
        """Add the leads of a day that are wanted, by its columns and touches; return whether those are of one moment.

        A program of an earlier version counts a day anew without its touches.
        """
        day = Day(packed)
        values, numbers = day.unpack(self._column)
        touched, seconds = unpack_touches(touches)
        if len(touched) != len(numbers):
            return False
        chosen = self._wanted.choose(day)
        if 1 not in chosen:
            return True
        statuses, places = day.unpack("status")
        for place, status in enumerate(statuses):
            has_status = bytes(number == place for number in range(len(statuses)))
            some = both(chosen, translate(places, has_status))
            self._tallies.setdefault(str(status), Tally(Counter())).add(values, numbers, some)
        lists = [self._total.touches[value] for value in values]
        of_touched = zip(compress(numbers, touched), compress(chosen, touched), seconds, strict=True)
        for number, is_chosen, each in of_touched:
            if is_chosen:
                lists[number].append(each)
        return True

    def finish(self) -> None:
        """Add what has been counted."""
        for status, tally in self._tallies.items():
            tally.finish()
            for value, leads in tally.total.items():
                self._total.leads[value, status] += leads
