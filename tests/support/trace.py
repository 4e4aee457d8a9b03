"""What a traced process asked of the kernel, in the order in which it did, read from strace's output."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST_STRING = 70_000
"""Bytes of a buffer that are shown: a page of SQLite's log, or several at once, is whole."""

CALLS = "read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync"

_LINE = re.compile(r"(?P<pid>\d+)\s+(?P<rest>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<fd>\d+)<(?P<target>(?:->|[^<>]|<[^<>]*>)*)>(?P<rest>.*)")


def strace() -> str | None:
    """Return where strace is, if it is."""
    return shutil.which("strace")


def tracer(output: Path) -> list[str]:
    """Return the command that traces another one, threads and children included."""
    return ["strace", "-f", "-yy", "-s", str(LONGEST_STRING), "-e", f"trace={CALLS}", "-o", str(output)]


@dataclass(frozen=True)
class Call:
    """One system call that succeeded; `began` and `ended` count the lines of the trace."""

    name: str
    target: str
    """The file's path, or the ends of the connection."""
    text: str
    """The arguments and the result, buffers escaped as in C."""
    began: int
    ended: int

    @property
    def is_sync(self) -> bool:
        return self.name in ("fsync", "fdatasync")


def read_trace(output: Path) -> Iterator[Call]:
    """Give the calls in the order of their ends."""
    unfinished: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(output.read_text(encoding="utf-8", errors="replace").splitlines()):
        matched = _LINE.match(line)
        if not matched:
            continue
        pid, rest = matched["pid"], matched["rest"]
        began = number
        if rest.endswith("<unfinished ...>"):
            unfinished[pid] = (number, rest.removesuffix("<unfinished ...>"))
            continue
        if (resumed := _RESUMED.match(rest)) and pid in unfinished:
            began, beginning = unfinished.pop(pid)
            rest = beginning + resumed["rest"]
        if (call := _CALL.match(rest)) and not re.search(r"= -1 E\w+", rest):
            yield Call(call["name"], call["target"], call["rest"], began, number)
