"""The rooms of the house: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import leadcrm

ROOT = Path(leadcrm.__file__).parent

RANK = {
    "errors": 0,
    "variables": 0,
    "database_url": 0,
    "config": 0,
    "log_errors": 0,
    "log_writer": 0,
    "logs": 0,
    "systemd": 0,
    "parenthood": 0,
    "reload": 0,
    "entities": 1,
    "data_dir": 1,
    "database": 2,
    "migrations": 3,
    "ingest": 4,
    "backup": 5,
    "checks": 5,
    "verification": 5,
    "crm": 5,
    "web": 6,
    "supervisor": 6,
    "service": 7,
    "cli": 8,
    "__main__": 9,
    "__init__": 0,
}

SANIC_ROOMS = {"web"}
PONY_FILES = {"verification.py", "database.py", "entities.py", "ingest/replay.py", "ingest/spool.py", "ingest/store.py"}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" if node.module == "leadcrm" else node.module for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


FILES = {file.relative_to(ROOT).as_posix(): imports(file) for file in ROOT.rglob("*.py")}


def test_imports_point_one_way_from_the_command_line_to_the_entities() -> None:
    for name, imported in FILES.items():
        room = name.split("/")[0].removesuffix(".py")
        wrong = {
            module for module in imported if module.startswith("leadcrm.") and RANK.get(room_of(module), 0) > RANK[room]
        }
        assert not wrong, f"{name} imports {wrong}"


def test_only_the_web_knows_sanic() -> None:
    knowing = {name for name, imported in FILES.items() if any(module.split(".")[0] == "sanic" for module in imported)}
    assert {name.split("/")[0] for name in knowing} == SANIC_ROOMS


def test_only_entities_database_spool_store_and_crm_know_pony() -> None:
    knowing = {name for name, imported in FILES.items() if any(module.split(".")[0] == "pony" for module in imported)}
    assert {name for name in knowing if not name.startswith("crm/")} <= PONY_FILES
