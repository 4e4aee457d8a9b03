"""What a database's file must hold, as its log tells: the newest of the pages that checkpoints have moved there.

A frame stays in the log until a newer one takes its place, also after a checkpoint and after the log was begun anew. A
page of the file that differs from its newest moved frame was written by something other than a checkpoint.

Source: https://www.sqlite.org/fileformat2.html (4.1 the frames of a log).
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from itertools import islice, takewhile
from math import inf
from typing import NamedTuple

from leadcrm.database.log_index import Checkpoints

SAMPLE_FRAMES = 128
"""How many of a round's newest frames tell that a file was overwritten. A copy of an earlier time lacks the last of
them."""

_LOG_HEAD_BYTES = 32
_FRAME_HEAD_BYTES = 24

_FRAME_HEAD = struct.Struct(">III")
"""The page, the number of pages after a commit, and the salt that is the round's number."""


class _Frame(NamedTuple):
    page: int
    pages_after_commit: int
    round: int
    at: int


def begins_with_commit(log: int) -> bool:
    """Say whether the log's present round has a commit."""
    frames = _Frames(log, int.from_bytes(os.pread(log, 4, 16), "big"))
    return bool(frames.page_bytes) and any(frame.pages_after_commit for frame in frames.of_this_round_from_the_start())


def lacks_moved_pages(file: int, log: int, checkpoints: Checkpoints, *, at_leisure: bool) -> bool:
    """Say whether a page of the file differs from what checkpoints have moved there.

    The answer counts only if the checkpoints are still the same afterwards.

    Args:
        file: A descriptor of the database.
        log: A descriptor of its log.
        checkpoints: What checkpoints have done with it.
        at_leisure: Look at what this round and the last one have moved, which takes milliseconds; else at one of them.
    """
    frames = _Frames(log, checkpoints.round)
    if not frames.page_bytes:
        return False
    # A checkpoint leaves out pages of which a reader does not see the newest frame yet. And while it writes, or after
    # it was cut off, those that it was to move may be in the file or not.
    newer = _NewerFrames(frames, checkpoints.moved)
    if checkpoints.moved and _lacks(file, frames, frames.of_this_round(checkpoints.moved), newer):
        return True
    if checkpoints.moved and not at_leisure:
        return False
    return _lacks(file, frames, frames.of_last_round(), _NewerFrames(frames, 0))


class _NewerFrames:
    """The round's frames from a number on, which are read only if they are asked for."""

    def __init__(self, frames: _Frames, start: int) -> None:
        self._frames = frames
        self._start = start

    def may_have_changed(self, page: int) -> bool:
        """Say whether one of them holds the page, or ends a commit that cut it off, as `VACUUM` does."""
        pages, least_pages = self._read
        return page in pages or page > least_pages

    @cached_property
    def _read(self) -> tuple[set[int], float]:
        return self._frames.pages_of_this_round_from(self._start)


def _lacks(file: int, frames: _Frames, newest_first: Iterator[_Frame], newer: _NewerFrames) -> bool:
    """Say whether the file lacks a page of frames that were all moved there and that has no newer frame."""
    seen: set[int] = set()
    pages = 0
    for frame in islice(newest_first, SAMPLE_FRAMES):
        if frame.pages_after_commit:
            pages = min(pages or frame.pages_after_commit, frame.pages_after_commit)
        # What follows the last commit was given up. Pages past the end were cut off.
        if frame.page in seen or not frame.page <= pages:
            continue
        seen.add(frame.page)
        is_moved = frames.content(frame) == os.pread(file, frames.page_bytes, (frame.page - 1) * frames.page_bytes)
        if not is_moved and not newer.may_have_changed(frame.page):
            return True
    return False


class _Frames:
    def __init__(self, log: int, round: int) -> None:
        self._log = log
        self._round = round
        self.page_bytes = int.from_bytes(os.pread(log, 4, 8), "big")
        self._step = self.page_bytes + _FRAME_HEAD_BYTES
        self._count, rest = divmod(max(0, os.fstat(log).st_size - _LOG_HEAD_BYTES), self._step)
        # SQLite cuts a log off at its limit when it is begun anew: `SQLITE_LOG_BYTES` is no whole number of frames.
        self._is_cut_off = rest > 0

    def content(self, frame: _Frame) -> bytes:
        return os.pread(self._log, self.page_bytes, frame.at + _FRAME_HEAD_BYTES)

    def of_this_round(self, end: int) -> Iterator[_Frame]:
        """Yield the round's first `end` frames, newest first."""
        numbers = range(min(end, self._count) - 1, -1, -1)
        return (frame for frame in map(self._read, numbers) if frame.round == self._round)

    def of_this_round_from_the_start(self) -> Iterator[_Frame]:
        """Yield the round's frames, oldest first."""
        return takewhile(lambda frame: frame.round == self._round, map(self._read, range(self._count)))

    def pages_of_this_round_from(self, start: int) -> tuple[set[int], float]:
        """Return the pages of the round's frames from a number on, and how many pages the smallest commit left.

        It makes no `_Frame` of each, which takes a third of the time: after a checkpoint there are thousands.
        """
        pages = set()
        least_pages = inf
        for at in range(_LOG_HEAD_BYTES + start * self._step, _LOG_HEAD_BYTES + self._count * self._step, self._step):
            head = os.pread(self._log, _FRAME_HEAD.size, at)
            if len(head) < _FRAME_HEAD.size:
                break
            page, pages_after_commit, round = _FRAME_HEAD.unpack(head)
            if round != self._round:
                break
            pages.add(page)
            if pages_after_commit:
                least_pages = min(least_pages, pages_after_commit)
        return pages, least_pages

    def of_last_round(self) -> Iterator[_Frame]:
        """Yield what newer frames have left of the last round, newest first; none if the newest were cut off."""
        # The rounds follow each other, the newest first.
        end = bisect_left(range(self._count), 2, key=lambda number: self._age(self._read(number)))
        if end == self._count and self._is_cut_off:
            return
        for number in range(end - 1, -1, -1):
            frame = self._read(number)
            if self._age(frame) != 1:
                return
            yield frame

    def _age(self, frame: _Frame) -> int:
        return (self._round - frame.round) & 0xFFFFFFFF

    def _read(self, number: int) -> _Frame:
        at = _LOG_HEAD_BYTES + number * self._step
        # Another process may cut the log off meanwhile: then the checkpoints are others, and no answer counts.
        head = os.pread(self._log, _FRAME_HEAD.size, at).ljust(_FRAME_HEAD.size, b"\0")
        page, pages, round = _FRAME_HEAD.unpack(head)
        return _Frame(page, pages, round, at)
