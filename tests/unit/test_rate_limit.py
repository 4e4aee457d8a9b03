"""The rate limit: a period's requests at once, then each one when it is due, per address and over all workers."""

from __future__ import annotations

import os

import pytest

from leadcrm.configuration.config import RateLimit
from leadcrm.web import rate_limit
from leadcrm.web.rate_limit import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate_limit, "monotonic", clock)
    return clock


def allowed(limiter: RateLimiter, address: str, tries: int) -> int:
    return sum(limiter.delay_s(address) == 0 for _ in range(tries))


def test_a_whole_periods_requests_may_come_at_once(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(60, 60.0))
    assert allowed(limiter, "192.0.2.1", 100) == 60


def test_after_these_a_request_is_allowed_when_it_is_due(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(60, 60.0))
    allowed(limiter, "192.0.2.1", 60)
    assert limiter.delay_s("192.0.2.1") == pytest.approx(1.0)
    clock.now_s += 0.75
    assert limiter.delay_s("192.0.2.1") == pytest.approx(0.25)
    clock.now_s += 0.26
    assert allowed(limiter, "192.0.2.1", 5) == 1


def test_after_a_pause_a_whole_period_is_allowed_again_and_no_more(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(60, 60.0))
    allowed(limiter, "192.0.2.1", 60)
    clock.now_s += 3600
    assert allowed(limiter, "192.0.2.1", 100) == 60


def test_refused_requests_do_not_delay_the_next_allowed_one(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(1, 1.0))
    assert allowed(limiter, "192.0.2.1", 100) == 1
    clock.now_s += 1.001
    assert allowed(limiter, "192.0.2.1", 100) == 1


def test_each_address_has_its_own_limit(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(2, 60.0))
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert [allowed(limiter, address, 5) for address in addresses] == [2, 2, 2]


def test_over_a_long_time_no_more_than_the_rate_and_one_period_are_allowed(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(10, 1.0))
    passed = 0
    for _ in range(5000):
        clock.now_s += 0.01
        passed += limiter.delay_s("192.0.2.1") == 0
    assert 10 * 50 <= passed <= 10 * 50 + 10


def test_forked_workers_share_the_limit(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(10, 60.0))
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(allowed(limiter, "192.0.2.1", 3))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert allowed(limiter, "192.0.2.1", 5) == 1
