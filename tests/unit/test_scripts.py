"""The scripts that no other test runs still fit the program."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from leadcrm.database.migrations import migrate
from scripts.benchmark.fill import fill_postgres, fill_sqlite
from tests.support.crm import url_of
from tests.support.rows import Rows, sqlite_path

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
TEXTS = sorted(file for file in SCRIPTS.rglob("*") if file.is_file() and file.suffix not in (".pyc", ".svg"))


def python_files() -> Iterator[Path]:
    yield from SCRIPTS.rglob("*.py")
    for file in SCRIPTS.iterdir():
        if file.is_file() and "python" in file.read_text().partition("\n")[0]:
            yield file


def missing(file: Path) -> Iterator[str]:
    """Yield the names that a file imports from leadcrm or the tests and that are not there."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("leadcrm", "tests"):
            try:
                module = import_module(node.module)
            except ModuleNotFoundError:
                yield node.module
                continue
            yield from (f"{node.module}.{name.name}" for name in node.names if not hasattr(module, name.name))


@pytest.mark.parametrize("file", sorted(python_files()), ids=lambda file: file.relative_to(SCRIPTS).as_posix())
def test_a_script_imports_only_what_is_there(file: Path) -> None:
    assert list(missing(file)) == []


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.relative_to(SCRIPTS).as_posix())
def test_a_script_names_only_units_that_are_there(file: Path) -> None:
    units = {unit.name for unit in (ROOT / "systemd").iterdir()}
    named = re.findall(r"\bleadcrm[\w.@*$-]*\.(?:service|socket)\b", file.read_text())
    assert {re.sub(r"@[^.]*", "@", unit) for unit in named} <= units


def test_the_benchmark_fills_a_database_of_either_kind(
    database: str, rows: Rows, request: pytest.FixtureRequest
) -> None:
    migrate(url_of(database))
    if rows.is_sqlite:
        fill_sqlite(sqlite_path(database), 20)
    else:
        fill_postgres(request.getfixturevalue("postgres"), database, 20)
    assert {row["id"] for row in rows.raw()} == {lead["id"] for lead in rows.leads()}
    assert len(rows.leads()) == 20
    assert all(lead["email"] and lead["phone"] for lead in rows.leads())


@pytest.mark.parametrize("more", [[], ["--ingestion"]], ids=["queries", "ingestion"])
def test_time_crm_fills_a_database_and_times_it(tmp_path: Path, more: list[str]) -> None:
    line = [sys.executable, SCRIPTS / "time-crm", f"sqlite:///{tmp_path / 'crm.db'}", "--leads", "500", "--pages", "2"]
    done = subprocess.run([*line, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5


LOCKS = {
    "requirements.txt": "scripts/requirements.lock",
    "tests/requirements.txt": "tests/requirements.lock",
}


def test_the_script_of_the_tests_looks_for_those_that_run_alone_where_they_are() -> None:
    searched = re.findall(r"-m alone (.*) \|\|", (SCRIPTS / "test").read_text())[0].split()
    marking = re.compile(r"(mark\.|add_marker\(.)alone")
    files = [file for file in (ROOT / "tests").rglob("*.py") if marking.search(file.read_text())]
    assert {str(file.parent.relative_to(ROOT)) for file in files} == set(searched)


@pytest.mark.parametrize("requirements", LOCKS)
def test_every_requirement_is_locked_with_hashes(requirements: str) -> None:
    lock = (ROOT / LOCKS[requirements]).read_text()
    entries = re.split(r"\n(?=\S)", lock)[1:]
    pins = {entry.split(" ")[0].rstrip(";") for entry in entries}
    assert all("--hash=sha256:" in entry for entry in entries)
    wanted = re.findall(r"^([\w-]+==[^\s;]+)", (ROOT / requirements).read_text(), re.MULTILINE)
    assert set(wanted) <= pins, "run scripts/lock"
    assert len(pins) > len(wanted), "the packages that others need are there too"


def test_the_bill_of_materials_has_all_packages_of_the_program_and_none_of_its_tests() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "packaging" / "sbom.py", "1.2.3"], capture_output=True, text=True, check=True
    )
    document = json.loads(done.stdout)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert document["metadata"]["component"]["version"] == "1.2.3"
    names = {component["name"] for component in document["components"]}
    assert names >= {"sanic", "pony", "orjson", "httptools", "multidict", "uvloop"}
    assert not names & {"pytest", "pyinstaller", "httpx"}
    assert all(component["hashes"] and component["purl"] for component in document["components"])
