"""The sources of a running process, which follow their files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leadcrm.configuration.config import load
from leadcrm.sources import live as live_module
from leadcrm.sources.catalogue import Catalogue, read_catalogue
from leadcrm.sources.live import LiveSources
from tests.support.descriptors import no_descriptors

TEXT = "[source.{}]\npreset = 'zapier'\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "sources.toml"
    file.write_text(TEXT.format("before"))
    return file


@pytest.fixture
def sources(file: Path, tmp_path: Path) -> LiveSources:
    environ = {"DATA_DIR": str(tmp_path / "data"), "SOURCES_FILE": str(file), "PATH": os.defpath}
    return LiveSources(load({}, environ, tmp_path))


def test_a_text_that_could_not_be_read_for_a_moment_is_tried_again(sources: LiveSources, file: Path) -> None:
    file.write_text(TEXT.format("after"))
    with no_descriptors():
        sources.look()
    assert list(sources.sources) == ["before"]
    assert "SOURCES_FILE has a fault" in sources.fault
    sources.look()
    assert (list(sources.sources), sources.fault) == (["after"], "")


def test_a_file_that_was_gone_for_a_moment_leaves_no_fault(sources: LiveSources, file: Path) -> None:
    # A folder that is mounted anew: the file is the same, and its times are.
    folder, aside = file.parent / "mounted", file.parent / "aside"
    folder.mkdir()
    file.rename(folder / file.name)
    file.symlink_to(folder / file.name)
    sources.look()
    folder.rename(aside)
    sources.look()
    assert "SOURCES_FILE has a fault" in sources.fault
    aside.rename(folder)
    sources.look()
    assert (list(sources.sources), sources.fault) == (["before"], "")


def test_a_text_at_which_the_reading_failed_in_an_unforeseen_way_is_tried_again(
    sources: LiveSources, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Catalogue:
        raise RuntimeError("unforeseen")

    file.write_text(TEXT.format("after"))
    monkeypatch.setattr(live_module, "read_catalogue", fail)
    with pytest.raises(RuntimeError):
        sources.look()
    monkeypatch.setattr(live_module, "read_catalogue", read_catalogue)
    sources.look()
    assert list(sources.sources) == ["after"]


@pytest.mark.parametrize(
    ("text", "readings"), [("[source.after", 1), (TEXT.format("after") + "secret_file = 'a-folder'", 2)]
)
def test_a_fault_of_the_text_is_read_once_and_a_secret_that_cannot_be_read_again(
    sources: LiveSources, file: Path, monkeypatch: pytest.MonkeyPatch, text: str, readings: int
) -> None:
    read = []

    def count(path: Path, *, may_be_empty: bool) -> Catalogue:
        read.append(path)
        return read_catalogue(path, may_be_empty=may_be_empty)

    monkeypatch.setattr(live_module, "read_catalogue", count)
    file.with_name("a-folder").mkdir()
    file.write_text(text)
    for _ in range(2):
        sources.look()
        assert "SOURCES_FILE has a fault" in sources.fault
    assert len(read) == readings
