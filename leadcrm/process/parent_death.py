"""Processes that end with their parent: a worker with its supervisor, the unpacked program with its executable.

Without this, a parent killed with SIGKILL would leave a child that goes on serving unnoticed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends for any reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_with_executable() -> None:
    """Do the same if this process was unpacked by a one-file executable."""
    if not getattr(sys, "frozen", False):
        return
    end_with_parent()
    try:
        parent = os.readlink(f"/proc/{os.getppid()}/exe")
    except OSError:
        # A parent with more privileges than this process, such as `setcap` gives, hides its executable.
        return
    if parent != os.readlink("/proc/self/exe"):
        # The executable ended before the kernel was asked, so this parent is another process.
        sys.exit(f"{sys.executable} was killed while it started")
