"""Temporary files in memory: many tests wait for little but syncs, which take no time there.

No test needs the disk for its proof: what is synced shows in the calls (`trace.py`), what survives in the killing of
processes. Only what is measured is measured on a disk.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
LEAST_FREE_BYTES = 2 * 1024**3


def keep_temporary_files_in_memory() -> None:
    """Do so unless TMPDIR names a folder for them, also for the processes that this one starts."""
    if "TMPDIR" not in os.environ and _is_suitable(MEMORY):
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None


def _is_suitable(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    # The executable unpacks itself there. A container may have a few megabytes.
    may_run = not found.f_flag & os.ST_NOEXEC
    return may_run and found.f_bavail * found.f_frsize >= LEAST_FREE_BYTES and os.access(folder, os.W_OK)
