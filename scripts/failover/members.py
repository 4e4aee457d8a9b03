"""What a cluster is made of: its processes, and each PostgreSQL with its Patroni."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

from tests.support.ports import free_port


class Process:
    """A process that this program started, with its children."""

    def __init__(self, name: str, command: list[str | Path], folder: Path, **given: Any) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=folder,
                **given,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def answers(self, port: int) -> bool:
        """Say whether it listens on a port."""
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def family(self) -> list[psutil.Process]:
        """Return the process and all that it started."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)]
        return []

    def signal_all(self, number: signal.Signals) -> None:
        """Signal it and all that it started."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def stop(self, timeout_s: float = 20.0) -> None:
        """End it, by force if it does not."""
        family = self.family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)


class Member:
    """One PostgreSQL and its Patroni."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self.rest_port = free_port()
        self.data = folder / name / "data"
        self.patroni: Process | None = None

    def ask(self, path: str, document: Any = None, *, method: str = "GET", timeout_s: float = 3.0) -> tuple[int, bytes]:
        """Ask Patroni's REST interface; the status is 0 if it does not answer."""
        body = None if document is None else json.dumps(document).encode()
        request = Request(f"http://127.0.0.1:{self.rest_port}{path}", data=body, method=method)
        try:
            with urlopen(request, timeout=timeout_s) as answer:
                return answer.status, answer.read()
        except OSError as error:
            code = getattr(error, "code", 0)
            return code, b""

    @property
    def is_primary(self) -> bool:
        return self.ask("/primary")[0] == 200

    @property
    def is_sync_standby(self) -> bool:
        return self.ask("/sync")[0] == 200

    @property
    def postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))

    def kill_postgres(self) -> None:
        """Kill the postmaster as a crash would; its children notice and end."""
        self.postmaster.kill()

    def freeze(self) -> None:
        """Suspend Patroni and PostgreSQL; connections stay open, and nothing responds."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def stop(self) -> None:
        """End both."""
        self.thaw()
        if self.patroni is not None:
            self.patroni.stop()
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        if self.patroni is not None:
            self.patroni.signal_all(number)
        # PostgreSQL is no child of Patroni's.
        with suppress(psutil.NoSuchProcess, OSError):
            postmaster = self.postmaster
            if self.data == Path(postmaster.cwd()):
                for process in (postmaster, *postmaster.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(number)
