"""The open log of one process: it turns records into lines and hands them to the buffer.

Everything comes through the standard `logging`, except the line for each request. At thousands a second the cost of
that machinery counts, so `LogWriter.request` bypasses it. Both ways end in the same buffer and keep their order.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from leadcrm.logs.buffered_lines import BufferedLines
from leadcrm.logs.errors import describe
from leadcrm.logs.rendering import Render

TRACE = 5
LEVELS: Mapping[str, int] = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}

# Every attribute of a record that is not among these came as `extra`, and becomes a field of the line.
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "repeat_key",
}
_OWN_FIELDS = frozenset({"time", "level", "msg"})


class LogWriter:
    """The open log of one process; `configure` returns it, and the end of the process closes it."""

    def __init__(self, lines: BufferedLines, render: Render, *, level: int) -> None:
        self._lines = lines
        self._render = render
        self._logs_requests = level <= logging.INFO

    def request(self, fields: Mapping[str, object]) -> None:
        """Log one answered request at level info, in a few microseconds and without waiting.

        Args:
            fields: method, url, status, duration_ms, request_id, idempotency_key, lead_id, outcome, as far as known.
        """
        if self._logs_requests:
            self._lines.append(self._render("info", "request", fields))

    def record(self, record: logging.LogRecord) -> None:
        """Log a record of the standard `logging`; an error is written at once."""
        fields = {
            name: value
            for name, value in vars(record).items()
            if name not in _STANDARD_ATTRIBUTES and name not in _OWN_FIELDS
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields.update(describe(record.exc_info[1]))
        line = self._render(_level_name(record.levelno), _message(record), fields)
        self._lines.append(line, urgent=record.levelno >= logging.ERROR)

    def close(self) -> None:
        """Write out every line that waits, giving up on a reader that does not read for two seconds.

        A process that ends by `os._exit`, as a supervisor's child does, must call it itself.
        """
        self._lines.close()


def _level_name(number: int) -> str:
    """Return the highest level that a number reaches; libraries use numbers between them."""
    return next((name for name, level in reversed(tuple(LEVELS.items())) if number >= level), "trace")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        # The arguments do not fit the text: half a message is better than none.
        return str(record.msg)
