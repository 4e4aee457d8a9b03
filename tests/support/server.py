"""leadcrm as a real process: started with its own environment, observed, signalled, always cleaned up.

The process leads a process group, so that its workers and the child of a one-file executable die with it. Its time
zone is not UTC on purpose.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from tests.support.client import Client
from tests.support.ports import free_port
from tests.support.rows import Row, Rows
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 30.0
PROBE_TIMEOUT_S = 15.0
"""A worker under load accepts one connection in each iteration of its loop. A probe that gave up and came again would
stand at the end of the queue each time."""
STOP_TIMEOUT_S = 40.0
"""More than the default of SHUTDOWN_TIMEOUT: a slower server breaks its promise."""
MEMORY_SAMPLE_INTERVAL_S = 0.1
LONGEST_LOG_SHOWN = 6_000
# LISTEN_PID must be the id of the serving process, so it is set in that process.
PASS_SOCKETS = """\
import fcntl, os, sys
passed = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1].split(",")]
for number, descriptor in enumerate(passed, 3):
    os.dup2(descriptor, number)
    os.close(descriptor)
os.environ.update(LISTEN_FDS=str(len(passed)), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def command() -> list[str]:
    """Return the command for leadcrm: the executable in LEADCRM_TEST_EXECUTABLE, or the sources."""
    executable = os.environ.get("LEADCRM_TEST_EXECUTABLE")
    return [str(Path(executable).resolve())] if executable else [sys.executable, "-m", "leadcrm"]


def clean_environment(directory: Path) -> dict[str, str]:
    """Return an environment that contains no configuration of the caller."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "TZ": "<+0545>-5:45",
        "PYTHONPATH": str(REPOSITORY),
    }


@dataclass
class MemoryPeak:
    """The highest total memory of a server's processes during an observation."""

    peak_bytes: int = 0


class Server:
    """One `leadcrm serve` with one address and one DATA_DIR, over any number of starts."""

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        listening_socket: socket.socket | None = None,
        more_sockets: Sequence[socket.socket] = (),
        tracer: Sequence[str] = (),
    ) -> None:
        """Prepare a server that keeps all its files under `directory`.

        Args:
            directory: working directory, data and logs.
            database_url: DATABASE_URL; without it the server uses embedded SQLite.
            environment: variables added to a clean environment; they take precedence.
            arguments: further arguments of `leadcrm serve`.
            listening_socket: passed to the server as systemd does.
            more_sockets: passed behind it.
            tracer: a command that runs the server's command.
        """
        self.directory = directory
        self.stdout_path = directory / "stdout.log"
        self.stderr_path = directory / "stderr.log"
        self.arguments = list(arguments)
        self.listening_sockets = [*filter(None, (listening_socket,)), *more_sockets]
        self.tracer = list(tracer)
        self.host = "127.0.0.1"
        port = listening_socket.getsockname()[1] if listening_socket else free_port()
        self.environment = {
            **clean_environment(directory),
            "HOST": self.host,
            "PORT": str(port),
            "DATA_DIR": str(directory / "data"),
            # The executable unpacks itself here, and leaves the files when killed.
            "TMPDIR": str(directory / "unpacked"),
            **({"DATABASE_URL": database_url} if database_url else {}),
            **(environment or {}),
        }
        self.port = int(self.environment["PORT"])
        self.data_dir = Path(self.environment["DATA_DIR"])
        self.client = Client(self.host, self.port)
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Server {self.directory} port {self.port}>"

    def start(self, *, wait: bool = True) -> Server:
        """Start the process and by default wait until it is healthy. Logs are appended."""
        assert not self.running, "the server runs already"
        for folder in (self.directory, Path(self.environment["TMPDIR"])):
            folder.mkdir(parents=True, exist_ok=True)
        line = [*self.tracer, *command(), "serve", *self.arguments]
        inherited = [listener.fileno() for listener in self.listening_sockets]
        if inherited:
            line = [sys.executable, "-S", "-c", PASS_SOCKETS, ",".join(map(str, inherited)), *line]
        with self.stdout_path.open("ab") as stdout, self.stderr_path.open("ab") as stderr:
            self._process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.directory,
                env=self.environment,
                pass_fds=inherited,
                start_new_session=True,
            )
        if wait:
            self.wait_healthy()
        return self

    @property
    def pid(self) -> int:
        """The id of the started process, the leader of its group."""
        assert self._process is not None, "the server was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the main process is alive."""
        return self._process is not None and self._process.poll() is None

    def wait_healthy(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait for 200 from GET /health; fail at once if the process ends."""
        self._wait_health(lambda status: status == 200, timeout_s, "to be healthy")

    def wait_answering(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait for any response from GET /health, even 503."""
        self._wait_health(lambda status: status > 0, timeout_s, "to answer")

    def _wait_health(self, is_enough: Callable[[int], bool], timeout_s: float, what: str) -> None:
        told: list[object] = []

        def is_reached() -> bool:
            assert self.running, f"the server ended with status {self.exit_status()}:\n{self.log_text()}"
            try:
                answer = self.client.get("/health", timeout_s=PROBE_TIMEOUT_S)
            except OSError as error:
                told.append(error)
                return False
            told.append(answer)
            return is_enough(answer.status)

        try:
            wait_until(is_reached, timeout_s=timeout_s)
        except AssertionError as fault:
            raise AssertionError(f"{fault}: {self!r} {what}; the last probe got {told[-1:]}") from None

    def exit_status(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the main process to end and return its status, negative for a signal."""
        assert self._process is not None, "the server was never started"
        return self._process.wait(timeout_s)

    def send_signal(self, number: signal.Signals) -> None:
        """Signal only the main process, as systemd's KillMode=mixed and a shell's kill do."""
        os.kill(self.pid, number)

    def terminate(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Send SIGTERM and return the exit status."""
        self.send_signal(signal.SIGTERM)
        return self.exit_status(timeout_s)

    def kill9(self, *, only_main: bool = False) -> None:
        """Kill the whole group, or only the main process, and wait for its end."""
        if only_main:
            os.kill(self.pid, signal.SIGKILL)
        else:
            self._kill_group()
        self.exit_status()

    def freeze(self) -> None:
        """Suspend every process; connections stay open."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the frozen processes."""
        os.killpg(self.pid, signal.SIGCONT)

    def processes(self) -> list[psutil.Process]:
        """Return the living processes of the group, starting with the main one."""
        if self._process is None:
            return []
        found = []
        for pid in psutil.pids():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getpgid(pid) == self.pid:
                    process = psutil.Process(pid)
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
        return sorted(found, key=lambda process: (process.pid != self.pid, process.pid))

    def pids(self) -> list[int]:
        """Return the ids of `processes`."""
        return [process.pid for process in self.processes()]

    def memory_bytes(self) -> int:
        """Return the total memory of all processes, with shared pages counted once (PSS)."""
        total = 0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                total += process.memory_full_info().pss
        return total

    @contextmanager
    def memory_peak(self) -> Iterator[MemoryPeak]:
        """Observe the memory for the duration of the block; the peak is final afterwards."""
        peak = MemoryPeak(self.memory_bytes())
        done = threading.Event()

        def watch() -> None:
            while not done.wait(MEMORY_SAMPLE_INTERVAL_S):
                peak.peak_bytes = max(peak.peak_bytes, self.memory_bytes())

        watcher = threading.Thread(target=watch, name="memory-peak")
        watcher.start()
        try:
            yield peak
        finally:
            done.set()
            watcher.join()
            peak.peak_bytes = max(peak.peak_bytes, self.memory_bytes())

    def spooled(self) -> list[Row]:
        """Return the rows in the spool's file; the counts of the workers may lag behind it.

        A damaged file that was set aside counts as one row until its rows are salvaged.
        """
        *set_aside, in_use = sorted(self.data_dir.glob("spool*.db"), key=lambda path: (len(path.name), path.name))
        unsalvaged = [{"file": path} for path in set_aside if not path.with_name(f"{path.name}.salvaged").exists()]
        return unsalvaged + Rows(f"sqlite:///{in_use}").raw()

    def wait_drained(self, timeout_s: float = 30.0) -> None:
        """Wait until the spool is empty: every acknowledged lead is then in the database."""
        wait_until(lambda: not self.spooled(), timeout_s=timeout_s, what="the spool to drain")

    def embedded_rows(self) -> Rows:
        """Return the rows of its embedded database."""
        return Rows(f"sqlite:///{self.data_dir / 'leadcrm.db'}")

    def log_records(self) -> list[dict[str, Any]]:
        """Return the records of the log; a complete line that is no JSON object fails the test."""
        text = self.stdout_path.read_text(encoding="utf-8")
        whole, _, _ = text.rpartition("\n")
        records = [json.loads(line) for line in whole.splitlines()]
        assert all(isinstance(record, dict) for record in records), "a log line is no JSON object"
        return records

    def log_text(self) -> str:
        """Return the end of the server's output, for a failure message."""
        parts = []
        for path in (self.stdout_path, self.stderr_path):
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            parts.append(f"--- {path.name}\n{text[-LONGEST_LOG_SHOWN:]}")
        return "\n".join(parts)

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def clean_up(self) -> None:
        """Kill every process of the group, in any state."""
        if self._process is None:
            return
        self._kill_group()
        self._process.wait(STOP_TIMEOUT_S)
        wait_until(lambda: not self.processes(), what=f"every process of {self!r} to end")


class StartServer(Protocol):
    """The fixture `start_server`: starts a server in its own directory and waits until it is healthy."""

    def __call__(self, database_url: str | None = None, *, wait: bool = True, **given: Any) -> Server: ...
