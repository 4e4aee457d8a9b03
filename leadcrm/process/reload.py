"""Development: the program restarts when one of its source files changes.

Imported modules stay as they were read, also in processes forked later, so the whole program is replaced. It keeps its
process id and its listening sockets: senders wait for a moment instead of being refused.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_PASSED_FD = 3  # where sd_listen_fds(3) has sockets begin

logger = logging.getLogger("leadcrm.process.reload")


class Sources:
    """The program's source files and when they changed."""

    def __init__(self, folder: Path = Path(__file__).parents[1]) -> None:
        """Remember the current state of the files below `folder`."""
        self._folder = folder
        self._modified_at = self._read_times()

    def have_changed(self) -> bool:
        """Say once for each change that files have changed, unless one of them does not compile."""
        current = self._read_times()
        changed = [path for path, modified_at in current.items() if self._modified_at.get(path) != modified_at]
        has_vanished = bool(self._modified_at.keys() - current.keys())
        self._modified_at = current
        return (has_vanished or bool(changed)) and all(map(_compiles, changed))

    def _read_times(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self._folder.rglob("*.py") if path.exists()}


def start_anew(listeners: Sequence[socket.socket]) -> NoReturn:
    """Replace this process by one that runs the same command on the same sockets. All children must have ended."""
    # Several come from systemd, and are at these numbers already.
    for number, listener in enumerate(listeners, _PASSED_FD):
        os.dup2(listener.fileno(), number)
        os.set_inheritable(number, True)
    os.environ.update(LISTEN_FDS=str(len(listeners)), LISTEN_PID=str(os.getpid()))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the command that started this process


def _compiles(path: Path) -> bool:
    try:
        compile(path.read_bytes(), path, "exec")
    except (SyntaxError, ValueError, OSError) as error:
        logger.warning("a changed file cannot be read, going on as before: %s", error, extra={"action": "reload"})
        return False
    return True
