"""Operations, the steps that they wait for, and the two drivers that wait.

An operation, such as keeping a batch, is a generator. It yields a step for each wait and is resumed with the step's
result or with its error. The driver decides how to wait: `block` waits in the calling thread, for commands and the
recovery thread; `LoopDriver` waits on the event loop, for leads. So each operation is written once.
"""

from __future__ import annotations

import asyncio
import select
import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from leadcrm.database.postgres import NO_ANSWER
from leadcrm.errors import StoreUnavailable

T = TypeVar("T")


class Readable(NamedTuple):
    """Wait until the descriptor can be read, but no longer than `until` (monotonic)."""

    descriptor: int
    until: float


class Writable(NamedTuple):
    """Wait until the descriptor can be written to, but no longer than `until` (monotonic)."""

    descriptor: int
    until: float


class InThread(NamedTuple):
    """Make the call in a thread that may block; its return value or its error is the step's result."""

    call: Callable[[], Any]


Step = Readable | Writable | InThread

Operation = Generator[Step, Any, T]


def block(operation: Operation[T]) -> T:
    """Run an operation in this thread and return its value.

    If a socket is not ready in time, `StoreUnavailable` is raised in the operation.
    """
    try:
        step = next(operation)
        while True:
            try:
                result = None
                if isinstance(step, InThread):
                    result = step.call()
                else:
                    _wait(step)
            except Exception as error:
                step = operation.throw(error)
            else:
                step = operation.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


def _wait(step: Readable | Writable) -> None:
    poller = select.poll()
    poller.register(step.descriptor, select.POLLIN if isinstance(step, Readable) else select.POLLOUT)
    if not poller.poll(max(0.0, (step.until - monotonic()) * 1000)):
        raise StoreUnavailable(NO_ANSWER)


class LoopDriver:
    """Runs operations on the event loop, and the calls of their `InThread` steps in a thread of its own.

    It runs one operation at a time: start the next only after the last one has no step left to wait for.
    """

    def __init__(self, name: str) -> None:
        """Create the thread, named `name`; nothing runs before `start`."""
        self._calls: SimpleQueue[tuple[Operation[None], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._make_calls, name=name, daemon=True)
        self._waiting: tuple[Operation[None], Readable | Writable] | None = None
        self._watched: int | None = None
        """The descriptor that the loop watches for reading, also between two operations: to begin and to end that for
        each batch takes as long as half of what else the loop does with its socket."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread; operations run on `loop`."""
        self._loop = loop
        self._thread.start()

    @property
    def is_started(self) -> bool:
        """Say whether `start` was called."""
        return self._thread.ident is not None

    def run(self, operation: Operation[None]) -> None:
        """Run an operation up to its first step, and resume it with each step's result."""
        self._resume(operation, None)

    def give_up_overdue(self, now: float) -> None:
        """If the wait for a socket is overdue at `now` (monotonic), raise `StoreUnavailable` in its operation."""
        if self._waiting is None or now < self._waiting[1].until:
            return
        self._fail(self._end_wait(), StoreUnavailable(NO_ANSWER))

    def end(self) -> None:
        """End the thread after the queued calls."""
        self._calls.put(None)

    def join(self) -> None:
        """Block until the thread has ended."""
        self._thread.join()

    def _resume(self, operation: Operation[None], result: Any) -> None:
        try:
            step = operation.send(result)
        except StopIteration:
            return
        self._wait_for(operation, step)

    def _fail(self, operation: Operation[None], error: Exception) -> None:
        try:
            step = operation.throw(error)
        except StopIteration:
            return
        self._wait_for(operation, step)

    def _wait_for(self, operation: Operation[None], step: Step) -> None:
        if isinstance(step, InThread):
            # The call may close the descriptor, whose number then belongs to another file.
            self._watch(None)
            self._calls.put((operation, step.call))
            return
        self._waiting = operation, step
        if isinstance(step, Readable):
            self._watch(step.descriptor)
        else:
            self._loop.add_writer(step.descriptor, self._on_writable)

    def _watch(self, descriptor: int | None) -> None:
        if descriptor == self._watched:
            return
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
        if descriptor is not None:
            self._loop.add_reader(descriptor, self._on_readable)
        self._watched = descriptor

    def _on_readable(self) -> None:
        if self._waiting is None or isinstance(self._waiting[1], Writable):
            # The server says something unasked, such as that it stops. It stays readable, so watch it once one waits.
            self._watch(None)
            return
        self._resume(self._end_wait(), None)

    def _on_writable(self) -> None:
        self._resume(self._end_wait(), None)

    def _end_wait(self) -> Operation[None]:
        assert self._waiting is not None
        (operation, step), self._waiting = self._waiting, None
        if isinstance(step, Writable):
            self._loop.remove_writer(step.descriptor)
        return operation

    def _make_calls(self) -> None:
        while queued := self._calls.get():
            operation, call = queued
            try:
                result = call()
            except Exception as error:
                self._loop.call_soon_threadsafe(self._fail, operation, error)
            else:
                self._loop.call_soon_threadsafe(self._resume, operation, result)
