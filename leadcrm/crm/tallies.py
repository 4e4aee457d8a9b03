"""Numbers of leads by value, counted by a few operations on long integers instead of lead by lead.

A column comes as its values and, lead by lead, the number of the lead's value. The bits of those numbers are gathered,
the leads are told apart by one bit after the other, and each group's size is the number of ones in an integer.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from itertools import compress
from operator import or_

MAX_NUMBERS = 256
"""Different values that are counted together: their numbers are bytes."""

MAX_LEADS = 120_000
"""Leads that are counted together: integers of some kilobytes, which stay in the processor's memory."""


class Tally:
    """Counts the values of one column, some leads at a time, and adds them to a counter in the end."""

    def __init__(self, total: Counter[str | None]) -> None:
        """Set the counter to add to."""
        self.total = total
        self._number_of: dict[str | None, int] = {}
        self._values: Sequence[str | None] = ()
        self._table = b""
        self._numbers = bytearray()
        self._chosen = bytearray()

    def add(self, values: Sequence[str | None], numbers: bytes | array[int], chosen: bytes) -> None:
        """Take some leads.

        Args:
            values: The values that these leads have.
            numbers: The place of each lead's value among them; bytes where there are up to `MAX_NUMBERS`.
            chosen: A one for each lead that counts, and a nought for each other.
        """
        if not isinstance(numbers, bytes):
            for number, leads in Counter(compress(numbers, chosen)).items():
                self.total[values[number]] += leads
            return
        if len(self._numbers) > MAX_LEADS:
            self.finish()
        # Of most days they are those of the day before.
        if values is not self._values:
            self._learn(values)
        self._numbers += numbers.translate(self._table)
        self._chosen += chosen

    def _learn(self, values: Sequence[str | None]) -> None:
        """Make the table from the numbers of some leads' values to those of all."""
        known = self._number_of
        new = [value for value in values if value not in known]
        if len(known) + len(new) > MAX_NUMBERS:
            self.finish()
            new = list(values)
        known.update(zip(new, range(len(known), MAX_NUMBERS), strict=False))
        self._values, self._table = values, bytes(map(known.__getitem__, values)).ljust(256)

    def finish(self) -> None:
        """Add what has been counted, and begin anew."""
        if not self._numbers:
            return
        values = list(self._number_of)
        share = self._chosen.count(1) / len(self._chosen)
        # What takes less time: a pass over all leads for each value, or a look at each chosen lead.
        if len(values) < 40 + 330 * share:
            counted = dict(enumerate(_count_by_bits(self._numbers, len(values), self._chosen)))
        else:
            counted = Counter(compress(self._numbers, self._chosen))
        for number, leads in counted.items():
            if leads:
                self.total[values[number]] += leads
        self._number_of.clear()
        self._values = ()
        self._numbers.clear()
        self._chosen.clear()


def _count_by_bits(numbers: bytearray, values: int, chosen: bytearray) -> list[int]:
    """Return how many chosen leads have each number below `values`."""
    groups = _gather_bits(chosen, 1)
    for bit, has_bit in reversed(list(enumerate(_gather_bits(numbers, (values - 1).bit_length())))):
        # Not by the complement of the bits, a negative number, which takes three times as long.
        groups = [half for group in groups for ones in (group & has_bit,) for half in (group ^ ones, ones)]
        del groups[-(-values >> bit) :]
    return [group.bit_count() for group in groups]


def _gather_bits(numbers: bytearray, bits: int) -> list[int]:
    """Return the bits of numbers, the lowest first, each as an integer with one bit a lead, in one order."""
    eighth = -(-len(numbers) // 8)
    parts = [int.from_bytes(numbers[start : start + eighth], "little") for start in range(0, len(numbers), eighth)]
    masks = [int.from_bytes(bytes((1 << bit,)) * eighth, "little") for bit in range(bits)]
    # Each byte has a bit of eight leads.
    return [
        reduce(or_, (_shift(part & mask, place - bit) for place, part in enumerate(parts)))
        for bit, mask in enumerate(masks)
    ]


def _shift(number: int, places: int) -> int:
    return number << places if places >= 0 else number >> -places
