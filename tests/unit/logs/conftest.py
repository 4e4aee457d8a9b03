"""A log that is written to a file, with all loggers restored after each test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.log_file import LogFile

LOGGERS = (
    "leadcrm",
    "sanic",
    "asyncio",
    "pony",
    "concurrent.futures",
    "sanic.root",
    "sanic.error",
    "sanic.server",
    "sanic.websockets",
    "sanic.access",
)


@pytest.fixture(autouse=True)
def restored_loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers[:], logger.level, logger.propagate, logger.disabled) for logger in loggers]
    yield
    for logger, (handlers, level, propagate, disabled) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate
        logger.disabled = disabled


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[LogFile]:
    log_file = LogFile(tmp_path / "log")
    yield log_file
    if log_file.writer is not None:
        log_file.writer.close()
    os.close(log_file.stream_fd)
