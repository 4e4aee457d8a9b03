"""A line of the log: one JSON object with its level and its fields, whatever the values hold."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadcrm.logs.log_writer import TRACE
from leadcrm.logs.rendering import MAX_LINE_BYTES, json_renderer
from leadcrm.logs.setup import configure
from tests.support.log_file import LogFile
from tests.support.terminal import OBEYED

log = logging.getLogger("leadcrm.test")


def test_a_line_has_the_time_in_utc_the_level_and_the_message(log_file: LogFile) -> None:
    log_file.start()
    log.info("drained %d rows", 3, extra={"rows": 3, "node": "a"})
    line = log_file.line()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "info", "msg": "drained 3 rows", "rows": 3, "node": "a"}


def test_every_level_has_its_name(log_file: LogFile) -> None:
    log_file.start("trace")
    for number in (TRACE, logging.DEBUG, logging.INFO, 25, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.log(number, "x")
    assert [line["level"] for line in log_file.lines()] == [
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
def test_the_level_applies_to_request_lines_too(log_file: LogFile, level: str, kept: list[str]) -> None:
    writer = log_file.start(level)
    log.debug("x")
    log.info("x")
    writer.request({"status": 201})
    log.warning("x")
    log.error("x")
    assert [line["level"] for line in log_file.lines()] == kept


def test_a_request_line_carries_its_fields(log_file: LogFile) -> None:
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
    log_file.start().request(fields)
    line = log_file.line()
    assert line.pop("time")
    assert line == {"level": "info", "msg": "request"} | fields


def test_request_lines_and_other_lines_keep_their_order(log_file: LogFile) -> None:
    writer = log_file.start()
    for number in range(100):
        writer.request({"number": 2 * number})
        log.info("x", extra={"number": 2 * number + 1})
    assert [line["number"] for line in log_file.lines()] == list(range(200))


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


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value).partition(" at 0x")[0])
def test_hostile_values_leave_one_line_of_json(log_file: LogFile, value: object) -> None:
    writer = log_file.start()
    writer.request({"url": value})
    log.warning("%s", value, extra={"value": value})
    text = log_file.text()
    # str.splitlines knows more ends of a line than JSON readers do, as terminals may.
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


def test_a_value_that_cannot_become_text_does_not_fail_its_caller(
    log_file: LogFile, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    log_file.start()
    log.info("x", extra={"value": Broken()})
    log.info("still here")
    assert [line["msg"] for line in log_file.lines()] == ["still here"]
    assert "Broken" not in capsys.readouterr().out


def test_a_message_whose_arguments_do_not_fit_is_logged_without_them(log_file: LogFile) -> None:
    log_file.start()
    log.info("%d rows", "three")
    assert log_file.line()["msg"] == "%d rows"


def test_a_line_is_never_longer_than_a_log_collector_accepts(log_file: LogFile) -> None:
    log_file.start().request({"url": "\n" * 500_000, "status": 201})
    text = log_file.text()
    assert len(text) <= MAX_LINE_BYTES
    assert json.loads(text)["status"] == 201


def test_libraries_log_here_and_only_from_warnings_on(log_file: LogFile) -> None:
    logging.getLogger("sanic.error").addHandler(logging.StreamHandler(sys.stdout))
    log_file.start()
    logging.getLogger("sanic.root").info("Goin' Fast")
    logging.getLogger("sanic.access").error("a request")
    logging.getLogger("sanic.error").error("it broke")
    logging.getLogger("asyncio").error("never retrieved")
    assert [line["msg"] for line in log_file.lines()] == ["it broke", "never retrieved"]


def test_development_logs_readable_text(log_file: LogFile) -> None:
    writer = log_file.start(development=True)
    writer.request({"method": "POST", "status": 201, "idempotency_key": None})
    log.warning("hostile\n\x1b[2J", extra={"value": "\u202e\udce9"})
    log.error("it failed", exc_info=ValueError("bad"))
    request, warning, error, *stack = log_file.text().split("\n")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} info  request method=POST status=201", request)
    assert r"hostile\n\x1b[2J value=\u202e\udce9" in warning
    assert error.endswith("it failed error=ValueError: bad")
    assert stack[0] == "    Traceback (most recent call last):"


def test_development_uses_colour_on_a_terminal_only(log_file: LogFile) -> None:
    controller, terminal = os.openpty()
    try:
        writer = configure("info", True, terminal)
        log.info("hello")
        writer.close()
        assert b"\x1b[32minfo \x1b[0m hello" in os.read(controller, 4096)
    finally:
        os.close(controller)
        os.close(terminal)


def test_no_character_that_a_terminal_obeys_is_in_a_line_of_either_kind(log_file: LogFile) -> None:
    obeyed = f"\0{OBEYED}"
    for development in (False, True):
        writer = log_file.start(development=development)
        for character in obeyed:
            hostile = f"a{character}b"
            writer.request({"url": hostile, "more": {hostile: [hostile]}})
            log.warning("%s", hostile, extra={"value": hostile})
            log.error("x", exc_info=ValueError(hostile))
    lines = log_file.text()
    assert set(lines) & set(obeyed) == {"\n"}
    urls = [json.loads(line)["url"] for line in lines.splitlines() if '"url"' in line]
    assert urls == [f"a{character}b" for character in obeyed]
