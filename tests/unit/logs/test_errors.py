"""Exceptions in the log: type, text and stack, but never a text of the database, which may quote a lead."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from leadcrm.errors import StoreUnavailable
from tests.support.log_file import LogFile

log = logging.getLogger("leadcrm.test")


def test_an_exception_is_logged_with_its_type_its_text_and_its_stack(log_file: LogFile) -> None:
    log_file.start()
    try:
        try:
            int("x")
        except ValueError as error:
            raise LookupError("no such thing") from error
    except LookupError:
        log.exception("it failed")
    line = log_file.line()
    assert (line["level"], line["error"]) == ("error", "LookupError: no such thing")
    assert "ValueError: invalid literal" in line["stack"]
    assert line["stack"].index("ValueError") < line["stack"].index("which led to")
    assert Path(__file__).name in line["stack"]


def test_a_runaway_recursion_leaves_a_short_stack(log_file: LogFile) -> None:
    def recurse() -> None:
        recurse()

    log_file.start()
    try:
        recurse()
    except RecursionError:
        log.exception("deep")
    assert len(log_file.line()["stack"]) <= 16 * 1024


class Diagnostics:
    constraint_name = "leads_raw_key"
    table_name = "leads_raw"
    column_name = None
    message_detail = "Key (email)=(anna@example.com) already exists."


class DriverError(psycopg2.IntegrityError):
    """A server's refusal as psycopg2 raises it; the real class's attributes cannot be set from Python."""

    pgcode = "23505"
    diag = Diagnostics  # type: ignore[assignment]


DRIVER_TEXT = "duplicate key\nDETAIL:  Key (email)=(anna@example.com) already exists."


class PonyError(Exception):
    """The driver's error as Pony wraps it."""

    def __init__(self, original: Exception) -> None:
        super().__init__(str(original))
        self.original_exc = original


@pytest.mark.parametrize("wrap", [lambda error: error, PonyError], ids=["driver", "pony"])
def test_a_database_error_is_logged_with_its_code_and_names_and_without_its_text(
    log_file: LogFile, wrap: Callable[[Exception], Exception]
) -> None:
    log_file.start()
    failure = RuntimeError("batch failed")
    failure.__cause__ = wrap(DriverError(DRIVER_TEXT))
    log.error("not stored", exc_info=failure)
    line = log_file.line()
    assert (line["sqlstate"], line["constraint"], line["table"]) == ("23505", "leads_raw_key", "leads_raw")
    assert "column" not in line
    assert "SQLSTATE 23505" in line["stack"]
    assert "anna" not in json.dumps(line)


def test_a_driver_error_without_a_code_keeps_its_text_only_if_it_is_about_the_connection(log_file: LogFile) -> None:
    log_file.start()
    for error in (psycopg2.DataError("value anna"), psycopg2.OperationalError("connection\nrefused")):
        log.error("x", exc_info=error)
    assert [line["error"] for line in log_file.lines()] == ["DataError", "OperationalError: connection refused"]


def test_a_sqlite_error_names_its_constraint(log_file: LogFile) -> None:
    log_file.start()
    log.error("x", exc_info=sqlite3.IntegrityError("UNIQUE constraint failed: leads_raw.id"))
    assert log_file.line()["error"] == "IntegrityError: UNIQUE constraint failed: leads_raw.id"


def test_an_error_of_leadcrm_is_logged_with_its_detail_and_its_hint(log_file: LogFile) -> None:
    log_file.start()
    error = StoreUnavailable(
        "the database is away",
        hint="systemctl status postgresql",
        sqlstate="57P01",
        detail={"table": "leads", "message": "anna@example.com"},
    )
    log.error("not stored", exc_info=error)
    line = log_file.line()
    assert (line["sqlstate"], line["table"]) == ("57P01", "leads")
    assert line["hint"] == "systemctl status postgresql"
    assert "anna" not in json.dumps(line)
