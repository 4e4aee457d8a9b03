"""The delivery of log lines: complete and in order, flushed at every stop, and never a wait for the code that logs."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadcrm.logs import buffered_lines
from leadcrm.logs.buffered_lines import CLOSE_TIMEOUT_S, BufferedLines
from leadcrm.logs.setup import configure
from tests.support.log_file import LogFile
from tests.support.server import REPOSITORY

log = logging.getLogger("leadcrm.test")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of the smallest size, so that it is soon full."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(writer)
    os.close(reader)


def dropped_line(count: int) -> bytes:
    return b"dropped %d\n" % count


def read_all(reader: int, until: bytes) -> bytes:
    """Read a pipe until this text has arrived."""
    read = b""
    while until not in read:
        assert select.select([reader], [], [], 10)[0]
        read += os.read(reader, 65536)
    return read


def test_a_single_line_arrives_without_a_close(pipe: tuple[int, int]) -> None:
    reader, stream_fd = pipe
    writer = configure("info", False, stream_fd)
    writer.request({"status": 201})
    assert read_all(reader, b"\n").count(b"\n") == 1
    writer.close()


def test_an_error_is_written_at_once_with_the_lines_before_it(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffered_lines, "GATHER_S", 3600.0)
    reader, stream_fd = pipe
    writer = configure("info", False, stream_fd)
    for message in ("the last words", "and its death"):
        log.warning(message)
        log.error("an error after %s", message)
        assert message.encode() in read_all(reader, b"an error")
    writer.close()


def test_a_close_loses_no_line_of_several_threads(pipe: tuple[int, int]) -> None:
    reader, stream_fd = pipe
    writer = configure("info", False, stream_fd)
    received: list[bytes] = []

    def receive() -> None:
        while chunk := os.read(reader, 65536):
            received.append(chunk)
            if b"last line" in chunk:
                return

    def send(name: int) -> None:
        for number in range(2000):
            writer.request({"name": name, "number": number})

    receiver = threading.Thread(target=receive)
    senders = [threading.Thread(target=send, args=(name,)) for name in range(4)]
    for thread in (receiver, *senders):
        thread.start()
    for thread in senders:
        thread.join()
    log.info("last line")
    writer.close()
    receiver.join()
    lines = [json.loads(line) for line in b"".join(received).splitlines()]
    assert len(lines) == 8001
    for name in range(4):
        assert [line["number"] for line in lines if line.get("name") == name] == list(range(2000))


def test_lines_after_a_close_are_still_written(log_file: LogFile) -> None:
    writer = log_file.start()
    log.info("before")
    writer.close()
    log.info("after")
    assert [line["msg"] for line in log_file.lines()] == ["before", "after"]


def test_a_stuck_reader_blocks_no_thread_and_every_line_is_written_or_counted(pipe: tuple[int, int]) -> None:
    reader, stream_fd = pipe
    lines = BufferedLines(stream_fd, dropped_line, limit_bytes=20_000)
    started = time.monotonic()
    for _ in range(1000):
        lines.append(b"x" * 99 + b"\n")
    assert time.monotonic() - started < 1
    read = read_all(reader, b"dropped")
    # Before the reader read, only the buffer (20,000 bytes) and the pipe (4,096) could hold lines.
    closing = threading.Thread(target=lines.close)
    closing.start()
    while closing.is_alive() or select.select([reader], [], [], 0)[0]:
        if select.select([reader], [], [], 0.01)[0]:
            read += os.read(reader, 65536)
    closing.join()
    kept = read.count(b"x\n")
    assert 200 <= kept <= 241
    assert kept + sum(map(int, re.findall(rb"dropped (\d+)\n", read))) == 1000


def test_a_close_gives_up_on_a_stuck_reader(pipe: tuple[int, int]) -> None:
    _, stream_fd = pipe
    lines = BufferedLines(stream_fd, dropped_line)
    for _ in range(1000):
        lines.append(b"x" * 99 + b"\n")
    started = time.monotonic()
    lines.close()
    assert CLOSE_TIMEOUT_S * 0.9 < time.monotonic() - started < CLOSE_TIMEOUT_S + 1.5


def test_a_missing_reader_costs_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    reader, stream_fd = os.pipe()
    os.close(reader)
    lines = BufferedLines(stream_fd, dropped_line, limit_bytes=1000)
    for _ in range(100):
        lines.append(b"x" * 99 + b"\n", urgent=True)
    lines.close()
    # A new reader takes over the stream, as journald does after a restart.
    os.dup2(pipe[1], stream_fd)
    lines.append(b"end\n")
    read = read_all(pipe[0], b"dropped")
    lines.close()
    assert read.startswith(b"end\n")
    assert b"dropped 100\n" in read
    os.close(stream_fd)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_costs_lines_and_does_not_loop_for_ever(tmp_path: Path) -> None:
    stream_fd = os.open("/dev/full", os.O_WRONLY)
    lines = BufferedLines(stream_fd, dropped_line)
    for _ in range(100):
        lines.append(b"x" * 99 + b"\n")
    started = time.monotonic()
    lines.close()
    assert time.monotonic() - started < CLOSE_TIMEOUT_S
    replacement = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(replacement, stream_fd)
    os.close(replacement)
    lines.append(b"end\n")
    lines.close()
    os.close(stream_fd)
    assert (tmp_path / "log").read_bytes() == b"end\ndropped 100\n"


def test_a_non_blocking_stream_loses_no_line(pipe: tuple[int, int]) -> None:
    reader, stream_fd = pipe
    os.set_blocking(stream_fd, False)
    lines = BufferedLines(stream_fd, dropped_line)
    sent = [b"%d " % number + b"x" * number + b"\n" for number in range(0, 9000, 500)]
    for line in sent:
        lines.append(line)
    lines.append(b"end\n")
    assert read_all(reader, b"end\n") == b"".join(sent) + b"end\n"
    lines.close()


def test_a_line_after_one_that_was_torn_begins_a_line_of_its_own(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffered_lines, "CLOSE_TIMEOUT_S", 0.2)
    reader, stream_fd = pipe
    os.set_blocking(stream_fd, False)
    lines = BufferedLines(stream_fd, dropped_line)
    lines.append(b"x" * 10_000 + b"\n")
    lines.close()
    torn = os.read(reader, 65536)
    assert set(torn) == set(b"x")
    lines.append(b"whole\n")
    assert read_all(reader, b"dropped 1\n") == b"\nwhole\ndropped 1\n"
    lines.close()


def test_processes_that_share_a_pipe_do_not_tear_lines() -> None:
    program = """
import sys
from leadcrm.logs.setup import configure
writer = configure("info", False)
for number in range(3000):
    writer.request({"name": sys.argv[1], "number": number, "filling": "x" * (number % 700)})
writer.close()
"""
    reader, stream_fd = os.pipe()
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(name)], stdout=stream_fd, env=environ) for name in range(2)
    ]
    os.close(stream_fd)
    with os.fdopen(reader, "rb") as stream:
        lines = [json.loads(line) for line in stream]
    assert [process.wait(10) for process in processes] == [0, 0]
    for name in ("0", "1"):
        assert [line["number"] for line in lines if line["name"] == name] == list(range(3000))


def test_a_forked_child_writes_its_own_lines_and_not_its_parents(log_file: LogFile) -> None:
    program = f"""
import os
from leadcrm.logs.setup import configure
fd = os.open({str(log_file.path)!r}, os.O_WRONLY | os.O_APPEND)
writer = configure("info", False, fd)
writer.request({{"of": "parent"}})
child = os.fork()
if child == 0:
    writer.request({{"of": "child before its configure"}})
    writer = configure("info", False, fd)
    writer.request({{"of": "child"}})
    writer.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", program],
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    lines = [json.loads(line)["of"] for line in log_file.path.read_text().splitlines()]
    assert sorted(lines) == ["child", "child before its configure", "parent"]


def test_the_log_is_flushed_when_the_interpreter_exits(log_file: LogFile) -> None:
    program = """
import logging
from leadcrm.logs.setup import configure
configure("info", False)
logging.getLogger("leadcrm").info("nearly over")
raise SystemExit(3)
"""
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], stdout=log_file.stream_fd, env=environ, check=False)
    assert done.returncode == 3
    assert json.loads(log_file.path.read_text())["msg"] == "nearly over"


def test_configuring_again_flushes_the_previous_log(log_file: LogFile, tmp_path: Path) -> None:
    log_file.start()
    log.info("former")
    other = LogFile(tmp_path / "other")
    other.start()
    assert json.loads(log_file.path.read_text())["msg"] == "former"
    log.info("latter")
    assert other.line()["msg"] == "latter"
    os.close(other.stream_fd)


def test_a_signal_handler_that_logs_in_the_middle_of_a_line_causes_no_deadlock(log_file: LogFile) -> None:
    program = """
import logging, signal
from leadcrm.logs.setup import configure
# However late the log is written, none of it is dropped.
writer = configure("info", False, limit_bytes=1 << 30)
handled = []
def handle(number, frame):
    logging.getLogger("leadcrm").error("signal")
    writer.request({"of": "signal"})
    handled.append(number)
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while len(handled) < 500:
    writer.request({"of": "loop"})
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
writer.request({"handled": len(handled)})
writer.close()
"""
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", program]
    subprocess.run(command, stdout=log_file.stream_fd, env=environ, check=True, timeout=60)
    lines = [json.loads(line) for line in log_file.path.read_text().splitlines()]
    handled = lines[-1]["handled"]
    assert handled >= 500
    assert sum(line["msg"] == "signal" for line in lines) == handled
    assert sum(line.get("of") == "signal" for line in lines) == handled
