"""What the log says, and how: one JSON object a line, or readable text in development.

Everything goes through the standard `logging`, except the line for each request: at thousands a second its
cost counts, so `LogWriter.request` leaves that machinery out. Both end in the same buffer and keep their
order.

Invariants: a line of JSON is one line, whatever a value holds; a database's own message, which quotes the
payload, is never written (`log_errors`).
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping

import orjson

from leadcrm.logs.buffered_lines import LIMIT_BYTES, BufferedLines
from leadcrm.logs.errors import describe

TRACE = 5
LEVELS: Mapping[str, int] = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
REPEAT_INTERVAL_S = 10.0
"""A line that carries a `repeat_key` is written once in so many seconds, with the number left out."""
MOST_REPEAT_KEYS = 1000
LONGEST_LINE_BYTES = 40 * 1024
"""journald cuts a line in two at 48 KiB (LineMax= in journald.conf), and then neither half is JSON."""
LONGEST_TEXT = 4 * 1024
"""Characters left of a value in a line that would be longer than that."""
DEEPEST_VALUE = 8

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "repeat_key",
}
_OWN_FIELDS = frozenset({"time", "level", "msg"})
# Legal in JSON, but some readers end a line at them, and terminals obey others.
_TROUBLESOME = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_COLOURS = {"trace": "2", "debug": "36", "info": "32", "warn": "33", "error": "31", "fatal": "1;31"}
_QUIET_LOGGERS = ("sanic", "asyncio", "pony", "concurrent.futures")
_SANIC_LOGGERS = ("sanic.root", "sanic.error", "sanic.server", "sanic.websockets")

Render = Callable[[str, str, Mapping[str, object]], bytes]


class LogWriter:
    """The open log of one process: what `configure` returns and the end of the process closes."""

    def __init__(self, lines: BufferedLines, render: Render, *, level: int) -> None:
        self._lines = lines
        self._render = render
        self._logs_requests = level <= logging.INFO

    def request(self, fields: Mapping[str, object]) -> None:
        """Log one answered request at level info; a few microseconds, no waiting.

        Args:
            fields: method, url, status, duration_ms, request_id, idempotency_key, lead_id, outcome, as far
            as known.
        """
        if self._logs_requests:
            self._lines.append(self._render("info", "request", fields))

    def record(self, record: logging.LogRecord) -> None:
        """Log what came through the standard `logging`; an error leaves at once."""
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

        The process that ends by `os._exit`, as a worker of `multiprocessing` does, must call it itself.
        """
        self._lines.close()


def configure(level: str, development: bool, stream_fd: int = 1, *, limit_bytes: int = LIMIT_BYTES) -> LogWriter:
    """Point leadcrm's and Sanic's loggers at `stream_fd`, in every process after its fork.

    Args:
        level: a name of `LEVELS`; lower ones are left out, request lines (info) included.
        development: readable text instead of JSON, in colour on a terminal.
        stream_fd: an open file descriptor that stays the caller's.
    """
    least = LEVELS[level]
    logging.addLevelName(TRACE, "TRACE")
    render = _text_renderer(colour=os.isatty(stream_fd)) if development else json_renderer()
    lines = BufferedLines(
        stream_fd,
        lambda dropped: render("warn", "log lines were dropped: nobody read them in time", {"dropped": dropped}),
        limit_bytes=limit_bytes,
    )
    writer = LogWriter(lines, render, level=least)
    for former in logging.getLogger("leadcrm").handlers:
        former.close()
    handler = _Handler(writer)
    handler.addFilter(RepeatFilter())
    _attach(handler, logging.getLogger("leadcrm"), least)
    for name in _QUIET_LOGGERS:
        _attach(handler, logging.getLogger(name), max(least, logging.WARNING))
    for name in _SANIC_LOGGERS:
        # Sanic gives each its own handler and level when an app is made; they inherit ours instead.
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    logging.getLogger("sanic.access").disabled = True
    # It quotes a malformed form, which is a sender's data.
    logging.getLogger("python_multipart").handlers = [logging.NullHandler()]
    logging.getLogger("python_multipart").propagate = False
    return writer


def _attach(handler: logging.Handler, logger: logging.Logger, level: int) -> None:
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


class _Handler(logging.Handler):
    """Where the standard `logging` meets the buffer; `logging` closes it when the interpreter ends."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.record(record)
        except Exception:
            # A value whose __str__ fails must not fail what logs it.
            self.handleError(record)

    def close(self) -> None:
        self._writer.close()
        super().close()


class RepeatFilter(logging.Filter):
    """Lets a line with `extra={"repeat_key": …}` through once in a while, and says how many it held back."""

    def __init__(self, interval_s: float = REPEAT_INTERVAL_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._clock = clock
        self._seen: dict[tuple[str, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        repeat_key = getattr(record, "repeat_key", None)
        if repeat_key is None:
            return True
        key = (record.name, repeat_key)
        now_s = self._clock()
        written_s, suppressed = self._seen.get(key, (None, 0))
        if written_s is not None and now_s - written_s < self._interval_s:
            self._seen[key] = (written_s, suppressed + 1)
            return False
        if len(self._seen) >= MOST_REPEAT_KEYS:
            self._seen.clear()
        self._seen[key] = (now_s, 0)
        if suppressed:
            record.suppressed = suppressed
        return True


def _level_name(number: int) -> str:
    """The highest level that a number reaches; libraries use numbers between them."""
    return next((name for name, least in reversed(tuple(LEVELS.items())) if number >= least), "trace")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        # Arguments that do not fit their text: half a message is better than none.
        return str(record.msg)


def json_renderer() -> Render:
    now = _clock()

    def render(level: str, message: str, fields: Mapping[str, object]) -> bytes:
        entry = {"time": now(), "level": level, "msg": message, **fields}
        try:
            line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            line = orjson.dumps(_plain(entry), option=orjson.OPT_APPEND_NEWLINE)
        if len(line) > LONGEST_LINE_BYTES:
            line = orjson.dumps(_plain(entry, longest=LONGEST_TEXT), option=orjson.OPT_APPEND_NEWLINE)
        # Outside its strings JSON is ASCII, so whatever is replaced stands inside one.
        return line if line.isascii() else _TROUBLESOME.sub(_json_escape, line.decode()).encode()

    return render


def _text_renderer(*, colour: bool) -> Render:
    now = _clock()

    def render(level: str, message: str, fields: Mapping[str, object]) -> bytes:
        shown_level = f"\x1b[{_COLOURS[level]}m{level:5}\x1b[0m" if colour else f"{level:5}"
        told = [f"{now()[11:23]} {shown_level} {_visible(message)}"]
        told += [
            f"{key}={_visible(str(value))}" for key, value in fields.items() if key != "stack" and value is not None
        ]
        stack = str(fields.get("stack", ""))
        text = " ".join(told) + "".join(f"\n    {_visible(line)}" for line in stack.splitlines())
        return text.encode("utf-8", "backslashreplace") + b"\n"

    return render


def _clock() -> Callable[[], str]:
    """Make a clock that tells the time as ISO 8601 in UTC, to the millisecond."""
    formatted = (0, "")

    def now() -> str:
        nonlocal formatted
        # Dividing one integer keeps second and fraction together; the text of a second is made once.
        second, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
        known, text = formatted
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            formatted = (second, text)
        return f"{text}{milliseconds:03d}Z"

    return now


def _plain(value: object, *, longest: int = LONGEST_LINE_BYTES, depth: int = 0) -> object:
    """Turn any value into one that JSON can hold: what it cannot becomes text, escaped."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value[:longest]).decode("utf-8", "backslashreplace")
    if depth < DEEPEST_VALUE and isinstance(value, Mapping):
        return {
            str(_plain(str(key), longest=longest)): _plain(part, longest=longest, depth=depth + 1)
            for key, part in value.items()
        }
    if depth < DEEPEST_VALUE and isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(part, longest=longest, depth=depth + 1) for part in value]
    text = str(value)
    text = text if len(text) <= longest else text[:longest] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _visible(text: str) -> str:
    """Escape what a terminal would obey instead of show."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
