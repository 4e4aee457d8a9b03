"""What the README says against what the program has, both ways."""

from __future__ import annotations

import re
from pathlib import Path

from leadcrm.cli import COMMANDS
from leadcrm.configuration.config import VARIABLES
from leadcrm.ingest.ingestion import Verdict
from leadcrm.ingest.spool.spool import SpoolStatus
from leadcrm.web.metrics import render
from leadcrm.web.node_metrics import NodeMetrics

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def rows_of(heading: str) -> list[list[str]]:
    """Return the cells of the first table whose head begins with `heading`."""
    table = README.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]


def test_every_variable_stands_in_the_readme_with_its_default_and_no_other_does() -> None:
    documented = {row[0].strip("`"): row[1] for row in rows_of("variable")}
    assert documented == {variable.name: variable.default for variable in VARIABLES}


def test_every_variable_stands_in_the_example_of_an_env_file_and_no_other_does() -> None:
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) == {variable.name for variable in VARIABLES}


def test_every_command_stands_in_the_readme_and_no_other_does() -> None:
    assert {row[0].strip("`").removeprefix("leadcrm ").split()[0] for row in rows_of("command")} == set(COMMANDS)


def test_every_command_shows_examples_in_its_help() -> None:
    for name in COMMANDS:
        text = (ROOT / "leadcrm" / "cli" / f"{name}.py").read_text()
        assert f"\nexamples:\n  leadcrm {name}" in text, name


def test_every_metric_stands_in_the_readme_and_no_other_does() -> None:
    verdict = Verdict(True, True, 1, SpoolStatus(0, 0, 0, None), 0, "")
    exposed = set(re.findall(r"^# TYPE (\S+)", render(NodeMetrics(1), verdict).decode(), re.MULTILINE))
    assert {row[0].strip("`") for row in rows_of("metric")} == exposed


def test_every_library_that_is_installed_stands_in_the_readme_and_no_other_does() -> None:
    required = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert {name for row in rows_of("library") for name in row[0].split(", ")} == required
