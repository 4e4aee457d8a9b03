"""The scripts that no other test runs still fit the program."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

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
