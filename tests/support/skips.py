"""On CI a skipped test fails the run, unless `tests/allowed_skips.txt` lists it."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

import pytest

ALLOWED_SKIPS_PATH = Path(__file__).resolve().parents[1] / "allowed_skips.txt"


def read_allowed_skips(path: Path) -> list[str]:
    """Return the patterns of test ids in a list: one a line, with the reason after `#`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [pattern for line in lines if (pattern := line.partition("#")[0].strip())]


class SkipGuard:
    """A pytest plugin that fails a session for skips that are not on the list."""

    def __init__(self, allowed: list[str]) -> None:
        self._allowed = allowed
        self._refused: list[str] = []

    def _judge(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        # pytest also reports expected failures, which did run, as skipped.
        if report.skipped and not hasattr(report, "wasxfail"):
            # The brackets of parametrized tests are literal.
            patterns = (pattern.replace("[", "[[]") for pattern in self._allowed)
            if not any(fnmatch.fnmatchcase(report.nodeid, pattern) for pattern in patterns):
                self._refused.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._judge(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._judge(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self._refused:
            terminalreporter.write_line(f"SKIPPED ON CI, not listed in tests/allowed_skips.txt: {nodeid}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Guard the session if CI is set."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        config.pluginmanager.register(SkipGuard(read_allowed_skips(ALLOWED_SKIPS_PATH)), "skip-guard")
