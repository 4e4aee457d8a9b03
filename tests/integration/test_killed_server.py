"""An operator's commands on what a server left that was killed: leads in the logs of its database and its spool."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.ingest.spool.file import make_spool_file
from leadcrm.ingest.spool.spool import Spool
from tests.conftest import server_starter
from tests.support.command import leadcrm
from tests.support.crm import keep, submission

BACKED_UP = {"backed-up@example.com"}
IN_DATABASE = BACKED_UP | {f"stored-{number}@example.com" for number in range(20)}
IN_SPOOL = {f"spooled-{number}@example.com" for number in range(20)}


@pytest.fixture(scope="module")
def left_behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a server, with an older backup beside the data; for tests to copy."""
    folder = tmp_path_factory.mktemp("killed")
    data = folder / "data"
    for start in server_starter(request.node, tmp_path_factory.mktemp("servers")):
        server = start(f"sqlite:///{data / 'leads.db'}", environment={"DATA_DIR": str(data)})
        server.client.post_lead({"email": "backed-up@example.com"})
        assert run(folder, "backup", "older.db").returncode == 0
        for email in sorted(IN_DATABASE - BACKED_UP):
            assert server.client.post_lead({"email": email}).status == 201
        server.kill9()
        with closing(Spool(data, max_bytes=1 << 30, min_free_bytes=0)) as spool:
            spool.write([submission(json.dumps({"email": email}).encode()) for email in sorted(IN_SPOOL)])
            # While it is open: closing it in an orderly way would empty its log.
            shutil.copytree(folder, folder.with_name("left-behind"))
    for log in ("leads.db-wal", "spool.db-wal"):
        assert (folder.with_name("left-behind") / "data" / log).stat().st_size > 0
    return folder.with_name("left-behind")


@pytest.fixture
def folder(left_behind: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(left_behind, tmp_path / "folder")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    data = folder / "data"
    return leadcrm(folder, *words, DATA_DIR=str(data), DATABASE_URL=f"sqlite:///{data / 'leads.db'}")


def done(folder: Path, *words: str) -> str:
    """Run a command that must succeed, and return what it printed."""
    result = run(folder, *words)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def leads_in(path: Path) -> set[str]:
    """Return the emails of a database that must be whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {row[0] for row in connection.execute("SELECT email FROM leads")}


def test_verify_and_the_lists_see_all_of_it(folder: Path) -> None:
    verified = json.loads(done(folder, "verify", "--json"))
    (day,) = verified["days"]
    assert (day["created"], day["spooled"]) == (len(IN_DATABASE), len(IN_SPOOL))
    assert json.loads(done(folder, "spool", "status", "--json"))["rows"] == len(IN_SPOOL)
    exported = [json.loads(line) for line in done(folder, "export", "--format", "ndjson").splitlines()]
    assert {lead["email"] for lead in exported} == IN_DATABASE


def test_a_backup_holds_all_of_it(folder: Path) -> None:
    assert json.loads(done(folder, "backup", "new.db", "--json"))["from_spool"] == len(IN_SPOOL)
    assert leads_in(folder / "new.db") == IN_DATABASE | IN_SPOOL


def test_a_restore_is_refused_while_the_spools_log_holds_leads(folder: Path) -> None:
    refused = run(folder, "restore", "older.db", "--yes")
    assert refused.returncode == 1
    assert f"{len(IN_SPOOL)} leads wait in the spool" in refused.stderr
    assert leads_in(folder / "data" / "leads.db") == IN_DATABASE


def test_a_restore_is_refused_while_a_spool_set_aside_holds_leads(folder: Path) -> None:
    make_spool_file(folder / "data" / "spool-2.db")
    refused = run(folder, "restore", "older.db", "--yes")
    assert refused.returncode == 1
    assert "its rows are not in the spool yet" in refused.stderr
    assert leads_in(folder / "data" / "leads.db") == IN_DATABASE


def test_a_restore_leaves_the_backups_leads_alone_and_keeps_the_old_ones_beside(folder: Path) -> None:
    for name in ("spool.db", "spool.db-wal", "spool.db-shm"):
        (folder / "data" / name).unlink()
    assert (folder / "data" / "leads.db-wal").stat().st_size > 0
    done(folder, "restore", "older.db", "--yes")
    assert leads_in(folder / "data" / "leads.db") == BACKED_UP
    (kept,) = (path for path in (folder / "data").glob("leads.db.before-restore-*") if path.name.endswith("Z"))
    assert leads_in(kept) == IN_DATABASE
    assert json.loads(done(folder, "verify", "--json"))["rows"] == len(BACKED_UP)


def test_a_drain_brings_the_spool_into_the_database(folder: Path) -> None:
    assert json.loads(done(folder, "spool", "drain", "--json")) == {"drained": 20, "rows": 0, "refused": 0}
    assert leads_in(folder / "data" / "leads.db") == IN_DATABASE | IN_SPOOL
    assert json.loads(done(folder, "verify", "--json"))["ok"]


def test_a_row_of_the_spool_that_is_damaged_is_named_and_hurts_no_other(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "data" / "spool.db")) as connection:
        ((damaged,),) = connection.execute("SELECT lower(hex(max(id))) FROM leads_raw").fetchall()
        connection.execute("UPDATE leads_raw SET body = x'00' WHERE id = (SELECT max(id) FROM leads_raw)")
        connection.commit()
    for _ in ("before the drain", "after it"):
        verified = run(folder, "verify", "--json")
        assert verified.returncode == 1
        (problem,) = json.loads(verified.stdout)["problems"]
        assert problem["where"].replace("-", "") == damaged
        assert problem["what"] == "its body does not match its hash"
        drained = run(folder, "spool", "drain", "--json")
        assert {name: json.loads(drained.stdout)[name] for name in ("rows", "refused")} == {"rows": 1, "refused": 1}
    assert len(leads_in(folder / "data" / "leads.db")) == len(IN_DATABASE | IN_SPOOL) - 1
    backed_up = json.loads(done(folder, "backup", "new.db", "--json"))
    assert backed_up["from_spool"] == 0
    with closing(sqlite3.connect(backed_up["refused_beside"])) as beside:
        assert beside.execute("SELECT lower(hex(id)) FROM leads_raw").fetchall() == [(damaged,)]


def test_migrate_and_replay_lose_none_of_it(folder: Path) -> None:
    database = f"sqlite:///{folder / 'data' / 'leads.db'}"
    failed = submission(b'{"email":"failed@example.com"}', state="failed", error="a fault of ours")
    keep(database, [failed])
    assert json.loads(done(folder, "migrate", "--json")) == []
    (replayed,) = json.loads(done(folder, "replay", "--state", "failed", "--json"))
    assert replayed["leadId"] == failed.id
    done(folder, "spool", "drain")
    assert leads_in(folder / "data" / "leads.db") == IN_DATABASE | IN_SPOOL | {"failed@example.com"}
