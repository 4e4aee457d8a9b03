"""Loads one system with wrk."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).parent / "lead.lua"


class Load(NamedTuple):
    """The result of wrk: responses, their latencies and the failures among them."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    refused: int
    broken: int

    @property
    def rate(self) -> float:
        """Successful responses a second."""
        return (self.requests - self.refused) / self.seconds

    @property
    def errors(self) -> int:
        """Responses of 400 and above, and failed connections."""
        return self.refused + self.broken


def find_wrk() -> str:
    """Return the path of wrk, or exit with a hint to install it."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit(
            "bench: wrk is not installed: apt install wrk (Debian, Ubuntu), dnf install wrk, brew install wrk"
        )
    return found


def run_load(url: str, path: str, *, connections: int, seconds: float, key_in_body: bool) -> Load:
    """Send unique leads over `connections` for `seconds` and return the result."""
    command = [find_wrk(), f"-t{min(2, connections)}", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", "10s", "-s", str(SCRIPT), url, "--", str(secrets.randbelow(2**31)), path]
    if key_in_body:
        command.append("body")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise SystemExit(f"bench: wrk failed:\n{done.stdout}{done.stderr}")
    return Load(**json.loads(line.removeprefix("RESULT ")))
