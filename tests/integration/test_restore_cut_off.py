"""A restore that is killed or interrupted at any step loses no lead of the database that it was to replace."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.command import ENVIRONMENT, leadcrm
from tests.support.crm import keep, submission

CUT_OFF = """\
import os, signal, sys
left = int(sys.argv[1])

def cut_off(call):
    def counted(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.Signals[sys.argv[2]])
        return call(*arguments, **named)
    return counted

from leadcrm.cli import main
for name in ("link", "rename", "unlink", "fsync", "chmod"):
    setattr(os, name, cut_off(getattr(os, name)))
sys.exit(main(sys.argv[3:]))
"""
"""Runs a command and sends it a signal before the n-th of the calls that change files or make changes durable."""

IN_FILE = {f"file-{number}@example.com" for number in range(200)}
IN_LOG = {f"log-{number}@example.com" for number in range(20)}
IN_BACKUP = {"backup@example.com"}


def kept(path: Path, emails: set[str]) -> Path:
    keep(f"sqlite:///{path}", [submission(b'{"email":"%s"}' % email.encode()) for email in sorted(emails)])
    return path


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = kept(tmp_path_factory.mktemp("backup") / "backup.db", IN_BACKUP)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with leads that are only in its log, as a power cut leaves it."""
    made, left = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("left")
    kept(made / "leads.db", IN_FILE)
    with closing(sqlite3.connect(made / "leads.db")) as reader:
        reader.execute("SELECT count(*) FROM leads_raw").fetchone()
        kept(made / "leads.db", IN_LOG)
        for name in ("leads.db", "leads.db-wal"):
            shutil.copy(made / name, left)
    return left


@pytest.fixture(scope="module")
def damaged(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a damaged page, of which the log has no copy."""
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(sound, folder, dirs_exist_ok=True)
    whole = shutil.copytree(sound, tmp_path_factory.mktemp("whole"), dirs_exist_ok=True)
    with closing(sqlite3.connect(whole / "leads.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'leads_tokens'").fetchone()
    with (folder / "leads.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    return folder


def leads_in(path: Path, to: Path) -> set[str]:
    """Return the emails in a copy of a database and its log."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for file in (path, path.with_name(f"{path.name}-wal")):
        if file.exists():
            shutil.copy(file, to)
    with closing(sqlite3.connect(to / path.name)) as connection:
        return {row[0] for row in connection.execute("SELECT email FROM leads")}


def on(data: Path) -> dict[str, str]:
    return {"DATA_DIR": str(data), "DATABASE_URL": f"sqlite:///{data / 'leads.db'}"}


def restore(data: Path, backup: Path, step: int, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CUT_OFF, str(step), name, "restore", str(backup), "--yes"],
        cwd=data.parent,
        env={**ENVIRONMENT, **on(data)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_the_old_database_with_its_log_or_the_new_one_is_in_place(
    sound: Path, backup: Path, tmp_path: Path, name: str
) -> None:
    step, seen = 0, []
    while True:
        step += 1
        data = tmp_path / f"data-{step}"
        shutil.copytree(sound, data)
        done = restore(data, backup, step, name)
        found = leads_in(data / "leads.db", tmp_path / "copy")
        assert found in (IN_FILE | IN_LOG, IN_BACKUP), (step, len(found))
        if done.returncode == 0:
            break
        seen.append(found == IN_BACKUP)
        again = leadcrm(tmp_path, "restore", str(backup), "--yes", **on(data))
        assert again.returncode == 0, again.stderr
        assert leads_in(data / "leads.db", tmp_path / "copy") == IN_BACKUP
        copies = [leads_in(path, tmp_path / "copy") for path in data.glob("*.before-restore-*Z")]
        assert IN_FILE | IN_LOG in copies
    assert step >= 8
    assert False in seen
    assert not (data / "leads.db-wal").exists()


def test_no_lead_in_the_log_of_a_damaged_database_is_lost(damaged: Path, backup: Path, tmp_path: Path) -> None:
    step, was_told = 0, False
    while True:
        step += 1
        data = tmp_path / f"data-{step}"
        shutil.copytree(damaged, data)
        done = restore(data, backup, step, "SIGKILL")
        if done.returncode == 0:
            break
        assert signal.Signals(-done.returncode) is signal.SIGKILL
        is_old = (data / "leads.db").read_bytes() == (damaged / "leads.db").read_bytes()
        if is_old and not (data / "leads.db-wal").exists():
            # The one moment in which the old file looks as if it were all.
            checks = json.loads(leadcrm(tmp_path, "check", "--json", **on(data)).stdout)["checks"]
            (told,) = (check for check in checks if check["name"] == "database")
            assert "a restore was cut off" in told["text"]
            assert "leadcrm restore BACKUP --yes" in told["hint"]
            was_told = True
        if is_old:
            again = leadcrm(tmp_path, "restore", str(backup), "--yes", **on(data))
            assert again.returncode == 0, again.stderr
        assert leads_in(data / "leads.db", tmp_path / "copy") == IN_FILE | IN_LOG | IN_BACKUP
    assert was_told
    assert leads_in(data / "leads.db", tmp_path / "copy") == IN_FILE | IN_LOG | IN_BACKUP


def test_an_interrupted_restore_gives_a_damaged_database_its_log_back(
    damaged: Path, backup: Path, tmp_path: Path
) -> None:
    for step in range(1, 100):
        data = tmp_path / f"data-{step}"
        shutil.copytree(damaged, data)
        if restore(data, backup, step, "SIGINT").returncode == 0:
            break
        if (data / "leads.db").read_bytes() == (damaged / "leads.db").read_bytes():
            assert (data / "leads.db-wal").exists(), step
            assert [*data.glob("*.before-restore-*")] == [], step
    assert step >= 8


def test_the_database_in_use_is_no_backup_of_itself(sound: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(sound, data)
    done = leadcrm(tmp_path, "restore", str(data / "leads.db"), "--yes", **on(data))
    assert done.returncode == 1
    assert "is the database in use itself" in done.stderr
