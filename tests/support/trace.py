"""The system calls of a traced process in their order, parsed from the output of strace."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST_STRING = 70_000
"""Bytes shown of each buffer: enough for several pages of SQLite's log."""

CALLS = "read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync"

_LINE = re.compile(r"(?P<pid>\d+)\s+(?P<rest>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<fd>\d+)<(?P<target>(?:->|[^<>]|<[^<>]*>)*)>(?P<rest>.*)")


def strace() -> str | None:
    """Return the path of strace, or None."""
    return shutil.which("strace")


def tracer(output: Path) -> list[str]:
    """Return a command prefix that traces a command with its threads and children."""
    return ["strace", "-f", "-yy", "-s", str(LONGEST_STRING), "-e", f"trace={CALLS}", "-o", str(output)]


@dataclass(frozen=True)
class Call:
    """One successful system call; `began` and `ended` are line numbers of the trace."""

    name: str
    target: str
    """The path of the file, or the addresses of the connection."""
    text: str
    """The arguments and the result, with buffers escaped as in C."""
    began: int
    ended: int

    @property
    def is_sync(self) -> bool:
        return self.name in ("fsync", "fdatasync")


def read_trace(output: Path) -> Iterator[Call]:
    """Yield the calls in the order in which they ended."""
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
