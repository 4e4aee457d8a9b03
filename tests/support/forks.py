"""Runs leadcrm's commands in forks of one process that has imported it: the imports take most of a command's time.

A fork has the folder, variables, umask and standard streams that it was asked for, and ends as a process of its own.
This module is also the program of the process that forks.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LONGEST_REQUEST = 65_536
TIMEOUT_S = 60.0


class Forks:
    """The process that forks, started with the first command."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Take the variables that it starts with."""
        self._environment = environment
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self, directory: Path, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, and return what a process of its own would have left.

        Raises:
            subprocess.TimeoutExpired: it did not end within a minute, and was killed.
        """
        request = json.dumps([str(directory), list(arguments), dict(environment), _umask()]).encode()
        streams = [os.pipe() for _ in range(3)]
        (output, _), (errors, _), (report, _) = streams
        try:
            socket.send_fds(self._started(), [request], [0, *(writing for _, writing in streams)])
        finally:
            for _, writing in streams:
                os.close(writing)
        with open(output, "rb"), open(errors, "rb"), open(report, "rb"):
            received = _read_to_end([output, errors, report])
        pid, _, status = received[report].partition(b" ")
        if not pid:
            raise AssertionError(f"leadcrm could not be imported:\n{self.close()}")
        if not status:
            os.kill(int(pid), signal.SIGKILL)
            raise subprocess.TimeoutExpired(arguments, TIMEOUT_S)
        return subprocess.CompletedProcess(arguments, int(status), _text(received[output]), _text(received[errors]))

    def _started(self) -> socket.socket:
        with self._lock:
            if self._requests is None:
                self._requests, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
                with theirs:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", __name__, str(theirs.fileno())],
                        cwd="/",
                        env=self._environment,
                        stdin=subprocess.DEVNULL,
                        # Pipes as those of each fork: Python asks what its streams are when it starts.
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        pass_fds=[theirs.fileno()],
                    )
                atexit.register(self.close)
            return self._requests

    def close(self) -> str:
        """End the process, which leaves commands that run to their end, and return its own errors."""
        with self._lock:
            if self._requests is None or self._process is None:
                return ""
            self._requests.close()
            self._requests = None
            return _text(self._process.communicate()[1])


def _text(output: bytes) -> str:
    """Read the ends of lines as `subprocess` does."""
    return output.decode().replace("\r\n", "\n").replace("\r", "\n")


def _umask() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("Umask:")[2].split()[0], 8)


def _read_to_end(descriptors: list[int]) -> dict[int, bytes]:
    """Read until each is at its end or the time is up."""
    received = dict.fromkeys(descriptors, b"")
    ends_at = time.monotonic() + TIMEOUT_S
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map() and (left_s := ends_at - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                part = os.read(key.fd, LONGEST_REQUEST)
                received[key.fd] += part
                if not part:
                    selector.unregister(key.fd)
    return received


def _wait_for_request(requests: socket.socket) -> tuple[list[object], list[int]] | None:
    """Fork for each request; return it in the fork, and None in this process once nobody can ask any more."""
    running: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    pid, report = running.pop(key.fd)
                    os.write(report, b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    os.close(report)
                    continue
                message, descriptors, _, _ = socket.recv_fds(requests, LONGEST_REQUEST, 4)
                if not message:
                    return None
                pid = os.fork()
                if pid == 0:
                    for ended, (_, report) in running.items():
                        os.close(ended)
                        os.close(report)
                    return json.loads(message), descriptors
                *theirs, report = descriptors
                for descriptor in theirs:
                    os.close(descriptor)
                # A command that is killed for its time may have ended already.
                with suppress(BrokenPipeError):
                    os.write(report, b"%d " % pid)
                ended = os.pidfd_open(pid)
                running[ended] = pid, report
                selector.register(ended, selectors.EVENT_READ)


def _import_leadcrm() -> None:
    from importlib import import_module  # noqa: PLC0415 - only the process that forks imports the commands

    from leadcrm.cli import COMMANDS  # noqa: PLC0415

    gc.disable()
    for name in COMMANDS:
        if name != "serve":
            import_module(f"leadcrm.cli.{name}")
    gc.freeze()


def main(requests: socket.socket) -> None:
    """Run commands until nobody can ask any more."""
    _import_leadcrm()
    with requests:
        asked = _wait_for_request(requests)
    if asked is None:
        return
    (directory, arguments, environment, umask), descriptors = asked
    for number, descriptor in enumerate(descriptors):
        if number < 3:
            os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(directory)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.path[0] = directory
    sys.argv[1:] = arguments
    runpy.run_module("leadcrm", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
