"""`leadcrm backup`, `restore` and `spool`: one file with everything that was acknowledged, the spool included."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.ingest.spool.spool import Spool
from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.crm import keep, submission
from tests.support.journal import Journal
from tests.support.load import Load, generated_leads
from tests.support.waiting import wait_until


def leads_in(path: Path) -> set[str]:
    """Return the emails of the leads in a SQLite file."""
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT email FROM leads")}


def embedded(directory: Path, *emails: str) -> Path:
    """Return a data folder whose embedded database has leads, as a server leaves it."""
    directory.mkdir(parents=True, exist_ok=True)
    keep(f"sqlite:///{directory / 'leads.db'}", [submission(b'{"email":"%s"}' % email.encode()) for email in emails])
    return directory


def on(directory: Path) -> dict[str, str]:
    return {"DATA_DIR": str(directory), "DATABASE_URL": f"sqlite:///{directory / 'leads.db'}"}


def spooled(directory: Path, *emails: str) -> None:
    """Leave leads in the spool of the data folder, as a server does while its database is away."""
    with closing(Spool(directory, max_bytes=1 << 30, min_free_bytes=0)) as spool:
        spool.write([submission(b'{"email":"%s"}' % email.encode())._replace(fields=None) for email in emails])


def test_a_backup_of_a_running_server_under_load_is_whole(start_server: StartServer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = start_server(f"sqlite:///{data / 'leads.db'}", environment={"DATA_DIR": str(data)})
    before = server.client.post_lead({"email": "before@example.com"})
    assert before.status == 201

    journal = Journal(tmp_path / "journal")
    with closing(journal), Load(server.host, server.port, journal, generated_leads(1), connections=8):
        done = leadcrm(tmp_path, "backup", "--json", str(tmp_path / "copy.db"), **on(data))

    assert done.returncode == 0, done.stderr
    assert "before@example.com" in leads_in(tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.glob("*copy.db*")) == ["copy.db"]
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    # Bytes 18 and 19 of the file: no log (https://www.sqlite.org/fileformat.html).
    assert (tmp_path / "copy.db").read_bytes()[18:20] == b"\x01\x01"


def test_a_backup_has_the_rows_of_the_spool(tmp_path: Path) -> None:
    data = embedded(tmp_path / "data", "kept@example.com")
    spooled(data, "spooled@example.com")

    done = leadcrm(tmp_path, "backup", "--json", "copy.db", **on(data))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["from_spool"] == 1
    assert leads_in(tmp_path / "copy.db") == {"kept@example.com", "spooled@example.com"}
    status = leadcrm(tmp_path, "spool", "status", "--json", **on(data))
    assert json.loads(status.stdout)["rows"] == 1, "a backup takes nothing out of the spool"


def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    data = embedded(tmp_path / "data", "a@example.com")
    (tmp_path / "copy.db").write_text("precious")

    done = leadcrm(tmp_path, "backup", "copy.db", **on(data))

    assert done.returncode == 1
    assert "exists" in done.stderr
    assert (tmp_path / "copy.db").read_text() == "precious"


def test_a_damaged_database_gives_no_backup(tmp_path: Path) -> None:
    data = embedded(tmp_path / "data", "a@example.com")
    with closing(sqlite3.connect(data / "leads.db")) as connection:
        connection.execute("UPDATE leads_raw SET body = x'00'")
        connection.commit()

    done = leadcrm(tmp_path, "backup", "copy.db", **on(data))

    assert done.returncode == 1
    assert "its body does not match its hash" in done.stderr
    assert list(tmp_path.glob("*copy.db*")) == []


def test_a_restore_over_live_data_needs_yes_and_keeps_the_old_file(tmp_path: Path) -> None:
    data = embedded(tmp_path / "data", "first@example.com")
    assert leadcrm(tmp_path, "backup", "copy.db", **on(data)).returncode == 0
    embedded(data, "second@example.com")

    refused = leadcrm(tmp_path, "restore", "copy.db", **on(data))
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    done = leadcrm(tmp_path, "restore", "copy.db", "--yes", **on(data))

    assert done.returncode == 0, done.stderr
    assert "what was erased after the backup is back" in done.stdout
    assert leads_in(data / "leads.db") == {"first@example.com"}
    (kept,) = data.glob("leads.db.before-restore-*Z")
    assert leads_in(kept) == {"first@example.com", "second@example.com"}


@pytest.mark.parametrize("words", [(), ("--spool", "off")])
def test_a_restore_brings_rows_that_the_database_refused_to_the_spool(tmp_path: Path, words: tuple[str, ...]) -> None:
    data = embedded(tmp_path / "data", "kept@example.com")
    spooled(data, "refused@example.com", "another@example.com")
    with closing(sqlite3.connect(data / "leads.db")) as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON leads_raw BEGIN SELECT raise(ABORT, 'no'); END")
        connection.commit()
    done = leadcrm(tmp_path, "backup", "--json", "copy.db", **on(data))
    assert json.loads(done.stdout)["refused_beside"] == str(tmp_path / "copy.db.spool")
    new = tmp_path / "new"
    new.mkdir()
    if words:
        spooled(new, "waiting@example.com")

    done = leadcrm(tmp_path, "restore", "copy.db", *words, **on(new))

    assert done.returncode == 0, done.stderr
    assert "2 rows of copy.db.spool are in the spool" in done.stdout
    with closing(sqlite3.connect(new / "leads.db")) as connection:
        connection.execute("DROP TRIGGER no")
        connection.commit()
    assert leadcrm(tmp_path, "spool", "drain", **on(new)).returncode == 0
    expected = {"kept@example.com", "refused@example.com", "another@example.com"}
    assert leads_in(new / "leads.db") == expected | ({"waiting@example.com"} if words else set())


def test_a_restore_onto_an_empty_machine_needs_nothing_else(start_server: StartServer, tmp_path: Path) -> None:
    data = embedded(tmp_path / "data", "first@example.com")
    assert leadcrm(tmp_path, "backup", "copy.db", **on(data)).returncode == 0

    assert leadcrm(tmp_path, "restore", "copy.db", **on(tmp_path / "new")).returncode == 0

    server = start_server(f"sqlite:///{tmp_path / 'new' / 'leads.db'}", environment={"DATA_DIR": str(tmp_path / "new")})
    assert server.client.post_lead({"email": "second@example.com"}).status == 201
    assert leads_in(tmp_path / "new" / "leads.db") == {"first@example.com", "second@example.com"}


def test_a_restore_is_refused_while_a_server_runs(start_server: StartServer, tmp_path: Path) -> None:
    data = embedded(tmp_path / "data", "first@example.com")
    assert leadcrm(tmp_path, "backup", "copy.db", **on(data)).returncode == 0
    start_server(f"sqlite:///{data / 'leads.db'}", environment={"DATA_DIR": str(data)})

    done = leadcrm(tmp_path, "restore", "copy.db", "--yes", **on(data))

    assert done.returncode == 1
    assert "a server uses" in done.stderr
    # A restore with another data folder is refused too: the server uses the file.
    elsewhere = leadcrm(
        tmp_path, "restore", "copy.db", "--yes", **{**on(data), "DATA_DIR": str(tmp_path / "elsewhere")}
    )
    assert elsewhere.returncode == 1
    assert "a server uses" in elsewhere.stderr


def test_a_restore_is_refused_while_the_spool_holds_leads(tmp_path: Path) -> None:
    data = embedded(tmp_path / "data", "first@example.com")
    assert leadcrm(tmp_path, "backup", "copy.db", **on(data)).returncode == 0
    spooled(data, "spooled@example.com")

    done = leadcrm(tmp_path, "restore", "copy.db", "--yes", **on(data))

    assert done.returncode == 1
    assert "leadcrm spool drain" in done.stderr


def test_a_file_that_is_no_backup_is_not_restored(tmp_path: Path) -> None:
    data = embedded(tmp_path / "data", "first@example.com")
    (tmp_path / "torn.db").write_bytes((data / "leads.db").read_bytes()[:9000])
    (tmp_path / "empty.db").touch()
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE other (id)")

    for name in ("torn.db", "empty.db", "other.db"):
        done = leadcrm(tmp_path, "restore", name, "--yes", **on(data))
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert leads_in(data / "leads.db") == {"first@example.com"}


def test_what_is_wrong_with_a_file_to_restore_is_told_without_a_circle(tmp_path: Path) -> None:
    data = embedded(tmp_path / "data", *(f"{number}@example.com" for number in range(100)))
    assert leadcrm(tmp_path, "backup", "torn.db", **on(data)).returncode == 0
    with (tmp_path / "torn.db").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 40_000)
    (tmp_path / "text.db").write_text("leads")
    for name, fault in {
        "gone.db": "cannot be read: No such file or directory",
        "data": "cannot be read: Is a directory",
        "text.db": "is no database",
        "torn.db": "restore another backup",
    }.items():
        done = leadcrm(tmp_path, "restore", name, "--yes", **on(data))
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert fault in done.stderr
        assert "restore BACKUP" not in done.stderr


def test_the_files_of_a_killed_backup_are_removed_by_the_next_and_those_of_a_running_one_are_not(
    tmp_path: Path,
) -> None:
    data = embedded(tmp_path / "data", "first@example.com")
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    left = tmp_path / f".copy.db.{ended.pid}.part"
    left.touch()
    left.with_name(f"{left.name}.spool").mkdir()
    running = tmp_path / f".copy.db.{os.getpid()}.part"
    running.touch()
    assert leadcrm(tmp_path, "backup", "copy.db", **on(data)).returncode == 0
    assert list(tmp_path.glob(".copy.db*")) == [running]


def test_backups_of_postgresql_are_left_to_its_own_tools(tmp_path: Path) -> None:
    done = leadcrm(tmp_path, "backup", "copy.db", DATABASE_URL="postgresql://leadcrm@127.0.0.1/leadcrm")

    assert done.returncode == 1
    assert "pg_dump" in done.stderr


def test_the_spool_is_drained_without_a_server(tmp_path: Path) -> None:
    data = embedded(tmp_path / "data", "kept@example.com")
    spooled(data, "spooled@example.com")

    done = leadcrm(tmp_path, "spool", "drain", "--json", **on(data))

    assert (done.returncode, json.loads(done.stdout)) == (0, {"drained": 1, "rows": 0, "refused": 0})
    assert leads_in(data / "leads.db") == {"kept@example.com", "spooled@example.com"}


def commands_in(text: str) -> list[str]:
    return re.findall("`(leadcrm [^`]+)`", text)


def follow(text: str, folder: Path, *, backup: str, **environment: str) -> list[str]:
    """Run the first command that a text names, then the first that its output names, until one succeeds."""
    followed: list[str] = []
    while True:
        command = commands_in(text)[0]
        assert command not in followed, f"a circle: {followed}"
        followed.append(command)
        done = leadcrm(folder, *command.replace("BACKUP", backup).split()[1:], **environment)
        if done.returncode == 0:
            return followed
        text = done.stdout + done.stderr


def test_the_hints_lead_from_a_damaged_database_with_a_full_spool_back_to_health(
    start_server: StartServer, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    embedded(data, *(f"{number}@example.com" for number in range(300)))
    assert leadcrm(tmp_path, "backup", str(tmp_path / "copy.db"), **on(data)).returncode == 0
    assert leadcrm(tmp_path, "check", **on(data)).returncode == 0
    with (data / "leads.db").open("r+b") as file:
        for page in range(5, (data / "leads.db").stat().st_size // 4096, 2):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    server = start_server(on(data)["DATABASE_URL"], environment={"DATA_DIR": str(data)})
    assert server.client.post_lead({"email": "spooled@example.com"}).receipt.stored == "spool"
    ready = json.loads(server.client.get("/ready").body)
    assert (ready["ok"], ready["fault"]) == (True, "the database is damaged: `leadcrm check`")
    assert server.terminate() == 0
    hints = {record["hint"] for record in server.log_records() if record.get("hint")}
    assert [*map(commands_in, hints)] == [["leadcrm restore BACKUP --yes"]]
    assert follow(ready["fault"], tmp_path, backup="copy.db", **on(data)) == [
        "leadcrm check",
        "leadcrm restore BACKUP --yes",
    ]

    server.start()
    assert json.loads(server.client.get("/ready").body)["fault"] is None
    wait_until(lambda: "spooled@example.com" in leads_in(data / "leads.db"))
    assert len(leads_in(data / "leads.db")) == 301
    assert server.terminate() == 0
    assert leadcrm(tmp_path, "verify", **on(data)).returncode == 0
