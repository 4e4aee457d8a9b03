"""The system calls of a traced process in their order, parsed from the output of strace."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.server import Server

LONGEST_STRING = 70_000
"""Bytes shown of each buffer: enough for several pages of SQLite's log."""

CALLS = "read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync"

_LINE = re.compile(r"(?P<pid>\d+)\s+(?P<rest>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<fd>\d+)<(?P<target>(?:->|[^<>]|<[^<>]*>)*)>(?P<rest>.*)")
_OPENED = re.compile(r'openat\(\w+, "(?P<path>[^"]*)", (?P<flags>[\w|]+).* = (?P<fd>\d+)$')
"""SQLite alone opens files with `O_NOFOLLOW`."""

_CLOSED = re.compile(r"close\((?P<fd>\d+) ?\)")
_BEGUN = re.compile(r"(clone3?|v?fork)\(.* = (?P<child>\d+)$")


def strace() -> str | None:
    """Return the path of strace, or None."""
    return shutil.which("strace")


def tracer(output: Path) -> list[str]:
    """Return a command prefix that traces a command with its threads and children."""
    return ["strace", "-f", "-yy", "-s", str(LONGEST_STRING), "-e", f"trace={CALLS}", "-o", str(output)]


def stop(server: Server) -> None:
    """Stop the traced process; strace ends with it, after it has written the whole trace."""
    (traced,) = psutil.Process(server.pid).children()
    os.kill(traced.pid, signal.SIGTERM)
    server.exit_status()


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
    for line in _read_lines(output):
        if (call := _CALL.match(line.text)) and not re.search(r"= -1 E\w+", line.text):
            yield Call(call["name"], call["target"], call["rest"], line.began, line.ended)


@dataclass(frozen=True)
class _Line:
    thread: str
    text: str
    began: int
    ended: int


def _read_lines(output: Path) -> Iterator[_Line]:
    """Yield the lines in the order in which their calls ended, a call that others interrupted as one line."""
    unfinished: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(output.read_text(encoding="utf-8", errors="replace").splitlines()):
        matched = _LINE.match(line)
        if not matched:
            continue
        thread, rest = matched["pid"], matched["rest"]
        began = number
        if rest.endswith("<unfinished ...>"):
            unfinished[thread] = (number, rest.removesuffix("<unfinished ...>"))
            continue
        if (resumed := _RESUMED.match(rest)) and thread in unfinished:
            began, beginning = unfinished.pop(thread)
            rest = beginning + resumed["rest"]
        yield _Line(thread, rest, began, number)


def descriptor_tracer(output: Path) -> list[str]:
    """Return a command prefix that traces what `read_closes` reads."""
    calls = "openat,close,clone,clone3,fork,vfork,execve"
    return ["strace", "-f", "--seccomp-bpf", "-s", "300", "-e", f"trace={calls}", "-o", str(output)]


@dataclass(frozen=True)
class Close:
    """The close of a descriptor: of which file, whether SQLite had opened it, and had the file open besides."""

    path: str
    is_sqlite: bool
    has_sqlite_open: bool


def read_closes(output: Path) -> Iterator[Close]:
    """Yield the closes of files by all processes in order."""
    lines = [*_read_lines(output)]
    process_of = _processes(lines)
    # By process: descriptors, each with its path and whether SQLite opened it. A fork's are not its SQLite's.
    tables: dict[str, dict[str, tuple[str, bool]]] = {}
    for line in sorted(lines, key=lambda line: line.began if line.text.startswith("close(") else line.ended):
        process = process_of.get(line.thread, line.thread)
        table = tables.setdefault(process, {})
        if opened := _OPENED.match(line.text):
            table[opened["fd"]] = opened["path"], "O_NOFOLLOW" in opened["flags"]
        elif line.text.startswith("execve("):
            table.clear()
        elif (child := _BEGUN.match(line.text)) and "CLONE_THREAD" not in line.text:
            tables[child["child"]] = {fd: (path, False) for fd, (path, _) in table.items()} | tables.get(
                child["child"], {}
            )
        elif (closed := _CLOSED.match(line.text)) and (entry := table.pop(closed["fd"], None)):
            yield Close(*entry, (entry[0], True) in table.values())


def _processes(lines: list[_Line]) -> dict[str, str]:
    """Return the process of each thread."""
    process_of: dict[str, str] = {}
    for line in lines:
        if "CLONE_THREAD" in line.text and (begun := _BEGUN.match(line.text)):
            process_of[begun["child"]] = process_of.get(line.thread, line.thread)
    return process_of
