"""The command line as a whole: help, mistyped commands, and output whose reader has had enough."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.configuration.config import VARIABLES
from leadcrm.ingest.spool.spool import Spool
from tests.support.command import ENVIRONMENT, ROOT, leadcrm, run_line
from tests.support.crm import submission


@pytest.mark.parametrize("words", [["help"], ["--help"], []], ids=" ".join)
def test_an_overview_is_there_for_whoever_asks(tmp_path: Path, words: list[str]) -> None:
    done = leadcrm(tmp_path, *words)
    assert (done.returncode, "leadcrm COMMAND --help" in done.stdout) == (0 if words else 2, True)


def test_help_of_a_command_is_the_commands_own(tmp_path: Path) -> None:
    assert leadcrm(tmp_path, "help", "verify").stdout == leadcrm(tmp_path, "verify", "--help").stdout


def test_help_of_a_command_lists_the_flags_of_the_configuration_on_demand(tmp_path: Path) -> None:
    own, configuration = (leadcrm(tmp_path, "leads", "list", flag) for flag in ("--help", "--help-configuration"))
    assert ("--assigned-to" in own.stdout, "--help-configuration" in own.stdout) == (True, True)
    assert [variable.flag for variable in VARIABLES if f"{variable.flag} " in own.stdout] == []
    assert [variable.flag for variable in VARIABLES if f"{variable.flag} " not in configuration.stdout] == []
    assert (configuration.returncode, "--assigned-to" in configuration.stdout) == (0, False)


def test_a_flag_that_help_does_not_list_is_taken(tmp_path: Path) -> None:
    done = leadcrm(tmp_path, "leads", "list", "--data-dir", "elsewhere", "--log-level", "loud")
    assert (done.returncode, "LOG_LEVEL" in done.stderr) == (78, True)


@pytest.mark.parametrize(
    ("word", "told"),
    [("verfy", "did you mean 'verify'?"), ("lead", "did you mean 'leads'?"), ("xyz", "the commands are")],
)
def test_a_mistyped_command_is_guessed(tmp_path: Path, word: str, told: str) -> None:
    done = leadcrm(tmp_path, word)
    assert (done.returncode, told in done.stderr) == (2, True)


def test_a_reader_that_has_had_enough_is_no_failure(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "leadcrm", "version"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "words",
    [
        ("leads", "list", "-q", "\udcff"),
        ("erase", "--email", "\udcff", "--dry-run"),
        ("token", "add", "\udcff", "--role", "agent"),
        ("audit", "--actor", "anna\udcff"),
        ("deliveries", "retry", "--sink", "\udcff"),
    ],
)
def test_an_argument_that_is_no_text_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run_line([sys.executable, "-m", "leadcrm", *words], tmp_path, ENVIRONMENT)
    assert done.returncode == 2
    assert done.stderr.endswith("is no UTF-8 text\n")
    assert len(done.stderr.splitlines()) == 1


def test_a_lead_is_never_without_a_status(tmp_path: Path) -> None:
    done = leadcrm(tmp_path, "leads", "set", "0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e", "--status", "")
    assert done.returncode == 2
    assert "a lead has a status" in done.stderr


def test_the_help_shows_how_a_sort_with_a_hyphen_is_written(tmp_path: Path) -> None:
    assert "--sort=-status" in leadcrm(tmp_path, "leads", "list", "--help").stdout
    assert leadcrm(tmp_path, "migrate").returncode == 0
    assert leadcrm(tmp_path, "leads", "list", "--sort=-status").returncode == 0


def test_commands_that_write_name_their_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/leads.db"
    with closing(Spool(tmp_path / "data", max_bytes=1 << 30, min_free_bytes=0)) as spool:
        (tmp_path / "data").mkdir()
        spool.write([submission(b"{}")._replace(fields=None)])
    unknown = "0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e"
    for words in (
        ("migrate",),
        ("migrate",),
        ("spool", "drain"),
        ("prune", "--older-than", "400d", "--dry-run"),
        ("prune", "--older-than", "400d", "--yes"),
        ("erase", unknown, "--yes"),
        ("backup", "copy.db"),
        ("restore", "copy.db", "--yes"),
        ("migrate", "reset", "--yes"),
    ):
        done = leadcrm(tmp_path, *words, DATABASE_URL=url)
        assert done.stderr == ""
        assert url in done.stdout or words[0] == "backup", words
