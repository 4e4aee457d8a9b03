"""`leadcrm/README.md`, the house plan: the files, rooms, states and words that it names are those of the code."""

from __future__ import annotations

import re

from leadcrm.database.states import Outcome, State
from tests.unit.test_architecture import FLOORS, ROOT, room_of
from tests.unit.test_library_internals import LIBRARIES

PAGE = (ROOT / "README.md").read_text()
CODE = "\n".join(file.read_text() for file in ROOT.rglob("*.py"))
QUOTED = re.findall(r"`([^`\n]+)`", PAGE)


def section(title: str) -> str:
    (text,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return text


def rows(text: str) -> list[list[str]]:
    """Return the cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


TERMS = [term.strip() for cells in rows(section("Glossary")) for term in cells[0].split(",")]


def test_every_file_and_folder_that_it_names_is_there() -> None:
    names = {name for name in QUOTED if re.fullmatch(r"[\w/.]+(\.py|/)", name)}
    assert len(names) > 25
    repository = ROOT.parent
    assert {name for name in names if not (repository / name).exists() and not [*ROOT.rglob(name.strip("/"))]} == set()


def test_every_name_of_the_code_that_it_quotes_is_in_the_code() -> None:
    names = {name.removesuffix("()") for name in QUOTED if re.fullmatch(r"[A-Z]\w+(\.\w+)?|\w+\(\)", name)}
    assert "Writer._keep" in names
    assert {name for name in names if not re.search(rf"\b{name.rpartition('.')[2]}\b", CODE)} == set()


def test_its_floors_are_those_that_the_imports_are_held_to() -> None:
    told: dict[int, set[str]] = {}
    for floor, room, *_ in rows(section("Rooms")):
        told.setdefault(int(floor), set()).update(
            name.strip("/").removesuffix(".py") for name in re.findall(r"`([^`]+)`", room)
        )
    assert [told[number] for number in range(len(told))] == [set(floor) - {"__init__"} for floor in FLOORS]
    assert room_of("leadcrm.errors") in told[0]


def test_its_states_and_outcomes_are_all_that_there_are() -> None:
    for state in State:
        assert state.value in section("The states of a raw row")
    told = {cells[0]: re.findall(r"`(\w+)`", cells[1]) for cells in rows(section("Glossary"))}
    assert told["state"] == [state.value for state in State]
    assert told["outcome"] == [outcome.value for outcome in Outcome]


def test_the_concepts_of_one_request_are_terms_of_the_glossary() -> None:
    (count, text) = re.findall(r"needs (\d+) concepts of the glossary: (.*?)\.", PAGE, re.DOTALL)[0]
    concepts = [concept.strip() for concept in text.split(",")]
    assert len(concepts) == int(count) <= 20
    assert set(concepts) <= set(TERMS)


def test_no_term_is_explained_twice() -> None:
    assert len(TERMS) == len(set(TERMS))


def test_it_lists_the_files_that_touch_internals_of_libraries() -> None:
    told = {
        cells[0]: {f"leadcrm/{name}" for name in re.findall(r"`([^`]+)`", cells[1])}
        for cells in rows(section("Below the documented API of libraries"))
    }
    assert told == {
        name: {file for file in library.internals if file.startswith("leadcrm/")} for name, library in LIBRARIES.items()
    }
