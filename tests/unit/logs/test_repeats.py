"""Repeated lines: written at most once per interval, with a count of the suppressed ones."""

from __future__ import annotations

import logging

from leadcrm.logs.repeats import RepeatFilter
from tests.support.log_file import LogFile

log = logging.getLogger("leadcrm.test")


def record_of(key: str | None) -> logging.LogRecord:
    attributes: dict[str, object] = {"name": "leadcrm.x", "msg": "away"}
    if key is not None:
        attributes["repeat_key"] = key
    return logging.makeLogRecord(attributes)


def test_a_repeated_line_is_written_once_per_interval_with_a_count_of_the_suppressed_ones() -> None:
    now_s = 100.0
    repeat_filter = RepeatFilter(interval_s=10, clock=lambda: now_s)
    assert repeat_filter.filter(record_of("store"))
    assert not any(repeat_filter.filter(record_of("store")) for _ in range(5))
    assert repeat_filter.filter(record_of("spool"))
    now_s = 110.0
    record = record_of("store")
    assert repeat_filter.filter(record)
    assert vars(record)["suppressed"] == 5
    assert not repeat_filter.filter(record_of("store"))


def test_a_line_without_a_key_is_never_suppressed() -> None:
    repeat_filter = RepeatFilter()
    assert all(repeat_filter.filter(record_of(None)) for _ in range(3))


def test_the_log_suppresses_repeated_lines_and_does_not_show_the_key(log_file: LogFile) -> None:
    log_file.start()
    for _ in range(3):
        log.error("away", extra={"repeat_key": "store"})
    line = log_file.line()
    assert line.pop("time")
    assert line == {"level": "error", "msg": "away"}


def test_many_keys_take_bounded_memory() -> None:
    repeat_filter = RepeatFilter()
    for number in range(5000):
        repeat_filter.filter(record_of(str(number)))
    assert len(repeat_filter._seen) <= 1000
