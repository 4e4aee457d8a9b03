"""The documentation against the program, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import leadcrm
from leadcrm.cli import COMMANDS
from leadcrm.configuration.config import VARIABLES
from leadcrm.crm.tokens import RIGHTS, Right, Role
from leadcrm.ingest.ingestion import Verdict
from leadcrm.ingest.spool.spool import SpoolStatus
from leadcrm.web.metrics import render
from leadcrm.web.node_metrics import NodeMetrics
from tests.support.application import application
from tests.support.figure_tables import FAULT_HEAD, FRONT_PAGE, WHOLE_TABLE, FaultRow, with_rows

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
OPERATORS_PAGE = ROOT / "systemd" / "README.md"
FOLDERS = ("leadcrm", "scripts", "systemd", "tests", ".github", ".ci")
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *(page for name in FOLDERS for page in (ROOT / name).rglob("*.md")))
    # Pages of others, which are installed there.
    if "node_modules" not in page.parts
)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def rows_of(heading: str, page: Path = README) -> list[list[str]]:
    """Return the cells of the first table whose head begins with `heading`."""
    table = page.read_text().split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]


def section_of(heading: str, page: Path = README) -> str:
    """Return the text under a heading of the second level."""
    return page.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


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


def test_every_metric_stands_in_the_operators_page_and_no_other_does() -> None:
    verdict = Verdict(True, True, 1, SpoolStatus(0, 0, None, 0, None), 0, "", {"spool": 0})
    exposed = set(re.findall(r"^# TYPE (\S+)", render(NodeMetrics(1), verdict).decode(), re.MULTILINE))
    assert {row[0].strip("`") for row in rows_of("metric", OPERATORS_PAGE)} == exposed


def test_every_library_that_is_installed_stands_in_the_readme_and_no_other_does() -> None:
    required = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    named = set(re.findall(r"`([^`]+)`", section_of("Dependencies and license")))
    assert named == required | {".env"}


@pytest.fixture
def routes(tmp_path: Path) -> set[str]:
    """The paths of the server; the studio's files count as `/studio`."""
    with application(tmp_path) as app:
        paths = (re.sub(r"<(\w+)[^>]*>", r"{\1}", route.uri) for route in app.router.routes)
        return {"/studio" if path.startswith("/studio/") else path for path in paths}


def test_every_route_stands_in_the_readme_and_no_other_does(routes: set[str]) -> None:
    named = set(re.findall(r"(?<=[ `])/(?:(?=`)|api/|in/|health|ready|metrics|studio)[\w./{}]*", README.read_text()))
    assert named == routes


def test_the_rights_of_every_role_stand_in_the_readme() -> None:
    told = {
        Right(re.findall(r"`(\w+)`", cells[0])[0]): dict(zip(Role, cells[1:], strict=True))
        for cells in rows_of("a role may | reader | agent | lead | integrator")
    }
    assert {role: {right for right in told if told[right][role] == "yes"} for role in Role} == RIGHTS


def test_the_faults_of_the_readme_have_the_figures_of_the_whole_table() -> None:
    rows = rows_of(FAULT_HEAD[0], FRONT_PAGE)
    assert rows
    assert [row for row in rows if row not in rows_of(FAULT_HEAD[0], WHOLE_TABLE)] == []


def test_the_sum_of_acknowledged_leads_is_that_of_the_table() -> None:
    total = sum(int(row[1].replace(",", "")) for row in rows_of(FAULT_HEAD[0], WHOLE_TABLE))
    assert f"{total:,} leads were acknowledged" in " ".join(WHOLE_TABLE.read_text().split())
    assert f"{total:,} acknowledged leads" in " ".join(FRONT_PAGE.read_text().split())


def test_new_figures_replace_those_of_the_same_fault_and_only_the_whole_table_grows() -> None:
    head = f"| {' | '.join(FAULT_HEAD)} |\n| --- |\n"
    page = f"# Title\n\n{head}| a cut | 1 |\n| a flood | 2 |\n\nAfter it.\n"
    rows = [FaultRow("a flood", 3, 3, 0, 0, 1.0, 0.5), FaultRow("a fire", 4, 3, 0, 1, 0.75, 0.25)]
    flood = "| a flood | 3 | 3 | 0 | 0 | 0 | 100.0% | 0.50 s |\n"
    fire = "| a fire | 4 | 3 | 1 | 0 | 1 | 75.0% | 0.25 s |\n"
    updated = with_rows(page, FAULT_HEAD, rows, may_grow=False)
    assert updated == f"# Title\n\n{head}| a cut | 1 |\n{flood}\nAfter it.\n"
    assert (
        with_rows(page, FAULT_HEAD, rows, may_grow=True)
        == f"# Title\n\n{head}| a cut | 1 |\n{flood}{fire}\nAfter it.\n"
    )


def test_the_trial_runs_patroni_with_the_settings_of_the_guide() -> None:
    guide = (ROOT / "systemd" / "CLUSTER.md").read_text()
    advised = guide.split("\nbootstrap:", 1)[1].split("\nwatchdog:", 1)[0]
    program = (ROOT / "scripts" / "failover" / "cluster.py").read_text()
    tried = program.split("\nSETTINGS = {", 1)[1].split("\n}\n", 1)[0]

    def settings(text: str) -> dict[str, str]:
        return {name: value.lower() for name, value in re.findall(r'^ +"?(\w+)"?: "?(\w+)', text, re.MULTILINE)}

    # The guide names the default of the one, and the other saves disk in a trial.
    assert {**settings(advised), "wal_keep_size": "128mb"} == {**settings(tried), "synchronous_mode_strict": "false"}


@every_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), target
            assert not anchor or anchor in anchors_of(file), target


def files_named_in(page: Path) -> Iterator[str]:
    """Yield the paths in a page that begin with a folder of the repository; a path ends before a placeholder."""
    names = "|".join(map(re.escape, FOLDERS))
    for path in re.findall(rf"(?<![\w/.@-])(?:{names})/[\w./-]+", page.read_text()):
        yield path.rstrip(".")


@every_page
def test_every_file_named_in_a_page_exists(page: Path) -> None:
    missing = [path for path in files_named_in(page) if not (ROOT / path).exists()]
    assert missing == []


@every_page
def test_every_package_named_in_a_page_has_the_version_of_the_program(page: Path) -> None:
    assert set(re.findall(r"leadcrm[-_](\d+\.\d+\.\d+)", page.read_text())) <= {leadcrm.__version__}
