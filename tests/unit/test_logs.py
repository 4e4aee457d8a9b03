"""The log: every line one JSON object, none lost on a stop, none waited for, and no database's text in any."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import select
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadcrm.errors import StoreUnavailable
from leadcrm.logs.buffered_lines import CLOSE_TIMEOUT_S, BufferedLines
from leadcrm.logs.setup import LONGEST_LINE_BYTES, TRACE, LogWriter, RepeatFilter, configure, json_renderer

NAMES = ("leadcrm", "sanic", "asyncio", "pony", "concurrent.futures")
SANIC = ("sanic.root", "sanic.error", "sanic.server", "sanic.websockets", "sanic.access")
log = logging.getLogger("leadcrm.test")


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (*NAMES, *SANIC)]
    before = [(logger.handlers[:], logger.level, logger.propagate, logger.disabled) for logger in loggers]
    yield
    for logger, (handlers, level, propagate, disabled) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate
        logger.disabled = disabled


class Log:
    """A log that goes to a file, and what it holds once closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.writer: LogWriter | None = None

    def start(self, level: str = "info", *, development: bool = False) -> LogWriter:
        self.writer = configure(level, development, self.stream_fd)
        return self.writer

    def text(self) -> str:
        assert self.writer is not None
        self.writer.close()
        return self.path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def line(self) -> dict[str, Any]:
        (line,) = self.lines()
        return line


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Log]:
    log_file = Log(tmp_path / "log")
    yield log_file
    if log_file.writer is not None:
        log_file.writer.close()
    os.close(log_file.stream_fd)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of the least size, so that it is soon full."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(writer)
    os.close(reader)


def dropped_line(count: int) -> bytes:
    return b"dropped %d\n" % count


def read_all(reader: int, until: bytes) -> bytes:
    """Read a pipe until a text has arrived."""
    read = b""
    while until not in read:
        assert select.select([reader], [], [], 10)[0]
        read += os.read(reader, 65536)
    return read


def test_a_line_has_the_time_in_utc_the_level_and_the_message(journal: Log) -> None:
    journal.start()
    log.info("drained %d rows", 3, extra={"rows": 3, "node": "a"})
    line = journal.line()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "info", "msg": "drained 3 rows", "rows": 3, "node": "a"}


def test_every_level_has_its_name(journal: Log) -> None:
    journal.start("trace")
    for number in (TRACE, logging.DEBUG, logging.INFO, 25, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.log(number, "x")
    assert [line["level"] for line in journal.lines()] == [
        "trace",
        "debug",
        "info",
        "info",
        "warn",
        "error",
        "fatal",
    ]


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        ("debug", ["debug", "info", "info", "warn", "error"]),
        ("info", ["info", "info", "warn", "error"]),
        ("warn", ["warn", "error"]),
        ("fatal", []),
    ],
)
def test_the_level_holds_for_request_lines_too(journal: Log, level: str, kept: list[str]) -> None:
    writer = journal.start(level)
    log.debug("x")
    log.info("x")
    writer.request({"status": 201})
    log.warning("x")
    log.error("x")
    assert [line["level"] for line in journal.lines()] == kept


def test_a_request_line_carries_its_fields(journal: Log) -> None:
    fields = {
        "method": "POST",
        "url": "/api/lead",
        "status": 201,
        "duration_ms": 1.25,
        "request_id": "r-1",
        "idempotency_key": None,
        "lead_id": "0190c7e2-6b7a-7000-8000-000000000000",
        "outcome": "created",
    }
    journal.start().request(fields)
    line = journal.line()
    assert line.pop("time")
    assert line == {"level": "info", "msg": "request"} | fields


def test_lines_keep_their_order_whichever_way_they_came(journal: Log) -> None:
    writer = journal.start()
    for number in range(100):
        writer.request({"number": 2 * number})
        log.info("x", extra={"number": 2 * number + 1})
    assert [line["number"] for line in journal.lines()] == list(range(200))


HOSTILE = [
    "line\nbreak\r\n",
    "\x00\x1b[2J\x7f",
    "\u2028\u2029\x85",
    "\u202egnp.exe",
    "caf\udce9",
    '"}\n{"level":"fatal',
    b"\xff\x00bytes",
    10**30,
    -(10**30),
    float("nan"),
    {"a": {1: b"x"}},
    ["\ud800"],
    {"set"},
    Path("/tmp"),
    object(),
]


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_hostile_values_leave_one_line_of_json(journal: Log, value: object) -> None:
    writer = journal.start()
    writer.request({"url": value})
    log.warning("%s", value, extra={"value": value})
    text = journal.text()
    # The widest reading of "line": what str.splitlines and terminals take for a line's end.
    first, second = text.splitlines()
    assert json.loads(first)["msg"] == "request"
    assert json.loads(second)["level"] == "warn"
    assert not re.search("[\x00-\x09\x0b-\x1f\x80-\x9f\u2028\u2029\u202e]", text)


@given(
    st.recursive(
        st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.none(), st.text("\ud800\udfff\u2028\n")),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.one_of(st.text(), st.integers()), inner)),
    )
)
def test_any_value_leaves_one_line_of_json(value: object) -> None:
    line = json_renderer()("info", "request", {"value": value})
    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1
    assert "value" in json.loads(line)


def test_a_value_whose_text_fails_does_not_fail_what_logs_it(journal: Log, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    journal.start()
    log.info("x", extra={"value": Broken()})
    log.info("still here")
    assert [line["msg"] for line in journal.lines()] == ["still here"]
    assert "Broken" not in capsys.readouterr().out


def test_arguments_that_do_not_fit_their_text_cost_only_themselves(journal: Log) -> None:
    journal.start()
    log.info("%d rows", "three")
    assert journal.line()["msg"] == "%d rows"


def test_a_line_never_grows_longer_than_a_log_collector_takes(journal: Log) -> None:
    journal.start().request({"url": "\n" * 500_000, "status": 201})
    text = journal.text()
    assert len(text) <= LONGEST_LINE_BYTES
    assert json.loads(text)["status"] == 201


def test_an_exception_has_its_type_its_text_and_its_way(journal: Log) -> None:
    journal.start()
    try:
        try:
            int("x")
        except ValueError as error:
            raise LookupError("no such thing") from error
    except LookupError:
        log.exception("it failed")
    line = journal.line()
    assert (line["level"], line["error"]) == ("error", "LookupError: no such thing")
    assert "ValueError: invalid literal" in line["stack"]
    assert line["stack"].index("ValueError") < line["stack"].index("which led to")
    assert "test_logs.py" in line["stack"]


def test_a_runaway_recursion_leaves_a_short_stack(journal: Log) -> None:
    def recurse() -> None:
        recurse()

    journal.start()
    try:
        recurse()
    except RecursionError:
        log.exception("deep")
    assert len(journal.line()["stack"]) <= 16 * 1024


class Diagnostics:
    constraint_name = "leads_raw_key"
    table_name = "leads_raw"
    column_name = None
    message_detail = "Key (email)=(anna@example.com) already exists."


class DriverError(psycopg2.IntegrityError):
    """As the driver raises it after a server's refusal, whose attributes cannot be set from Python."""

    pgcode = "23505"
    diag = Diagnostics  # type: ignore[assignment]


DRIVERS_TEXT = "duplicate key\nDETAIL:  Key (email)=(anna@example.com) already exists."


class PonyError(Exception):
    """As Pony raises it: its own class around the driver's."""

    def __init__(self, original: Exception) -> None:
        super().__init__(str(original))
        self.original_exc = original


@pytest.mark.parametrize("wrap", [lambda error: error, PonyError], ids=["driver", "pony"])
def test_a_databases_error_shows_its_code_and_names_and_never_its_text(
    journal: Log, wrap: Callable[[Exception], Exception]
) -> None:
    journal.start()
    failure = RuntimeError("batch failed")
    failure.__cause__ = wrap(DriverError(DRIVERS_TEXT))
    log.error("not stored", exc_info=failure)
    line = journal.line()
    assert (line["sqlstate"], line["constraint"], line["table"]) == ("23505", "leads_raw_key", "leads_raw")
    assert "column" not in line
    assert "SQLSTATE 23505" in line["stack"]
    assert "anna" not in json.dumps(line)


def test_a_drivers_error_without_a_code_is_withheld_unless_it_is_about_the_connection(journal: Log) -> None:
    journal.start()
    for error in (psycopg2.DataError("value anna"), psycopg2.OperationalError("connection\nrefused")):
        log.error("x", exc_info=error)
    assert [line["error"] for line in journal.lines()] == ["DataError", "OperationalError: connection refused"]


def test_a_sqlite_error_names_its_constraint(journal: Log) -> None:
    journal.start()
    log.error("x", exc_info=sqlite3.IntegrityError("UNIQUE constraint failed: leads_raw.id"))
    assert journal.line()["error"] == "IntegrityError: UNIQUE constraint failed: leads_raw.id"


def test_an_error_of_ours_brings_its_detail_and_its_hint(journal: Log) -> None:
    journal.start()
    error = StoreUnavailable(
        "the database is away",
        hint="systemctl status postgresql",
        sqlstate="57P01",
        detail={"table": "leads", "message": "anna@example.com"},
    )
    log.error("not stored", exc_info=error)
    line = journal.line()
    assert (line["sqlstate"], line["table"]) == ("57P01", "leads")
    assert line["hint"] == "systemctl status postgresql"
    assert "anna" not in json.dumps(line)


def test_sanics_loggers_go_through_ours_and_keep_quiet(journal: Log) -> None:
    logging.getLogger("sanic.error").addHandler(logging.StreamHandler(sys.stdout))
    journal.start()
    logging.getLogger("sanic.root").info("Goin' Fast")
    logging.getLogger("sanic.access").error("a request")
    logging.getLogger("sanic.error").error("it broke")
    logging.getLogger("asyncio").error("never retrieved")
    assert [line["msg"] for line in journal.lines()] == ["it broke", "never retrieved"]


def test_development_is_for_eyes(journal: Log) -> None:
    writer = journal.start(development=True)
    writer.request({"method": "POST", "status": 201, "idempotency_key": None})
    log.warning("hostile\n\x1b[2J", extra={"value": "\u202e\udce9"})
    log.error("it failed", exc_info=ValueError("bad"))
    request, warning, error, *stack = journal.text().split("\n")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} info  request method=POST status=201", request)
    assert r"hostile\n\x1b[2J value=\u202e\udce9" in warning
    assert error.endswith("it failed error=ValueError: bad")
    assert stack[0] == "    Traceback (most recent call last):"


def test_development_has_colour_on_a_terminal_only(journal: Log) -> None:
    controller, terminal = os.openpty()
    try:
        writer = configure("info", True, terminal)
        log.info("hello")
        writer.close()
        assert b"\x1b[32minfo \x1b[0m hello" in os.read(controller, 4096)
    finally:
        os.close(controller)
        os.close(terminal)


def test_a_lone_line_arrives_without_a_close(pipe: tuple[int, int]) -> None:
    reader, stream_fd = pipe
    writer = configure("info", False, stream_fd)
    writer.request({"status": 201})
    assert read_all(reader, b"\n").count(b"\n") == 1
    writer.close()


def test_no_line_is_lost_on_a_close_while_threads_log(pipe: tuple[int, int]) -> None:
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


def test_lines_after_a_close_still_leave(journal: Log) -> None:
    writer = journal.start()
    log.info("before")
    writer.close()
    log.info("after")
    assert [line["msg"] for line in journal.lines()] == ["before", "after"]


def test_a_stuck_reader_holds_nobody_up_and_every_line_is_written_or_counted(pipe: tuple[int, int]) -> None:
    reader, stream_fd = pipe
    lines = BufferedLines(stream_fd, dropped_line, limit_bytes=20_000)
    started = time.monotonic()
    for _ in range(1000):
        lines.append(b"x" * 99 + b"\n")
    assert time.monotonic() - started < 1
    read = read_all(reader, b"dropped")
    # Until the reader came, the buffer (20,000 bytes) and the pipe (4,096) were all that could be kept.
    closing = threading.Thread(target=lines.close)
    closing.start()
    while closing.is_alive() or select.select([reader], [], [], 0)[0]:
        if select.select([reader], [], [], 0.01)[0]:
            read += os.read(reader, 65536)
    closing.join()
    kept = read.count(b"x\n")
    assert 200 <= kept <= 241
    assert kept + sum(map(int, re.findall(rb"dropped (\d+)\n", read))) == 1000


def test_a_close_with_a_stuck_reader_gives_up(pipe: tuple[int, int]) -> None:
    _, stream_fd = pipe
    lines = BufferedLines(stream_fd, dropped_line)
    for _ in range(1000):
        lines.append(b"x" * 99 + b"\n")
    started = time.monotonic()
    lines.close()
    assert CLOSE_TIMEOUT_S * 0.9 < time.monotonic() - started < CLOSE_TIMEOUT_S + 1.5


def test_a_reader_that_is_gone_costs_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    reader, stream_fd = os.pipe()
    os.close(reader)
    lines = BufferedLines(stream_fd, dropped_line, limit_bytes=1000)
    for _ in range(100):
        lines.append(b"x" * 99 + b"\n", urgent=True)
    lines.close()
    # The place of a reader is taken again, as journald does after its restart.
    os.dup2(pipe[1], stream_fd)
    lines.append(b"end\n")
    read = read_all(pipe[0], b"dropped")
    lines.close()
    assert read.startswith(b"end\n")
    assert b"dropped 100\n" in read
    os.close(stream_fd)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_costs_lines_and_no_endless_loop(tmp_path: Path) -> None:
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


def test_a_non_blocking_stream_loses_nothing(pipe: tuple[int, int]) -> None:
    reader, stream_fd = pipe
    os.set_blocking(stream_fd, False)
    lines = BufferedLines(stream_fd, dropped_line)
    sent = [b"%d " % number + b"x" * number + b"\n" for number in range(0, 9000, 500)]
    for line in sent:
        lines.append(line)
    lines.append(b"end\n")
    assert read_all(reader, b"end\n") == b"".join(sent) + b"end\n"
    lines.close()


def test_processes_that_share_a_pipe_do_not_tear_each_others_lines() -> None:
    program = """
import sys
from leadcrm.logs.setup import configure
writer = configure("info", False)
for number in range(3000):
    writer.request({"name": sys.argv[1], "number": number, "filling": "x" * (number % 700)})
writer.close()
"""
    reader, stream_fd = os.pipe()
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(name)], stdout=stream_fd, env=environ) for name in range(2)
    ]
    os.close(stream_fd)
    with os.fdopen(reader, "rb") as stream:
        lines = [json.loads(line) for line in stream]
    assert [process.wait(10) for process in processes] == [0, 0]
    for name in ("0", "1"):
        assert [line["number"] for line in lines if line["name"] == name] == list(range(3000))


def test_a_forked_child_logs_its_own_lines_and_not_its_parents(journal: Log) -> None:
    program = f"""
import os
from leadcrm.logs.setup import configure
fd = os.open({str(journal.path)!r}, os.O_WRONLY | os.O_APPEND)
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
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    lines = [json.loads(line)["of"] for line in journal.path.read_text().splitlines()]
    assert sorted(lines) == ["child", "child before its configure", "parent"]


def test_the_interpreters_end_flushes_the_log_without_a_close(journal: Log) -> None:
    program = """
import logging
from leadcrm.logs.setup import configure
configure("info", False)
logging.getLogger("leadcrm").info("nearly over")
raise SystemExit(3)
"""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], stdout=journal.stream_fd, env=environ, check=False)
    assert done.returncode == 3
    assert json.loads(journal.path.read_text())["msg"] == "nearly over"


def test_configuring_again_flushes_the_former_log(journal: Log, tmp_path: Path) -> None:
    journal.start()
    log.info("former")
    other = Log(tmp_path / "other")
    other.start()
    assert json.loads(journal.path.read_text())["msg"] == "former"
    log.info("latter")
    assert other.line()["msg"] == "latter"
    os.close(other.stream_fd)


def repeated(key: str | None) -> logging.LogRecord:
    attributes: dict[str, object] = {"name": "leadcrm.x", "msg": "away"}
    if key is not None:
        attributes["repeat_key"] = key
    return logging.makeLogRecord(attributes)


def test_a_repeated_line_is_written_once_in_a_while_with_the_number_left_out() -> None:
    now_s = 100.0
    repeat_filter = RepeatFilter(interval_s=10, clock=lambda: now_s)
    assert repeat_filter.filter(repeated("store"))
    assert not any(repeat_filter.filter(repeated("store")) for _ in range(5))
    assert repeat_filter.filter(repeated("spool"))
    now_s = 110.0
    record = repeated("store")
    assert repeat_filter.filter(record)
    assert vars(record)["suppressed"] == 5
    assert not repeat_filter.filter(repeated("store"))


def test_a_line_without_a_key_is_never_held_back() -> None:
    repeat_filter = RepeatFilter()
    assert all(repeat_filter.filter(repeated(None)) for _ in range(3))


def test_the_log_holds_repeated_lines_back_and_does_not_show_the_key(journal: Log) -> None:
    journal.start()
    for _ in range(3):
        log.error("away", extra={"repeat_key": "store"})
    line = journal.line()
    assert line.pop("time")
    assert line == {"level": "error", "msg": "away"}


def test_keys_without_end_take_no_memory_without_end() -> None:
    repeat_filter = RepeatFilter()
    for number in range(5000):
        repeat_filter.filter(repeated(str(number)))
    assert len(repeat_filter._seen) <= 1000


def test_a_log_of_a_signal_handler_in_the_middle_of_a_line_does_not_lock_up(journal: Log) -> None:
    program = """
import itertools, logging, signal
from leadcrm.logs.setup import configure
writer = configure("info", False)
seen = itertools.count(1)
over = False
def handle(number, frame):
    global over
    logging.getLogger("leadcrm").error("signal")
    writer.request({"of": "signal"})
    over = next(seen) == 500
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while not over:
    writer.request({"of": "loop"})
signal.setitimer(signal.ITIMER_REAL, 0)
writer.close()
"""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", program]
    subprocess.run(command, stdout=journal.stream_fd, env=environ, check=True, timeout=60)
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert sum(line["msg"] == "signal" for line in lines) == 500
