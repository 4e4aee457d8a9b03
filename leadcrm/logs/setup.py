"""Which loggers the log takes over, and where its lines go."""

from __future__ import annotations

import logging
import os

from leadcrm.logs.buffered_lines import LIMIT_BYTES, BufferedLines
from leadcrm.logs.log_writer import LEVELS, TRACE, LogWriter
from leadcrm.logs.rendering import json_renderer, text_renderer
from leadcrm.logs.repeats import RepeatFilter

_QUIET_LOGGERS = ("sanic", "asyncio", "pony", "concurrent.futures")
_SANIC_LOGGERS = ("sanic.root", "sanic.error", "sanic.server", "sanic.websockets")


def configure(level: str, development: bool, stream_fd: int = 1, *, limit_bytes: int = LIMIT_BYTES) -> LogWriter:
    """Send the lines of leadcrm's and the libraries' loggers to `stream_fd`, in every process after its fork.

    Args:
        level: a name of `LEVELS`; lower ones are left out, request lines (info) included.
        development: readable text instead of JSON, in colour on a terminal.
        stream_fd: an open file descriptor that stays the caller's.
        limit_bytes: how much may wait for the reader of the log before lines are dropped.
    """
    minimum = LEVELS[level]
    logging.addLevelName(TRACE, "TRACE")
    render = text_renderer(colour=os.isatty(stream_fd)) if development else json_renderer()
    lines = BufferedLines(
        stream_fd,
        lambda dropped: render("warn", "log lines were dropped: nobody read them in time", {"dropped": dropped}),
        limit_bytes=limit_bytes,
    )
    writer = LogWriter(lines, render, level=minimum)
    for former in logging.getLogger("leadcrm").handlers:
        former.close()
    handler = _Handler(writer)
    handler.addFilter(RepeatFilter())
    _attach(handler, logging.getLogger("leadcrm"), minimum)
    for name in _QUIET_LOGGERS:
        _attach(handler, logging.getLogger(name), max(minimum, logging.WARNING))
    for name in _SANIC_LOGGERS:
        # Sanic gives each a handler and a level when an app is made; these inherit ours instead.
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    logging.getLogger("sanic.access").disabled = True
    # It quotes malformed forms, which are senders' data.
    logging.getLogger("python_multipart").handlers = [logging.NullHandler()]
    logging.getLogger("python_multipart").propagate = False
    return writer


def _attach(handler: logging.Handler, logger: logging.Logger, level: int) -> None:
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


class _Handler(logging.Handler):
    """Hands records of the standard `logging` to the log, which `logging` closes when the interpreter ends."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.record(record)
        except Exception:
            # A value whose __str__ fails must not fail the code that logs it.
            self.handleError(record)

    def close(self) -> None:
        self._writer.close()
        super().close()
