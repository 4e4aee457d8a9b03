"""A damaged spool: it is set aside, logged and salvaged, and leads are still taken."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path

import pytest

from leadcrm.errors import SpoolDamaged
from leadcrm.ingest.spool.file import set_aside_files, spool_in_use, unsalvaged_files
from leadcrm.ingest.spool.salvage import salvage_all
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.spool.sqlite_pages import lost_from_log
from leadcrm.ingest.submission import Receipt, Submission
from tests.conftest import StartServer
from tests.faults.trial import Trial
from tests.support import crm as support
from tests.support.command import leadcrm
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.waiting import wait_until

ROWS = 60


def submission(number: int) -> Submission:
    # The body of every fifth needs overflow pages.
    body = json.dumps({"email": f"user{number}@example.com", "text": "x" * (9000 if number % 5 == 0 else 50)}).encode()
    return support.submission(body, key=f"key {number}")._replace(fields=None)


def open_spool(data_dir: Path) -> Spool:
    return Spool(data_dir, max_bytes=1 << 30, min_free_bytes=0)


def copied(data_dir: Path, target: Path) -> Path:
    """Copy the files in the state a killed process leaves."""
    shutil.copytree(data_dir, target)
    return target


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[tuple[Path, dict[str, Submission]]]:
    """The folder of a killed spool with half of its rows in the file and half in its log."""
    with closing(open_spool(make(tmp_path / "live"))) as spool:
        submissions = [submission(number) for number in range(ROWS)]
        spool.write(submissions[: ROWS // 2])
        with closing(sqlite3.connect(spool.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for row in submissions[ROWS // 2 :]:
            spool.write([row])
        yield copied(spool.data_dir, tmp_path / "killed"), {row.id: row for row in submissions}


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def start_over(data_dir: Path) -> list[Submission]:
    """Repeat the steps of a start and return the rows of the spool, which must also accept a new row."""
    with closing(open_spool(data_dir)) as spool:
        spool.inspect()
        new = submission(ROWS)
        (receipt,) = spool.write([new])
        assert isinstance(receipt, Receipt)
        # If the file proves damaged only now, the new row is salvaged from it.
        with suppress(SpoolDamaged):
            spool.oldest(1000, 1 << 30)
        salvage_all(spool)
        found = [row for row in spool.oldest(1000, 1 << 30) if sha256(row.body or b"").digest() == row.body_sha256]
    assert new.id in {row.id for row in found}
    assert unsalvaged_files(data_dir) == []
    return [row for row in found if row.id != new.id]


def test_a_file_cut_off_at_any_page_gives_up_every_row_that_is_left(
    killed: tuple[Path, dict[str, Submission]], tmp_path: Path
) -> None:
    folder, written = killed
    (folder / "spool.db-wal").unlink()
    (folder / "spool.db-shm").unlink()
    size = (folder / "spool.db").stat().st_size
    kept = []
    for pages in range(size // 4096 + 1):
        torn = copied(folder, tmp_path / f"cut-{pages}")
        with (torn / "spool.db").open("r+b") as file:
            file.truncate(pages * 4096)
        found = start_over(torn)
        assert all(row == written[row.id] for row in found)
        assert (spool_in_use(torn).name, len(set_aside_files(torn))) == (
            ("spool.db", 0) if pages * 4096 == size else ("spool-2.db", 1)
        )
        kept.append(len(found))
    assert kept == sorted(kept)
    assert kept[-1] == ROWS // 2
    assert kept[-2] > 0


def test_a_file_with_any_page_overwritten_gives_up_every_other_row(
    killed: tuple[Path, dict[str, Submission]], tmp_path: Path
) -> None:
    folder, written = killed
    chance = random.Random(1)
    for page in range((folder / "spool.db").stat().st_size // 4096):
        torn = copied(folder, tmp_path / f"overwritten-{page}")
        with (torn / "spool.db").open("r+b") as file:
            file.seek(page * 4096)
            file.write(chance.randbytes(4096))
        found = start_over(torn)
        # The rows in the log survive any damage to the file; a page of the file has only a few rows.
        assert len(found) >= ROWS - 12
        assert all(row == written[row.id] for row in found)


def test_a_log_cut_off_anywhere_is_noticed_and_gives_up_what_is_left(
    killed: tuple[Path, dict[str, Submission]], tmp_path: Path
) -> None:
    folder, written = killed
    assert lost_from_log(folder / "spool.db") is None
    frames = ((folder / "spool.db-wal").stat().st_size - 32) // 4120
    for frame in range(0, frames, 3):
        torn = copied(folder, tmp_path / f"cut-{frame}")
        with (torn / "spool.db-wal").open("r+b") as file:
            file.truncate(32 + frame * 4120 + frame % 7)
        assert lost_from_log(torn / "spool.db") is not None
        found = start_over(torn)
        assert len(found) >= ROWS // 2
        assert all(row == written[row.id] for row in found)
        assert len(set_aside_files(torn)) == 1


def test_a_log_torn_in_the_middle_gives_up_what_stands_after_the_tear(
    killed: tuple[Path, dict[str, Submission]], tmp_path: Path
) -> None:
    folder, written = killed
    for index_is_there in (True, False):
        torn = copied(folder, tmp_path / f"torn-{index_is_there}")
        with (torn / "spool.db-wal").open("r+b") as file:
            file.seek(32 + 4 * 4120)
            file.write(b"\0" * 4120)
        if not index_is_there:
            (torn / "spool.db-shm").unlink()
        found = start_over(torn)
        assert len(found) >= ROWS - 6
        assert all(row == written[row.id] for row in found)


def test_a_log_whose_frames_are_all_in_the_file_may_be_cut_off(tmp_path: Path) -> None:
    with closing(open_spool(make(tmp_path / "live"))) as spool:
        written = [submission(number) for number in range(ROWS)]
        spool.write(written)
        with closing(sqlite3.connect(spool.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        cut = copied(spool.data_dir, tmp_path / "cut")
    with (cut / "spool.db-wal").open("r+b") as file:
        file.truncate(32 + 4120)
    assert lost_from_log(cut / "spool.db") is None
    assert {row.id for row in start_over(cut)} == {row.id for row in written}
    assert set_aside_files(cut) == []


def test_the_commands_see_a_torn_spool_as_a_start_does(
    killed: tuple[Path, dict[str, Submission]], tmp_path: Path
) -> None:
    folder, written = killed
    with (folder / "spool.db-wal").open("r+b") as file:
        file.truncate(32 + 8 * 4120)
    settings = {"DATA_DIR": str(folder)}
    assert leadcrm(tmp_path, "migrate", **settings).returncode == 0
    verified = leadcrm(tmp_path, "verify", "--json", **settings)
    assert "rows are not salvaged yet" in verified.stdout
    assert verified.returncode == 1
    refused = leadcrm(tmp_path, "backup", "copy.db", **settings)
    assert "its rows are not in the spool yet" in refused.stderr
    assert refused.returncode == 1
    drained = leadcrm(tmp_path, "spool", "drain", "--json", **settings)
    assert drained.returncode == 0, drained.stderr
    assert len(written) > json.loads(drained.stdout)["drained"] >= ROWS // 2
    assert leadcrm(tmp_path, "verify", **settings).returncode == 0


def damage(spool_path: Path) -> None:
    """Overwrite every page that leads to rows and none that holds rows, so that all rows can be salvaged."""
    with closing(sqlite3.connect(spool_path, timeout=10, isolation_level=None)) as connection:
        empty_log_and_keep_writers_out(connection, spool_path)
        with spool_path.open("r+b") as file:
            for page in range(spool_path.stat().st_size // 4096):
                file.seek(page * 4096)
                if page == 0 or file.read(1)[0] in (0x02, 0x05, 0x0A):
                    file.seek(page * 4096)
                    file.write(b"\xff" * 4096)
        connection.execute("ROLLBACK")


def empty_log_and_keep_writers_out(connection: sqlite3.Connection, path: Path) -> None:
    """Begin a transaction that finds the log empty: a commit's pages in it would stand for those in the file."""

    def has_begun() -> bool:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("BEGIN IMMEDIATE")
        if not path.with_name(f"{path.name}-wal").stat().st_size:
            return True
        connection.execute("ROLLBACK")
        return False

    wait_until(has_begun, what="the log to be empty")


def test_a_spool_that_is_damaged_while_it_is_in_use_loses_no_lead(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    own_postgres.stop("immediate")
    server = start_server(url, environment={"WORKERS": "2"})
    with trial.load(server):
        trial.wait_spooled(300)
        damage(server.data_dir / "spool.db")
        wait_until((server.data_dir / "spool-2.db").exists, what="the spool to be set aside")
        trial.wait_spooled(300)
        server.kill9()
        server.start()
        trial.wait_spooled(300)
        own_postgres.start()
        trial.wait_stored()
    server.wait_drained()
    ready = server.client.get("/ready").json()
    assert ready["spool"]["set_aside"] == [str(server.data_dir / "spool.db")]
    assert "damaged and set aside" in ready["fault"]
    said = [record["msg"] for record in server.log_records() if record["level"] == "error"]
    assert any("cannot be used as the spool any more, spool-2.db takes its place" in line for line in said)
    assert any("rows were salvaged from" in line for line in said)
    trial.judge("the spool's file damaged in use; server killed -9", server, Rows(url), killed=True)


def test_a_spool_that_is_torn_while_the_server_is_down_loses_no_row_that_is_left(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    own_postgres.stop("immediate")
    server = start_server(url)
    with trial.load(server):
        trial.wait_spooled(300)
        server.kill9()
        damage(server.data_dir / "spool.db")
        server.start()
        trial.wait_spooled(300)
        own_postgres.start()
        trial.wait_stored()
    server.wait_drained()
    trial.judge("the spool's file torn while the server is down", server, Rows(url), killed=True)


def test_a_spool_that_is_deleted_under_the_server_is_followed_by_another(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment={"WORKERS": "2"})
    with trial.load(server):
        trial.wait_stored()
        (server.data_dir / "spool.db").unlink()
        own_postgres.stop("immediate")
        trial.wait_spooled(300)
        own_postgres.start()
        trial.wait_stored()
    server.wait_drained()
    trial.judge("the empty spool's file deleted under the server", server, Rows(url))


@pytest.mark.alone
def test_a_spool_that_another_process_holds_keeps_no_lead_from_the_database(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url)
    assert server.terminate() == 0
    with closing(sqlite3.connect(server.data_dir / "spool.db", timeout=10, isolation_level=None)) as rival:
        # A mere transaction would still let others read.
        rival.execute("PRAGMA locking_mode = EXCLUSIVE")
        rival.execute("BEGIN EXCLUSIVE")
        server.start()
        with trial.load(server):
            trial.wait_stored(3000)
    with trial.load(server):
        trial.wait_stored()
    server.wait_drained()
    trial.judge("the spool held by another process", server, Rows(url))
    slow = [entry for entry in trial.journal.entries if entry.latency_s > 0.5]
    assert len(slow) < len(trial.journal.entries) / 50
