"""The one way a line leaves the process: gathered in memory, written by a thread.

Invariants:
- `append` never waits for the reader of the log. A reader that stopped costs lines, never leads: past
  `limit_bytes` lines are dropped, counted, and the count is logged once the log flows again.
- Lines leave whole and in the order of `append`. Several processes share one stdout; POSIX keeps a write to
  a pipe in one piece up to PIPE_BUF, so lines are cut into chunks of that size at their borders. A longer
  line goes alone, and another process can tear it only while the pipe is nearly full.
- `close` returns when all is written, or soon after `CLOSE_TIMEOUT_S` with a reader that does not read.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import stat
import threading
import time
from collections.abc import Callable, Iterator

LIMIT_BYTES = 4 * 1024 * 1024
"""Some ten thousand lines: seconds of full load, in which a restarted log collector is back."""
GATHER_S = 0.05
"""How long a line may wait for company; at thousands of lines a second this makes one wake-up of hundreds."""
CLOSE_TIMEOUT_S = 2.0
PIPE_CHUNK_BYTES = select.PIPE_BUF
FILE_CHUNK_BYTES = 256 * 1024
"""A regular file takes each write in one piece, however long."""
_POLL_MS = 100
"""How soon a close is noticed while the reader is stuck."""


class BufferedLines:
    """Lines on their way to a file descriptor.

    Args:
        stream_fd: stays the caller's; it is neither closed nor made non-blocking, since other processes
        share it.
        dropped_line: makes the line that says how many lines were dropped.
    """

    def __init__(self, stream_fd: int, dropped_line: Callable[[int], bytes], *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._stream_fd = stream_fd
        self._dropped_line = dropped_line
        self._limit_bytes = limit_bytes
        regular = stat.S_ISREG(os.fstat(stream_fd).st_mode)
        self._chunk_bytes = FILE_CHUNK_BYTES if regular else PIPE_CHUNK_BYTES
        self._begin()
        # A child has the parent's lines but not its thread: left alone it would write them twice, or never.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # Reentrant, as is the queue: a signal handler or a finalizer may log in the middle of `append`.
        self._lock = threading.RLock()
        self._lines: list[bytes] = []
        self._waiting_bytes = 0
        self._dropped = 0
        self._torn = False
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._close_deadline: float | None = None
        self._thread: threading.Thread | None = None

    def append(self, line: bytes, *, urgent: bool = False) -> None:
        """Hand a line over, its line break included; it is on its way when `close` returns, not before.

        Args:
            urgent: do not wait for company: the process may be about to die of what the line says.
        """
        size_bytes = len(line)
        with self._lock:
            if self._waiting_bytes + size_bytes > self._limit_bytes:
                self._dropped += 1
                return
            self._waiting_bytes += size_bytes
            self._lines.append(line)
            first = len(self._lines) == 1
            if self._thread is None:
                self._start()
        if first or urgent:
            self._wake.put(urgent)

    def close(self) -> None:
        """Write out what waits; lines that come later are still taken, and need a close of their own."""
        with self._lock:
            thread = self._thread
            self._close_deadline = time.monotonic() + CLOSE_TIMEOUT_S
        self._wake.put(True)
        if thread is not None:
            # The thread may be held in a write that never returns; it is a daemon and does not hold up the
            # exit.
            thread.join(CLOSE_TIMEOUT_S + 1)

    def _start(self) -> None:
        self._close_deadline = None
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # The interpreter is ending and starts no more threads.
            self._thread = None
            self._close_deadline = time.monotonic() + CLOSE_TIMEOUT_S
            self._write_waiting()

    def _run(self) -> None:
        while True:
            self._gather()
            self._write_waiting()
            with self._lock:
                if self._close_deadline is not None and not self._lines:
                    self._thread = None
                    return

    def _gather(self) -> None:
        """Wait for a line, then for its company, unless it is urgent."""
        urgent = self._wake.get()
        deadline = time.monotonic() + GATHER_S
        while not urgent and (left_s := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                urgent = self._wake.get(timeout=left_s)

    def _write_waiting(self) -> None:
        while lines := self._take():
            for chunk in _chunks(lines, self._chunk_bytes):
                written = self._write(chunk)
                with self._lock:
                    self._waiting_bytes -= len(chunk)
                    if not written:
                        self._dropped += chunk.count(b"\n")
                    dropped = self._dropped
                if written and dropped and self._write(self._dropped_line(dropped)):
                    with self._lock:
                        self._dropped -= dropped

    def _take(self) -> list[bytes]:
        # In one exchange: holding the lock line by line would make every `append` wait for its turn.
        with self._lock:
            lines, self._lines = self._lines, []
        return lines

    def _write(self, chunk: bytes) -> bool:
        """Write all of it; False if the stream is gone, or stuck past the deadline of a close."""
        rest = memoryview(b"\n" + chunk if self._torn else chunk)
        whole = len(rest)
        poller = select.poll()
        poller.register(self._stream_fd, select.POLLOUT)
        while rest:
            # Ask first: a plain write to a full pipe would hold this thread until somebody reads.
            if not poller.poll(0 if self._past_deadline() else _POLL_MS):
                if self._past_deadline():
                    self._torn = self._torn or len(rest) < whole
                    return False
                continue
            try:
                rest = rest[os.write(self._stream_fd, rest) :]
            except BlockingIOError:
                # Another process made the shared stream non-blocking, and took the room that poll saw.
                time.sleep(_POLL_MS / 1000)
            except OSError:
                # The reader is gone (EPIPE) or the disk is full: no log can say so, and leads go on without
                # one.
                self._torn = self._torn or len(rest) < whole
                return False
        self._torn = False
        return True

    def _past_deadline(self) -> bool:
        return self._close_deadline is not None and time.monotonic() > self._close_deadline


def _chunks(lines: list[bytes], chunk_bytes: int) -> Iterator[bytes]:
    """Join lines as far as `chunk_bytes` goes, never cutting one."""
    gathered: list[bytes] = []
    size_bytes = 0
    for line in lines:
        if gathered and size_bytes + len(line) > chunk_bytes:
            yield b"".join(gathered)
            gathered.clear()
            size_bytes = 0
        gathered.append(line)
        size_bytes += len(line)
    yield b"".join(gathered)
