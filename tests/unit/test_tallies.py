"""Counting by long integers gives what counting lead by lead does."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from leadcrm.crm import tallies
from leadcrm.crm.tallies import Tally


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize(("values", "new"), [(1, 0), (2, 0), (3, 1), (64, 0), (200, 0), (256, 0), (90, 80)])
def test_any_leads_are_counted_right(values: int, new: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(values)
    monkeypatch.setattr(tallies, "MAX_LEADS", 1_000)
    expected: Counter[str | None] = Counter()
    total: Counter[str | None] = Counter()
    tally = Tally(total)
    for day in range(9):
        names: list[str | None] = [None, *(str(number + new * day) for number in range(1, values))]
        chance.shuffle(names)
        numbers = bytes(chance.choices(range(values), k=chance.randrange(1, 500)))
        chosen = bytes(chance.random() < share for _ in numbers)
        tally.add(names, numbers, chosen)
        expected.update(names[number] for number, counts in zip(numbers, chosen, strict=True) if counts)
    tally.finish()
    tally.finish()
    assert total == expected
    assert 0 not in total.values()
