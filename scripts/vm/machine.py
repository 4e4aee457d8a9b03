"""The virtual machine, driven by commands over a serial line."""

from __future__ import annotations

import itertools
import re
import socket
import subprocess
from pathlib import Path
from time import monotonic, sleep

BOOT_TIMEOUT_S = 300.0
COMMAND_TIMEOUT_S = 240.0
"""An emulated processor is about thirty times slower."""


class Machine:
    """A booted machine, whose port 3000 is `port` on this one."""

    def __init__(self, folder: Path, kernel: Path, port: int) -> None:
        """Boot it from the files in `folder`."""
        self.port = port
        self._numbers = itertools.count()
        self._received = b""
        control = folder / "control"
        control.unlink(missing_ok=True)
        self._process = subprocess.Popen(  # noqa: S603 - our own program and arguments
            [  # noqa: S607 - wherever it is installed
                "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1G",
                "-display", "none", "-no-reboot", "-kernel", kernel, "-initrd", folder / "initrd",
                "-append", "console=ttyS0 root=/dev/vda rw quiet panic=-1",
                "-drive", f"file={folder / 'disk'},format=raw,if=virtio,cache=writeback",
                "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:3000",
                "-device", "virtio-net-pci,netdev=net,romfile=",
                "-serial", f"file:{folder / 'console.log'}",
                "-serial", f"unix:{control},server=on,wait=off",
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self._line = self._connect(control)
        self._settle()

    def _connect(self, control: Path) -> socket.socket:
        deadline = monotonic() + 30
        while self._process.poll() is None and monotonic() < deadline:
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(1)
            if line.connect_ex(str(control)) == 0:
                return line
            line.close()
            sleep(0.1)
        raise AssertionError("qemu does not start")

    def _settle(self) -> None:
        """Wait for the shell and turn off its echo."""
        deadline = monotonic() + BOOT_TIMEOUT_S
        while monotonic() < deadline:
            self._line.sendall(b"stty -echo -onlcr; echo here-'is'-a-shell\n")
            if self._read_until(re.compile(rb"here-is-a-shell\n"), 5):
                self.tell("true")
                return
        raise AssertionError("the machine does not boot: see console.log")

    def run(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> tuple[int, str]:
        """Run a shell command and return its exit status and output."""
        end = f"end-{next(self._numbers)}"
        self._line.sendall(
            f"{{ {command}\n}} </dev/null 2>&1; status=$?; echo; echo {end[:3]}''{end[3:]} $status\n".encode()
        )
        found = self._read_until(re.compile(rb"\n" + end.encode() + rb" (\d+)\n"), timeout_s)
        assert found, f"no end of: {command}"
        text, status = found
        return int(status), text.decode(errors="replace").strip()

    def tell(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Run a shell command that must succeed, and return its output."""
        status, said = self.run(command, timeout_s)
        assert status == 0, f"{command} ended with {status}: {said}"
        return said

    def wait(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        """Wait until a shell command succeeds."""
        deadline = monotonic() + timeout_s
        while True:
            status, said = self.run(command)
            if status == 0:
                return
            assert monotonic() < deadline, f"waited {timeout_s:g} s in vain for: {command}: {said}"
            sleep(0.5)

    def _read_until(self, pattern: re.Pattern[bytes], timeout_s: float) -> tuple[bytes, bytes] | None:
        deadline = monotonic() + timeout_s
        while monotonic() < deadline:
            if found := pattern.search(self._received):
                before, self._received = self._received[: found.start()], self._received[found.end() :]
                return before, found[found.lastindex or 0]
            try:
                part = self._line.recv(65536)
            except TimeoutError:
                continue
            assert part, "the machine has ended: see console.log"
            self._received += part
        return None

    def end(self) -> None:
        """Power it off."""
        self._line.close()
        self._process.kill()
        self._process.wait()
