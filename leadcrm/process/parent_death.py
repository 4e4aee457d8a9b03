"""A process that ends with its parent: a worker with its supervisor, an unpacked program with its one-file executable.

Without this a parent killed with SIGKILL would leave a child that serves on where nobody can find it. May import
nothing of leadcrm.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_with_executable() -> None:
    """As `end_with_parent`, where this process was unpacked by a one-file executable; elsewhere do nothing."""
    if not getattr(sys, "frozen", False):
        return
    end_with_parent()
    try:
        parent = os.readlink(f"/proc/{os.getppid()}/exe")
    except OSError:
        # A parent with more rights than this process, as `setcap` gives them, does not show what it is.
        return
    if parent != os.readlink("/proc/self/exe"):
        # The executable ended before the kernel was asked, and this is somebody else.
        sys.exit(f"{sys.executable} was killed while it started")
