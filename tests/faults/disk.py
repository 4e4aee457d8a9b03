"""A small disk that can be filled and freed: a real one where mounting is allowed, else one of injected errors."""

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
    """A folder with little room."""

    folder: Path
    environment: Mapping[str, str]
    """What a server that uses it needs."""

    def fill(self, left_bytes: int = 0) -> None:
        """Leave so many bytes of room."""

    def free(self) -> None:
        """Make room again."""


class MountedDisk:
    """A tmpfs of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: Mapping[str, str] = {}
        self._filler = folder / "filler"

    def fill(self, left_bytes: int = 0) -> None:
        with self._filler.open("wb") as file:
            # The server takes of the room meanwhile.
            while (room := self._room() - left_bytes) > 0:
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, room)

    def _room(self) -> int:
        statistics = os.statvfs(self.folder)
        return statistics.f_bavail * statistics.f_frsize

    def free(self) -> None:
        self._filler.unlink()


class InjectedDisk:
    """A folder whose writes fail while it is full."""

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
    """Give a small disk at `folder`; `injection` makes what stands in where mounting is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "leadcrm-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        yield InjectedDisk(folder, injection())
        return
    try:
        yield MountedDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
