"""The embedded database locked, read-only, damaged, deleted, replaced: the log says so, and leads go to the spool."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.conftest import StartServer
from tests.faults.disk import Disk, MountedDisk
from tests.faults.trial import Trial, complaints
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until


def said_by(server: Server) -> str:
    return "\n".join(complaints(server))


def rows_of(server: Server) -> Rows:
    return Rows(f"sqlite:///{server.data_dir / 'leadcrm.db'}")


def test_a_database_locked_for_seconds_holds_no_lead_up(start_server: StartServer, trial: Trial) -> None:
    server = start_server(environment={"WORKERS": "2"})
    with trial.load(server):
        trial.wait_stored()
        with closing(sqlite3.connect(server.data_dir / "leadcrm.db", timeout=10, isolation_level=None)) as rival:
            rival.execute("BEGIN EXCLUSIVE")
            trial.wait_spooled(1500)
            rival.execute("ROLLBACK")
        assert trial.median_of_spooled_s() < 0.25
        trial.wait_stored()
    server.wait_drained()
    assert "leadcrm.db: database is locked (another process holds it" in said_by(server)
    trial.judge("embedded SQLite locked by another process", server, rows_of(server))


@contextmanager
def read_only(disk: Disk) -> Iterator[None]:
    """Make the disk read-only for the duration of the block."""
    if isinstance(disk, MountedDisk):
        subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,rw", str(disk.folder)], check=True)
        return
    changed = [disk.folder, *disk.folder.iterdir()]
    for path in changed:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield
    for path in changed:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_database_that_is_read_only_at_the_start_gets_its_leads_once_it_is_not(
    start_server: StartServer, disk: Disk, trial: Trial
) -> None:
    url = f"sqlite:///{disk.folder / 'leads.db'}"
    server = start_server(url, environment={"MIN_FREE_BYTES": "0", **disk.environment})
    with trial.load(server):
        trial.wait_stored()
    assert server.terminate() == 0
    with read_only(disk):
        server.start()
        with trial.load(server):
            trial.wait_spooled(500)
    with trial.load(server):
        trial.wait_stored()
    server.wait_drained()
    said = said_by(server)
    assert f"{disk.folder / 'leads.db'}" in said
    assert "writ" in said
    trial.judge("embedded SQLite read-only", server, Rows(url))


def damage(path: Path) -> None:
    """Overwrite every second page."""
    with path.open("r+b") as file:
        for page in range(0, path.stat().st_size // 4096, 2):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)


def test_a_damaged_database_is_named_and_leads_wait_in_the_spool_for_its_backup(
    start_server: StartServer, trial: Trial
) -> None:
    server = start_server(environment={"WORKERS": "2"})
    path = server.data_dir / "leadcrm.db"
    with trial.load(server):
        trial.wait_stored(500)
    assert server.terminate() == 0
    with closing(sqlite3.connect(path)) as connection:
        # Two workers that close at the same time may each leave the checkpoint to the other.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path, path.with_suffix(".backup"))
    damage(path)
    server.start()
    with trial.load(server):
        trial.wait_spooled(500)
    assert server.terminate() == 0
    said = said_by(server)
    assert f"{path}: file is not a database" in said or f"{path}: database disk image is malformed" in said
    assert "`leadcrm restore BACKUP --yes`" in said
    os.replace(path.with_suffix(".backup"), path)
    server.start()
    with trial.load(server):
        trial.wait_stored()
    server.wait_drained()
    trial.judge("embedded SQLite damaged, a copy put back", server, rows_of(server))


def test_a_database_deleted_under_the_server_is_missed_and_found_again(start_server: StartServer, trial: Trial) -> None:
    server = start_server(environment={"WORKERS": "2"})
    path = server.data_dir / "leadcrm.db"
    kept = server.directory / "kept"
    with trial.load(server):
        trial.wait_stored()
        os.link(path, kept)
        path.unlink()
        trial.wait_spooled(500)
        os.link(kept, path)
        trial.wait_stored()
    server.wait_drained()
    assert f"{path}: No such file or directory" in said_by(server)
    trial.judge("embedded SQLite deleted under the server, put back", server, rows_of(server))


def test_a_database_replaced_under_the_server_is_used_after_a_restart(start_server: StartServer, trial: Trial) -> None:
    server = start_server(environment={"WORKERS": "2"})
    path = server.data_dir / "leadcrm.db"
    with trial.load(server):
        trial.wait_stored()
    with (
        closing(sqlite3.connect(path)) as source,
        closing(sqlite3.connect(path.with_suffix(".new"))) as target,
    ):
        source.backup(target)
    os.replace(path.with_suffix(".new"), path)
    with trial.load(server):
        trial.wait_spooled(500)
        wait_until(lambda: "put the file in place and restart leadcrm" in said_by(server), what="the log to say so")
        trial.wait_spooled(100)
    assert server.terminate() == 0
    server.start()
    with trial.load(server):
        trial.wait_stored()
    server.wait_drained()
    trial.judge("embedded SQLite replaced under the server, restarted", server, rows_of(server))
