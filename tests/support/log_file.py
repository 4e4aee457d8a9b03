"""A log that a test configures, and its lines."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from leadcrm.logs.log_writer import LogWriter
from leadcrm.logs.setup import configure


class LogFile:
    """A log that is written to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.writer: LogWriter | None = None

    def start(self, level: str = "info", *, development: bool = False) -> LogWriter:
        """Configure the log of this process to write here."""
        self.writer = configure(level, development, self.stream_fd)
        return self.writer

    def text(self) -> str:
        """Close the log and return everything written."""
        assert self.writer is not None
        self.writer.close()
        return self.path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Close the log and return its lines, parsed."""
        return [json.loads(line) for line in self.text().splitlines()]

    def line(self) -> dict[str, Any]:
        """Close the log and return its only line, parsed."""
        (line,) = self.lines()
        return line
