"""A small disk that can be filled and freed: real if mounting is allowed, otherwise simulated by injected errors."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from tests.faults.injection import Injection

SIZE_BYTES = 24 * 1024 * 1024


class Disk(Protocol):
    """A folder with little space."""

    folder: Path
    environment: Mapping[str, str]
    """The environment of a server that uses it."""

    def fill(self, left_bytes: int = 0) -> None:
        """Leave this many bytes free."""

    def free(self) -> None:
        """Free the space again."""


class MountedDisk:
    """A separate tmpfs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: Mapping[str, str] = {}
        self._filler = folder / "filler"

    def fill(self, left_bytes: int = 0) -> None:
        with self._filler.open("wb") as file:
            # The server may use or free space meanwhile.
            while (room := self._room() - left_bytes) > 0:
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, room)

    def _room(self) -> int:
        statistics = os.statvfs(self.folder)
        return statistics.f_bavail * statistics.f_frsize

    def free(self) -> None:
        self._filler.unlink()


class InjectedDisk:
    """A folder whose writes fail while it counts as full."""

    def __init__(self, folder: Path, injection: Injection) -> None:
        self.folder = folder
        self.environment: Mapping[str, str] = injection.environment
        self._injection = injection
        self._filled = ExitStack()

    def fill(self, left_bytes: int = 0) -> None:
        self._injection.set_free_bytes(left_bytes)
        if not left_bytes:
            self._filled.enter_context(self._injection.failing("write", errno.ENOSPC))

    def free(self) -> None:
        self._injection.set_free_bytes(-1)
        self._filled.close()


@contextmanager
def small_disk(folder: Path, injection: Callable[[], Injection]) -> Iterator[Disk]:
    """Provide a small disk at `folder`; `injection` simulates it where mounting is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "leadcrm-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        yield InjectedDisk(folder, injection())
        return
    try:
        yield MountedDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
