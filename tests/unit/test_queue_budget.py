"""The memory for leads: which bodies give way, and to whom."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from leadcrm.ingest import queue_budget
from leadcrm.ingest.queue_budget import SMALL_BYTES, Arrival, QueueBudget

MAX_BYTES = 1_600_000
LARGE_BYTES = MAX_BYTES - MAX_BYTES // queue_budget.RESERVE

Begin = Callable[[str | None, int, float], Arrival]


@pytest.fixture
def budget() -> QueueBudget:
    return QueueBudget(MAX_BYTES)


@pytest.fixture
def gone() -> list[Arrival]:
    """The bodies that have given way, in that order."""
    return []


@pytest.fixture
def begin(budget: QueueBudget, gone: list[Arrival]) -> Begin:
    """Begins a body of a client, which holds so many bytes for so many seconds."""

    def begin(client: str | None, held_bytes: int, age_s: float) -> Arrival:
        arrival = budget.begin(client, lambda: gone.append(arrival))
        arrival.began -= age_s
        assert budget.extend(arrival, held_bytes)
        return arrival

    return begin


def test_a_lead_finds_room_where_unfinished_bodies_have_taken_all(
    budget: QueueBudget, begin: Begin, gone: list[Arrival]
) -> None:
    quick, slow, small = begin("a", 700_000, 1), begin("b", 700_000, 60), begin("c", 1_000, 600)
    assert budget.take(200_000)
    assert gone == [slow]
    assert budget.held_bytes == 700_000 + 1_000 + 200_000
    budget.end(slow)
    budget.end(quick)
    budget.end(small)
    assert budget.held_bytes == 200_000
    assert (budget.given_way, budget.refused) == (1, 0)


def test_a_lead_that_would_find_no_room_takes_none_from_others(
    budget: QueueBudget, begin: Begin, gone: list[Arrival]
) -> None:
    assert budget.take(1_400_000)
    begin("a", 50_000, 60)
    assert not budget.take(200_000)
    assert gone == []
    assert budget.refused == 1
    assert budget.refused_at is not None


def test_leads_that_wait_keep_large_ones_out_before_small_ones(budget: QueueBudget) -> None:
    assert budget.take(LARGE_BYTES)
    assert not budget.take(SMALL_BYTES + 1)
    assert budget.take(SMALL_BYTES)


def test_a_body_that_is_the_slowest_itself_makes_no_room_for_itself(
    budget: QueueBudget, begin: Begin, gone: list[Arrival]
) -> None:
    slow, quick = begin("a", 700_000, 60), begin("b", 700_000, 1)
    assert not budget.extend(slow, 150_000)
    assert gone == [slow]
    assert budget.held_bytes == 700_000
    assert budget.extend(quick, 100_000)


def test_one_client_takes_its_share_and_no_more(budget: QueueBudget, begin: Begin, gone: list[Arrival]) -> None:
    other, first, second = begin("b", 100_000, 600), begin("a", 400_000, 5), begin("a", 400_000, 6)
    third = begin("a", 300_000, 0)
    assert gone == [second]
    budget.end(third)
    assert budget.extend(first, 400_000)
    assert gone == [second]
    assert other not in gone


def test_a_proxy_has_no_share(begin: Begin, gone: list[Arrival]) -> None:
    for _ in range(3):
        begin(None, 400_000, 60)
    assert gone == []


def test_the_largest_body_fits_into_an_empty_budget_of_its_own_size() -> None:
    budget = QueueBudget(1_000_000, largest_bytes=1_000_000)
    arrival = budget.begin("a", lambda: None)
    assert budget.extend(arrival, 1_000_000)
    budget.end(arrival)
    assert budget.take(1_000_000)
