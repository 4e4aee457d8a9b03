"""The layers of leadcrm: which package may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import leadcrm

ROOT = Path(leadcrm.__file__).parent

FLOORS = (
    {"__init__", "errors"},
    {"configuration", "logs"},
    {"database"},
    {"feed", "sources"},
    {"ingest"},
    {"crm", "operations"},
    {"delivery"},
    {"web"},
    {"process"},
    {"cli"},
    {"__main__"},
)
"""The packages, lowest floor first. A package imports only from lower floors and from itself."""

SANIC_ROOMS = {"web"}
PONY_FILES = {
    "database/entities.py",
    "database/sessions.py",
    "database/versions.py",
    "delivery/ledger.py",
    "delivery/people.py",
    "delivery/whereabouts.py",
    "delivery/work.py",
    "feed/pruning.py",
    "ingest/replay.py",
    "ingest/spool/spool.py",
    "operations/feed_verification.py",
    "operations/sink_verification.py",
    "operations/verification.py",
    "sources/versions.py",
}


def module_of(file: Path) -> str:
    return ".".join(("leadcrm", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_of(file): file for file in ROOT.rglob("*.py")}


def imports(file: Path) -> Iterator[str]:
    """Yield the modules that a file imports; of leadcrm's modules the one that a name comes from."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


IMPORTS = {module: set(imports(file)) for module, file in MODULES.items()}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def folder_of(module: str) -> str:
    """Return the folder of a package that holds the module, or the module itself if it is in none."""
    return ".".join(module.split(".")[:3])


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    circular: list[list[str]] = []
    visited: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            circular.append([*path[path.index(name) :], name])
        elif name not in visited:
            for other in sorted(arrows.get(name, ())):
                visit(other, [*path, name])
            visited.add(name)

    for name in arrows:
        visit(name, [])
    return circular


def test_every_package_is_on_one_floor() -> None:
    rooms = [room for floor in FLOORS for room in floor]
    assert sorted(rooms) == sorted({room_of(module) for module in MODULES})


def test_no_package_imports_from_its_own_floor_or_above() -> None:
    floor = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    for module, imported in IMPORTS.items():
        own = room_of(module)
        wrong = {
            other
            for other in imported
            if other in MODULES and room_of(other) != own and floor[room_of(other)] >= floor[own] > 0
        }
        assert not wrong, f"{module} imports {wrong}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles({module: imported & MODULES.keys() for module, imported in IMPORTS.items()}) == []


def test_no_folders_of_a_package_import_each_other_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for module, imported in IMPORTS.items():
        others = {folder_of(other) for other in imported if other in MODULES}
        arrows.setdefault(folder_of(module), set()).update(others - {folder_of(module)})
    assert circles(arrows) == []


def knowing(library: str) -> set[str]:
    return {
        MODULES[module].relative_to(ROOT).as_posix()
        for module, imported in IMPORTS.items()
        if any(other.split(".")[0] == library for other in imported)
    }


def test_only_web_imports_sanic() -> None:
    assert {name.split("/")[0] for name in knowing("sanic")} == SANIC_ROOMS


def test_only_the_listed_files_and_crm_import_pony() -> None:
    assert {name for name in knowing("pony") if not name.startswith("crm/")} == PONY_FILES
