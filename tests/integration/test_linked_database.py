"""The embedded database may lie on another disk, behind a link."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.command import leadcrm


def link_file(data: Path, big: Path) -> None:
    shutil.move(data / "leadcrm.db", big)
    (data / "leadcrm.db").symlink_to(os.path.relpath(big / "leadcrm.db", data))


def link_folder(data: Path, big: Path) -> None:
    shutil.move(data, big / "data")
    data.symlink_to(os.path.relpath(big / "data", data.parent))


@pytest.mark.parametrize("move", [link_file, link_folder])
def test_leads_go_to_a_file_that_was_moved_and_linked(
    start_server: StartServer, tmp_path: Path, move: Callable[[Path, Path], None]
) -> None:
    data, big = tmp_path / "data", tmp_path / "big"
    big.mkdir()
    assert leadcrm(tmp_path, "migrate", DATA_DIR=str(data)).returncode == 0
    move(data, big)

    server = start_server(environment={"DATA_DIR": str(data)})
    answer = server.client.post_lead({"email": "linked@example.com"})

    assert answer.receipt.stored == "database"
    assert json.loads(server.client.get("/ready").body)["fault"] is None
    done = leadcrm(tmp_path, "backup", "copy.db", DATA_DIR=str(data))
    assert done.returncode == 0, done.stderr
    assert server.terminate() == 0
    done = leadcrm(tmp_path, "restore", "copy.db", "--yes", DATA_DIR=str(data))
    assert done.returncode == 0, done.stderr
    (file,) = big.rglob("leadcrm.db")
    assert not file.is_symlink()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT email FROM leads").fetchall() == [("linked@example.com",)]


def test_a_link_to_nowhere_is_told_by_the_file_that_is_missing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "leadcrm.db").symlink_to("../gone/leadcrm.db")

    done = leadcrm(tmp_path, "check", DATA_DIR=str(data))

    assert done.returncode == 1
    assert f"{tmp_path}/gone/leadcrm.db does not exist" in done.stdout
