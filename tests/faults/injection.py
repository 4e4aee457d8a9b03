"""Faults of disk and clock, injected into a real server by a preloaded library.

The library is compiled when the tests run. Server and test share a mapped file: the test sets which writes and syncs
of the server fail, and reads how many there were.
"""

from __future__ import annotations

import errno
import mmap
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import wait_until

SOURCE = Path(__file__).with_name("injection.c")

FIELDS = (
    "clock_offset_ns",
    "writes",
    "first_failing_write",
    "last_failing_write",
    "syncs",
    "first_failing_sync",
    "last_failing_sync",
    "error",
    "free_bytes",
    "stalls",
)
FOR_EVER = 1 << 62


def compiler() -> str | None:
    """Return the path of the C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc")


def compile_library(folder: Path) -> Path:
    """Compile the library and return its path."""
    library = folder / "injection.so"
    subprocess.run([compiler() or "cc", "-shared", "-fPIC", "-O2", "-Wall", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Injection:
    """The faults of the files under one folder."""

    def __init__(self, library: Path, folder: Path, control: Path) -> None:
        """Create the control file; nothing fails yet."""
        control.write_bytes(bytes(8 * len(FIELDS)))
        with control.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAULTS_CONTROL": str(control),
            "FAULTS_FOLDER": str(folder),
        }
        self._set("free_bytes", -1)
        self._set("error", errno.EIO)

    def _get(self, name: str) -> int:
        return int(struct.unpack_from("=q", self._memory, 8 * FIELDS.index(name))[0])

    def _set(self, name: str, value: int) -> None:
        struct.pack_into("=q", self._memory, 8 * FIELDS.index(name), value)

    def count(self, call: str) -> int:
        """Return the number of calls so far of `write` or `sync`."""
        return self._get(f"{call}s")

    def fail_next(self, call: str, error: int) -> None:
        """Let the next call fail, and wait for it."""
        number = self.count(call) + 1
        self.fail(call, number, error)
        wait_until(lambda: self.count(call) > number, what=f"a {call} to fail")

    def fail(self, call: str, number: int, error: int) -> None:
        """Let the `number`th call since the start fail."""
        self._set("error", error)
        self._set(f"last_failing_{call}", number)
        self._set(f"first_failing_{call}", number)

    @contextmanager
    def failing(self, call: str, error: int) -> Iterator[None]:
        """Let every call fail for the duration of the block."""
        self._set("error", error)
        self._set(f"last_failing_{call}", FOR_EVER)
        self._set(f"first_failing_{call}", 1)
        try:
            yield
        finally:
            self._set(f"first_failing_{call}", FOR_EVER)

    @contextmanager
    def stalling(self) -> Iterator[None]:
        """Block every sync until the end of the block."""
        self._set("stalls", 1)
        try:
            yield
        finally:
            self._set("stalls", 0)

    def set_free_bytes(self, count: int) -> None:
        """Set the free space that the disk reports; a negative number restores the real one."""
        self._set("free_bytes", count)

    def shift_clock(self, seconds: float) -> None:
        """Shift the server's clock by so many seconds."""
        self._set("clock_offset_ns", int(seconds * 1e9))
