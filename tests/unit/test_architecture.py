"""The rooms of the house: who may import whom."""

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
    {"ingest"},
    {"crm", "operations"},
    {"web"},
    {"process"},
    {"cli"},
    {"__main__"},
)
"""From the ground up: a room imports from floors below its own, or from itself."""

SANIC_ROOMS = {"web"}
PONY_FILES = {
    "database/entities.py",
    "database/sessions.py",
    "ingest/replay.py",
    "ingest/spool/spool.py",
    "operations/verification.py",
}


def module_of(file: Path) -> str:
    return ".".join(("leadcrm", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_of(file): file for file in ROOT.rglob("*.py")}


def imports(file: Path) -> Iterator[str]:
    """Yield the modules that a file imports, those of leadcrm down to the file."""
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
    """Return the folder inside a room that a module lies in, or the module itself where it lies in none."""
    return ".".join(module.split(".")[:3])


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            found.append([*way[way.index(name) :], name])
        elif name not in done:
            for other in sorted(arrows.get(name, ())):
                visit(other, [*way, name])
            done.add(name)

    for name in arrows:
        visit(name, [])
    return found


def test_every_room_stands_on_one_floor() -> None:
    rooms = [room for floor in FLOORS for room in floor]
    assert sorted(rooms) == sorted({room_of(module) for module in MODULES})


def test_no_import_points_upwards_or_to_a_neighbour() -> None:
    floor = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    for module, imported in IMPORTS.items():
        own = room_of(module)
        wrong = {
            other
            for other in imported
            if other in MODULES and room_of(other) != own and floor[room_of(other)] >= floor[own] > 0
        }
        assert not wrong, f"{module} imports {wrong}"


def test_no_file_imports_itself_by_a_detour() -> None:
    assert circles({module: imported & MODULES.keys() for module, imported in IMPORTS.items()}) == []


def test_no_folder_of_a_room_imports_itself_by_a_detour() -> None:
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


def test_only_the_web_knows_sanic() -> None:
    assert {name.split("/")[0] for name in knowing("sanic")} == SANIC_ROOMS


def test_only_entities_sessions_spool_replay_verification_and_crm_know_pony() -> None:
    assert {name for name in knowing("pony") if not name.startswith("crm/")} == PONY_FILES
