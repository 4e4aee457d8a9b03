"""The only way for a line out of the process: buffered in memory, written by a thread.

Invariants:
- `append` never waits for the reader of the log. A reader that has stopped costs lines, never leads: past
  `limit_bytes` lines are dropped and counted, and the count is logged once the log flows again.
- Lines are written whole and in the order of `append`. Several processes share one stdout; POSIX keeps a write to a
  pipe in one piece up to PIPE_BUF, so lines are grouped into chunks of at most that size. A longer line goes alone, and
  another process can tear it only while the pipe is nearly full.
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
"""Some ten thousand lines: seconds at full load, enough for a log collector to restart."""
GATHER_S = 0.05
"""How long a line may wait for others; at thousands of lines a second this saves hundreds of wake-ups."""
CLOSE_TIMEOUT_S = 2.0
PIPE_CHUNK_BYTES = select.PIPE_BUF
FILE_CHUNK_BYTES = 256 * 1024
"""A regular file takes each write in one piece, however long."""
_POLL_MS = 100
"""How soon a close is noticed while the reader is stuck."""


class BufferedLines:
    """Lines on their way to a file descriptor.

    Args:
        stream_fd: stays the caller's; it is neither closed nor made non-blocking, since other processes share it.
        dropped_line: returns the line that says how many lines were dropped.
        limit_bytes: how much may wait before lines are dropped.
    """

    def __init__(self, stream_fd: int, dropped_line: Callable[[int], bytes], *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._stream_fd = stream_fd
        self._dropped_line = dropped_line
        self._limit_bytes = limit_bytes
        regular = stat.S_ISREG(os.fstat(stream_fd).st_mode)
        self._chunk_bytes = FILE_CHUNK_BYTES if regular else PIPE_CHUNK_BYTES
        self._begin()
        # A forked child has the parent's lines but not its thread: it would write them again, or never.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # Reentrant, like the queue: a signal handler or a finalizer may log in the middle of `append`.
        self._lock = threading.RLock()
        self._lines: list[bytes] = []
        self._waiting_bytes = 0
        self._dropped = 0
        self._torn = False
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._close_deadline: float | None = None
        self._thread: threading.Thread | None = None

    def append(self, line: bytes, *, urgent: bool = False) -> None:
        """Buffer a line, its line break included; only after `close` is it surely written.

        Args:
            urgent: write it at once: the process may be about to die of the error that the line reports.
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
        """Write out the lines that wait. Lines that come later are accepted too, and need another close."""
        with self._lock:
            thread = self._thread
            self._close_deadline = time.monotonic() + CLOSE_TIMEOUT_S
        self._wake.put(True)
        if thread is not None:
            # The thread may hang in a write that never returns. As a daemon it does not delay the exit.
            thread.join(CLOSE_TIMEOUT_S + 1)

    def _start(self) -> None:
        self._close_deadline = None
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # The interpreter is shutting down and starts no more threads.
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
        """Wait for a line, then for others to join it, unless it is urgent."""
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
        # All at once: taking the lock for each line would make every `append` wait.
        with self._lock:
            lines, self._lines = self._lines, []
        return lines

    def _write(self, chunk: bytes) -> bool:
        """Write all of a chunk; return False if the stream is gone, or stuck past the deadline of a close."""
        rest = memoryview(b"\n" + chunk if self._torn else chunk)
        whole = len(rest)
        poller = select.poll()
        poller.register(self._stream_fd, select.POLLOUT)
        while rest:
            # Poll first: a write to a full pipe would block this thread until the reader reads.
            if not poller.poll(0 if self._past_deadline() else _POLL_MS):
                if self._past_deadline():
                    self._torn = self._torn or len(rest) < whole
                    return False
                continue
            try:
                rest = rest[os.write(self._stream_fd, rest) :]
            except BlockingIOError:
                # Another process made the shared stream non-blocking, and used the room that poll reported.
                time.sleep(_POLL_MS / 1000)
            except OSError:
                # The reader is gone (EPIPE) or the disk is full. No log can say so, and leads do not need one.
                self._torn = self._torn or len(rest) < whole
                return False
        self._torn = False
        return True

    def _past_deadline(self) -> bool:
        return self._close_deadline is not None and time.monotonic() > self._close_deadline


def _chunks(lines: list[bytes], chunk_bytes: int) -> Iterator[bytes]:
    """Join whole lines into chunks of at most `chunk_bytes`."""
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
