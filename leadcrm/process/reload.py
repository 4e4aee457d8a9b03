"""Development: the program starts anew when one of its files changes.

Whatever is imported stays as it was read, also in processes forked later, so the whole program is replaced. It
keeps its process id and its listening socket: senders wait for a moment instead of being refused.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

_PASSED_FD = 3  # where sd_listen_fds(3) has sockets begin

logger = logging.getLogger("leadcrm.process.reload")


class Sources:
    """The program's files, watched."""

    def __init__(self, folder: Path = Path(__file__).parents[1]) -> None:
        """Remember how the files below `folder` are now."""
        self._folder = folder
        self._seen = self._look()

    def have_changed(self) -> bool:
        """Say once of each change that files have changed, unless one of them is no Python."""
        now = self._look()
        changed = [path for path, modified in now.items() if self._seen.get(path) != modified]
        has_vanished = bool(self._seen.keys() - now.keys())
        self._seen = now
        return (has_vanished or bool(changed)) and all(map(_compiles, changed))

    def _look(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self._folder.rglob("*.py") if path.exists()}


def start_anew(listener: socket.socket) -> NoReturn:
    """Replace this process by one that runs the same command and is passed the socket. Children must have ended."""
    os.dup2(listener.fileno(), _PASSED_FD)
    os.set_inheritable(_PASSED_FD, True)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the very command that started us


def _compiles(path: Path) -> bool:
    try:
        compile(path.read_bytes(), path, "exec")
    except (SyntaxError, ValueError, OSError) as error:
        logger.warning("a changed file cannot be read, going on as before: %s", error, extra={"action": "reload"})
        return False
    return True
