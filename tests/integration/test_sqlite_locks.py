"""The locks that SQLite holds in a server stay: nothing else closes a descriptor of its files meanwhile."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.database.connections import open_connection
from leadcrm.database.migrations import migrate
from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.crm import url_of
from tests.support.server import Server
from tests.support.trace import descriptor_tracer, read_closes, stop, strace

TOKEN = "s3cret"
LEADS = 20


def send_leads(server: Server, stored: str) -> None:
    receipts = [server.client.post_lead({"email": f"{n}@example.com"}, timeout_s=30).receipt for n in range(LEADS)]
    assert all(receipt is not None and receipt.stored == stored for receipt in receipts)


def look_at_everything(server: Server) -> None:
    headers = [("Authorization", f"Bearer {TOKEN}")]
    for path in ("/ready", "/metrics", "/api/leads", "/api/leads?q=1@example.com", "/api/raw", "/api/stats"):
        assert server.client.get(path, headers=headers, timeout_s=30).status in (200, 503), path


def run(server: Server, *arguments: str) -> None:
    environment = {name: value for name, value in server.environment.items() if name != "PATH"}
    done = leadcrm(server.directory, *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr


def leave_log(data_dir: Path) -> None:
    """Leave a database and its log as a killed server does."""
    path = data_dir / "leadcrm.db"
    data_dir.mkdir()
    url = url_of(f"sqlite:///{path}")
    migrate(url)
    with closing(open_connection(url, timeout_s=5)) as connection:
        assert isinstance(connection, sqlite3.Connection)
        connection.execute("CREATE TABLE of_others (word text)")
        files = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal", "-shm")}
    for suffix, content in files.items():
        Path(f"{path}{suffix}").write_bytes(content)


def live(server: Server) -> None:
    """Let a server keep leads, lose its database and its spool, get them back, and stop."""
    send_leads(server, "database")
    look_at_everything(server)
    with closing(sqlite3.connect(server.data_dir / "leadcrm.db", timeout=10, isolation_level=None)) as rival:
        rival.execute("BEGIN EXCLUSIVE")
        server.client.post_lead({})
        send_leads(server, "spool")
        look_at_everything(server)
        os.truncate(server.data_dir / "spool.db", 0)
        send_leads(server, "spool")
        rival.execute("ROLLBACK")
    server.wait_drained()
    look_at_everything(server)
    run(server, "verify")
    run(server, "erase", "--email", "1@example.com", "--yes")
    send_leads(server, "database")
    stop(server)


def test_no_descriptor_of_a_file_is_closed_while_sqlite_has_it_open(start_server: StartServer, tmp_path: Path) -> None:
    if strace() is None:
        pytest.skip("strace is not installed")
    output = tmp_path / "trace"
    data_dir = tmp_path / "data"
    leave_log(data_dir)
    server = start_server(
        environment={"WORKERS": "2", "ADMIN_TOKEN": TOKEN, "COMMIT_TIMEOUT": "0.5", "DATA_DIR": str(data_dir)},
        tracer=descriptor_tracer(output),
    )
    live(server)
    # It holds no locks on the log.
    closes = [close for close in read_closes(output) if close.path.endswith((".db", ".db-shm"))]
    assert any(close.path == str(data_dir / "leadcrm.db") for close in closes if not close.is_sqlite), "a look is seen"
    assert any(close.has_sqlite_open for close in closes if close.is_sqlite), "several connections are seen"
    assert [close.path for close in closes if close.has_sqlite_open and not close.is_sqlite] == []
