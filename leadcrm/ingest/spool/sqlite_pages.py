"""Reads the pages of a damaged SQLite file and its log without SQLite.

SQLite rejects a file with a torn page or one shorter than its header says, and it drops every frame of a log from the
first with a wrong checksum. This module reads each page by itself, so a damaged page costs only its own rows.

Source: https://www.sqlite.org/fileformat2.html (1.6 b-tree pages, 2.1 records, 4 the log) and
https://www.sqlite.org/walformat.html (2 the index of the log, in `-shm`).
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from leadcrm.database.descriptors import close_beside_sqlite, open_beside_sqlite

Value = bytes | str | int | float | None

MAX_RECORD_BYTES = 1 << 28

_TABLE_LEAF = 0x0D
_LOG_HEAD_BYTES = 32
_FRAME_HEAD_BYTES = 24
_NUMBER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8}


class _Bytes:
    """A file as a byte sequence that is read on access; a slice that the disk cannot read is empty."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        self._size = 0
        with suppress(FileNotFoundError):
            self._descriptor = open_beside_sqlite(path)
            self._size = os.fstat(self._descriptor).st_size

    def __enter__(self) -> _Bytes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            close_beside_sqlite(self._descriptor)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        if self._descriptor is None:
            return b""
        try:
            return os.pread(self._descriptor, max(0, stop - start), start)
        except OSError:
            return b""


class Pages:
    """Every copy of every page that a file and its log still hold; a context manager."""

    def __init__(self, path: Path, *, with_old_frames: bool = False) -> None:
        """Open the file at `path` and its log.

        Args:
            path: The file.
            with_old_frames: Read the frames that earlier rounds of the log have left behind too.

        Raises:
            OSError: One of them cannot be opened.
        """
        self._file = _Bytes(path)
        self._log = _Bytes(Path(f"{path}-wal"))
        self.size = _page_size(self._file, self._log)
        self._frames = [*self._list_frames(with_old_frames)]
        # Where both hold a page, the frame of the current round is the newer one.
        self._latest = dict(self._frames) | dict(self._list_frames(False))

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__()
        self._log.__exit__()

    def records(self) -> Iterator[list[Value]]:
        """Yield the readable rows of all tables, in no order; a row may appear more than once."""
        # A log has dozens of versions of a page, nearly all of whose rows are in the one before.
        seen: set[int] = set()
        for number in range(len(self._file) // self.size + 1):
            yield from self._records_in(self._file[number * self.size : (number + 1) * self.size], number == 0, None)
        for number, start in self._frames:
            yield from self._records_in(self._log[start : start + self.size], number == 1, seen)

    def _list_frames(self, with_old_frames: bool) -> Iterator[tuple[int, int]]:
        """Yield the page number and the start of each frame that counts, right checksum or not."""
        salts = self._log[16:24]
        step = _FRAME_HEAD_BYTES + self.size
        for at in range(_LOG_HEAD_BYTES, len(self._log) - step + 1, step):
            if with_old_frames or self._log[at + 8 : at + 16] == salts:
                yield int.from_bytes(self._log[at : at + 4], "big"), at + _FRAME_HEAD_BYTES

    def _records_in(self, page: bytes, is_first: bool, seen: set[int] | None) -> Iterator[list[Value]]:
        head = 100 if is_first else 0
        if len(page) < head + 8 or page[head] != _TABLE_LEAF:
            return
        cells = int.from_bytes(page[head + 3 : head + 5], "big")
        for index in range(cells):
            at = int.from_bytes(page[head + 8 + 2 * index : head + 10 + 2 * index], "big")
            try:
                payload = self._payload(page, at)
                if seen is not None:
                    if (key := hash(payload)) in seen:
                        continue
                    seen.add(key)
                yield _record(payload)
            except (IndexError, ValueError, struct.error):
                continue

    def _payload(self, page: bytes, at: int) -> bytes:
        size, at = _varint(page, at)
        _, at = _varint(page, at)
        if size > MAX_RECORD_BYTES:
            raise ValueError("no record is so large")
        most = self.size - 35
        least = (self.size - 12) * 32 // 255 - 23
        local = size
        if size > most:
            local = least + (size - least) % (self.size - 4)
            local = local if local <= most else least
        if at + local > len(page):
            raise ValueError("the record leaves its page")
        parts = [page[at : at + local]]
        left = size - local
        following = int.from_bytes(page[at + local : at + local + 4], "big") if left else 0
        while left > 0:
            overflow = self._page(following)
            parts.append(overflow[4 : 4 + left])
            left -= self.size - 4
            following = int.from_bytes(overflow[:4], "big")
        return b"".join(parts)

    def _page(self, number: int) -> bytes:
        start = self._latest.get(number)
        source, start = (self._file, (number - 1) * self.size) if start is None else (self._log, start)
        page = source[start : start + self.size] if number > 0 else b""
        if len(page) < self.size:
            raise ValueError("the page is not there")
        return page


def lost_from_log(path: Path) -> str | None:
    """Describe the frames that the log of the file at `path` has lost; None if it has lost none.

    SQLite does not report such a loss: it takes the first wrong checksum for the end of the log. Call this before any
    process opens the file, because SQLite then overwrites the rest of the log.
    """
    # A checkpoint between reading the index and reading the log looks like a loss, but not twice.
    return _lost_from_log(path) and _lost_from_log(path)


def _lost_from_log(path: Path) -> str | None:
    with ExitStack() as opened:
        # Read the index first, so that a log which grows meanwhile can only hold more than the index says.
        index = opened.enter_context(_Bytes(Path(f"{path}-shm")))[:100]
        log = opened.enter_context(_Bytes(Path(f"{path}-wal")))
        file = opened.enter_context(_Bytes(path))
        whole, later = _count_frames(log, _page_size(file, log))
        salts = log[16:24]
    is_index = len(index) == 100 and index[:48] == index[48:96] and index[12] == 1
    if is_index and (len(log) < _LOG_HEAD_BYTES or index[32:40] == salts):
        promised, moved = (int.from_bytes(index[at : at + 4], sys.byteorder) for at in (16, 96))
        return f"its log holds {whole} of {promised} frames" if promised > max(whole, moved) else None
    return f"its log is torn after {whole} frames, and {later} commits follow" if later else None


def _count_frames(log: _Bytes, size: int) -> tuple[int, int]:
    """Return the number of valid frames up to their last commit, and the number of commits after the invalid frame."""
    log_head = log[:_LOG_HEAD_BYTES]
    if len(log_head) < _LOG_HEAD_BYTES:
        return 0, 0
    order = ">" if log_head[3] & 1 else "<"
    sums = _checksum(log_head[:24], (0, 0), order)
    adds_up = struct.unpack(">II", log_head[24:]) == sums
    step = _FRAME_HEAD_BYTES + size
    whole = later = 0
    for number, at in enumerate(range(_LOG_HEAD_BYTES, len(log) - step + 1, step), 1):
        frame = log[at : at + step]
        if len(frame) < step or frame[8:16] != log_head[16:24]:
            adds_up = False
            continue
        is_commit = frame[4:8] != b"\0\0\0\0"
        if adds_up:
            sums = _checksum(frame[_FRAME_HEAD_BYTES:], _checksum(frame[:8], sums, order), order)
            adds_up = struct.unpack(">II", frame[16:24]) == sums
            whole = number if adds_up and is_commit else whole
        later += is_commit and not adds_up
    return whole, later


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def _record(payload: bytes) -> list[Value]:
    head_size, at = _varint(payload, 0)
    body = head_size
    values: list[Value] = []
    while at < head_size:
        kind, at = _varint(payload, at)
        value, body = _value(payload, kind, body)
        values.append(value)
    return values


def _value(payload: bytes, kind: int, at: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    size = (kind - 12) // 2 if kind >= 12 else _NUMBER_BYTES.get(kind, 0)
    data = payload[at : at + size]
    if len(data) < size or kind in (10, 11):
        raise ValueError("the record ends early")
    if kind >= 12:
        return (data.decode() if kind % 2 else data), at + size
    return (struct.unpack(">d", data)[0] if kind == 7 else int.from_bytes(data, "big", signed=True)), at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9


def _page_size(file: _Bytes, log: _Bytes) -> int:
    sizes = (int.from_bytes(file[16:18], "big"), int.from_bytes(log[8:12], "big"))
    for size in (65536 if sizes[0] == 1 else sizes[0], sizes[1]):
        if 512 <= size <= 65536 and size & (size - 1) == 0:
            return size
    return 4096
