"""The two drivers run the same operation: one blocks, the other uses the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvloop

from leadcrm.errors import StoreUnavailable
from leadcrm.ingest.driving import InThread, LoopDriver, Operation, Readable, Writable, block

Drive = Callable[[Operation[str]], str]


def drive_in_loop(operation: Operation[str]) -> str:
    """Run an operation as the writer does, with a check for overdue waits every 10 ms."""
    ended: list[str | Exception] = []

    def record_end() -> Operation[None]:
        try:
            ended.append((yield from operation))
        except Exception as error:
            ended.append(error)

    async def main() -> None:
        driver = LoopDriver("a-driver")
        driver.start(asyncio.get_running_loop())
        driver.run(record_end())
        while not ended:
            await asyncio.sleep(0.01)
            driver.give_up_overdue(time.monotonic())
        driver.end()
        await asyncio.to_thread(driver.join)

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    (result,) = ended
    if isinstance(result, Exception):
        raise result
    return result


@pytest.fixture(params=[block, drive_in_loop])
def drive(request: pytest.FixtureRequest) -> Drive:
    """Each driver in turn."""
    driver: Drive = request.param
    return driver


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def in_s(seconds: float) -> float:
    return time.monotonic() + seconds


def test_an_operation_waits_for_sockets_and_calls_and_returns_its_value(
    drive: Drive, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair

    def operation() -> Operation[str]:
        yield Writable(ours.fileno(), in_s(5))
        ours.send(b"asked ")
        text = yield InThread(lambda: theirs.recv(100))
        threading.Timer(0.05, theirs.send, [text + b"and answered"]).start()
        yield Readable(ours.fileno(), in_s(5))
        return ours.recv(100).decode()

    assert drive(operation()) == "asked and answered"


def test_a_steps_error_is_raised_in_the_operation_which_may_catch_it(drive: Drive) -> None:
    def fail() -> None:
        raise OSError("no disk")

    def operation() -> Operation[str]:
        try:
            yield InThread(fail)
        except OSError as error:
            text = f"caught: {error}"
        again = yield InThread(lambda: text)
        return str(again)

    assert drive(operation()) == "caught: no disk"


def test_an_error_of_the_operation_reaches_the_caller(drive: Drive) -> None:
    def operation() -> Operation[str]:
        yield InThread(os.getpid)
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        drive(operation())


@pytest.mark.parametrize("kind", [Readable, Writable])
def test_the_wait_for_a_socket_that_is_not_ready_in_time_raises(
    drive: Drive, pair: tuple[socket.socket, socket.socket], kind: type[Readable] | type[Writable]
) -> None:
    ours, _ = pair
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while ours.send(b"x" * 65536):
            pass

    def operation() -> Operation[str]:
        until = in_s(0.1)
        try:
            yield kind(ours.fileno(), until)
        except StoreUnavailable as error:
            assert 0 <= time.monotonic() - until < 1
            return str(error)
        return "it was ready"

    assert drive(operation()) == "the database did not answer within its deadline"


def test_the_loop_driver_makes_calls_in_its_own_thread() -> None:
    def operation() -> Operation[str]:
        name = yield InThread(lambda: threading.current_thread().name)
        return str(name)

    assert drive_in_loop(operation()) == "a-driver"
    assert block(operation()) == threading.current_thread().name


def test_a_descriptor_whose_number_another_file_got_is_waited_for(
    drive: Drive, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair

    def replace() -> None:
        one, other = socket.socketpair()
        with one, other:
            os.dup2(one.fileno(), ours.fileno())
            other.send(b"second")

    def operation() -> Operation[str]:
        theirs.send(b"first")
        yield Readable(ours.fileno(), in_s(5))
        first = ours.recv(100)
        yield InThread(replace)
        yield Readable(ours.fileno(), in_s(5))
        return (first + b" " + ours.recv(100)).decode()

    assert drive(operation()) == "first second"


def test_the_loop_does_not_turn_for_bytes_that_no_operation_waits_for(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair

    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        received: asyncio.Queue[bytes] = asyncio.Queue()
        has_come = asyncio.Event()

        def operation() -> Operation[None]:
            yield Readable(ours.fileno(), in_s(5))
            received.put_nowait(ours.recv(100))

        driver = LoopDriver("a-driver")
        driver.start(loop)
        theirs.send(b"asked")
        driver.run(operation())
        first = await received.get()
        with ours.dup() as another:
            loop.add_reader(another.fileno(), has_come.set)
            theirs.send(b"unasked")
            await has_come.wait()
            loop.remove_reader(another.fileno())
        await asyncio.sleep(0)
        assert not loop.remove_reader(ours.fileno()), "it is still watched"
        driver.run(operation())
        second = await received.get()
        driver.end()
        return [first, second]

    assert uvloop.run(asyncio.wait_for(main(), 10)) == [b"asked", b"unasked"]
