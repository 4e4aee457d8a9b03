"""The databases that a data folder's servers have used: what is noted, told and taken back."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from leadcrm.database.used_databases import (
    USED_DATABASES_FILE,
    describe_change,
    describe_change_to,
    note_place,
    note_renewal,
    note_use,
    require_used,
)
from leadcrm.errors import ConfigError

A = ("postgresql://db/leadcrm", "2026-01-01T00:00:00.000+00:00")
A_RENAMED = ("postgresql://db.example.com/leadcrm", A[1])
B = ("sqlite:////data/leadcrm.db", "2026-02-02T00:00:00.000+00:00")
B_ANEW = (B[0], "2026-03-03T00:00:00.000+00:00")


def noted(folder: Path) -> list[tuple[str, str]]:
    return [(one["place"], one["made_at"]) for one in json.loads((folder / USED_DATABASES_FILE).read_text())]


@pytest.mark.parametrize(
    ("used", "left"),
    [
        ([A], [A]),
        ([A, A], [A]),
        ([A, A_RENAMED], [A_RENAMED]),
        ([A, B], [A, B]),
        ([A, B, B], [A, B]),
        ([B, B_ANEW], [B, B_ANEW]),
        ([A, B, B_ANEW], [A, B, B_ANEW]),
        ([A, B, A], [A]),
        ([A, B, B_ANEW, B], [A, B]),
        ([B, B_ANEW, A, B], [B]),
    ],
)
def test_a_change_is_told_until_the_former_database_is_used_again(
    tmp_path: Path, used: list[tuple[str, str]], left: list[tuple[str, str]]
) -> None:
    for one in used:
        note_use(tmp_path, *one)
    assert noted(tmp_path) == left
    assert (tmp_path / USED_DATABASES_FILE).stat().st_mode & 0o777 == 0o600
    told = describe_change(tmp_path)
    assert (told is not None) == (len(left) > 1)
    for place, made_at in left[:-1]:
        assert told is not None
        assert f"lie in another database: {place}, made {made_at}" in told
    # Deleting the file says that it was meant.
    (tmp_path / USED_DATABASES_FILE).unlink()
    assert describe_change(tmp_path) is None


def test_of_many_that_notice_it_at_once_one_tells(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note_use(tmp_path, *A)
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(8) as pool:
        for change in [B, A] * 5:
            list(pool.map(lambda _number, one=change: note_use(tmp_path, *one), range(8)))  # type: ignore[misc]
            assert noted(tmp_path) == ([A, B] if change == B else [A])
    assert ["another" in record.msg for record in caplog.records] == [True, False] * 5


@pytest.mark.parametrize(
    ("used", "left"), [([A], [A]), ([B], [(B[0], "")]), ([A, B], [A, (B[0], "")]), ([B, B_ANEW], [(B[0], "")])]
)
def test_what_a_command_puts_in_a_place_is_no_change(
    tmp_path: Path, used: list[tuple[str, str]], left: list[tuple[str, str]]
) -> None:
    note_renewal(tmp_path, B[0])
    for one in used:
        note_use(tmp_path, *one)
    note_renewal(tmp_path, B[0])
    assert noted(tmp_path) == left
    if left[-1][0] == B[0]:
        note_use(tmp_path, *B_ANEW)
        assert noted(tmp_path) == [*left[:-1], B_ANEW]


def test_a_folder_of_an_older_version_is_known_by_the_place(tmp_path: Path) -> None:
    note_place(tmp_path, A[0])
    assert describe_change_to(tmp_path, *A) is None
    told = describe_change_to(tmp_path, *B)
    assert told is not None
    assert f"lie in another database: {A[0]}; since then they go to {B[0]}, made {B[1]}" in told
    note_use(tmp_path, *A)
    note_place(tmp_path, B[0])
    assert noted(tmp_path) == [A]


@pytest.mark.parametrize("text", ["", "[", "{}", "[1]", '[{"place": "x"}]', "\x00"])
def test_a_file_that_is_not_ours_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / USED_DATABASES_FILE).write_text(text)
    assert describe_change(tmp_path) is None
    note_use(tmp_path, *A)
    assert noted(tmp_path) == [A]


def test_leads_are_moved_only_to_a_database_that_was_used(tmp_path: Path) -> None:
    require_used(tmp_path, *B)
    note_use(tmp_path, *A)
    require_used(tmp_path, *A_RENAMED)
    for other in (B, (A[0], "")):
        with pytest.raises(ConfigError, match=rf"meant for {A[0]}, made .*delete .*{USED_DATABASES_FILE}"):
            require_used(tmp_path, *other)
