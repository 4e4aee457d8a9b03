"""Nothing that senders wrote makes a terminal obey, whatever the command, on a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import tty
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.crm import keep, run_command, submission
from tests.support.server import clean_environment, command
from tests.support.terminal import OBEYED

HOSTILE = f"\x1b[31mred\x1b]0;title\x07{OBEYED}end"
SHOWN = "\u241b[31mred"

LEAD_ID = "00000000-0000-7000-8000-000000000001"
BAD_ID = "00000000-0000-7000-8000-000000000002"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database in which every text that a sender chooses is hostile."""
    database = f"sqlite:///{tmp_path_factory.mktemp('database') / 'leads.sqlite3'}"
    names = ("firstName", "lastName", "email", "phone", "country", "offer", "description")
    hostile = {
        "request_id": HOSTILE,
        "idempotency_key": HOSTILE,
        "key_sha256": b"k" * 32,
        "target": f"/api/lead?{HOSTILE}",
        "remote_addr": HOSTILE,
        "content_type": HOSTILE,
        "headers": {"x-odd": HOSTILE, HOSTILE: "x"},
        "node": HOSTILE,
    }
    lead = submission(json.dumps(dict.fromkeys(names, HOSTILE)).encode(), lead_id=LEAD_ID)
    bad = submission(f"no JSON {HOSTILE}\nnor a form".encode(), lead_id=BAD_ID, state="invalid", error=HOSTILE)
    keep(database, [lead._replace(**hostile), bad._replace(**{**hostile, "key_sha256": b"l" * 32})])
    return database


def on_a_terminal(folder: Path, database: str, *words: str) -> str:
    """Run a command whose stdout is a terminal, and return what the terminal was sent."""
    controller, terminal = os.openpty()
    # Else the terminal itself adds a carriage return to every line break.
    tty.setraw(terminal)
    environment = {
        **clean_environment(folder),
        "DATABASE_URL": database,
        "DATA_DIR": str(folder / "data"),
        # On which tables are not in bold: every escape would be a sender's.
        "TERM": "dumb",
    }
    sent = b""
    with subprocess.Popen(
        [*command(), *words], cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE
    ) as process:
        os.close(terminal)
        # The other end is closed: EIO.
        with suppress(OSError):
            while part := os.read(controller, 65_536):
                sent += part
        os.close(controller)
        assert process.stderr is not None
        assert (process.wait(), process.stderr.read()) == (0, b"")
    return sent.decode()


def assert_harmless(text: str) -> None:
    assert set(OBEYED) & set(text) <= {"\n"}


@pytest.mark.parametrize(
    "words",
    [
        ("leads", "list"),
        ("leads", "show", LEAD_ID),
        ("raw", "list", "--state", "invalid", "--state", "stored"),
        ("raw", "show", BAD_ID),
        ("export", "--format", "csv"),
        ("export", "--format", "ndjson"),
    ],
    ids=lambda words: " ".join(words).replace(LEAD_ID, "lead").replace(BAD_ID, "bad"),
)
def test_nothing_that_a_sender_wrote_is_obeyed(database: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    on_terminal = on_a_terminal(tmp_path, database, *words)
    assert on_terminal
    assert_harmless(on_terminal)
    if words[0] == "export":
        # For programs it is as it was stored.
        done = run_command(tmp_path, database, *words)
        escape = "\\u001b" if words[-1] == "ndjson" else "\x1b"
        assert f"{escape}[31mred" in done.stdout
        return
    piped = run_command(tmp_path, database, *words)
    assert (piped.returncode, piped.stderr) == (0, "")
    assert_harmless(piped.stdout)
    assert SHOWN in piped.stdout
    if words[:2] == ("raw", "list"):
        ids = [row.split()[0] for row in piped.stdout.removesuffix("\n").split("\n")]
        assert ids == ["id", BAD_ID, LEAD_ID], "every row is one line"


@pytest.mark.parametrize("words", [("leads", "show", LEAD_ID), ("raw", "show", BAD_ID)])
def test_json_is_one_line_of_ascii(database: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    told = on_a_terminal(tmp_path, database, *words, "--json")
    assert told.isascii()
    assert_harmless(told)
    assert told.count("\n") == 1
    assert json.dumps(HOSTILE)[1:-1] in told


def test_a_table_keeps_ids_times_status_and_assignment_beside_long_texts(tmp_path: Path) -> None:
    long = f"sqlite:///{tmp_path / 'long.sqlite3'}"
    names = ("firstName", "lastName", "email", "phone", "country", "offer")
    keep(long, [submission(json.dumps(dict.fromkeys(names, "x" * 2_000)).encode(), lead_id=LEAD_ID)])
    changes = ("--status", "called", "--assigned-to", "an")
    assert run_command(tmp_path, long, "leads", "set", LEAD_ID, *changes).returncode == 0
    asked = (
        "leads",
        "list",
        "--columns",
        "id,createdAt,status,assignedTo,firstName,lastName,email,phone,country,offer",
    )
    for table in (run_command(tmp_path, long, *asked).stdout, on_a_terminal(tmp_path, long, *asked)):
        head, row = table.splitlines()
        assert head.split()[:3] == ["id", "createdAt", "status"]
        lead_id, date, at, status, assigned, *others = row.split()
        assert (lead_id, status, assigned) == (LEAD_ID, "called", "an")
        assert datetime.fromisoformat(f"{date} {at}")
        assert len(others) == len(names)
        assert all(text.startswith("xxx") for text in others)


def test_progress_is_shown_on_a_terminal_only(database: str, tmp_path: Path) -> None:
    for words in (("export", "--format", "csv", "--output", "out.csv"), ("verify",), ("backup", "out.db")):
        done = run_command(tmp_path, database, *words)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert "\x1b" not in done.stdout


def test_a_narrow_screen_has_the_columns_that_people_call_by(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'leads.sqlite3'}"
    keep(database, [submission(b'{"phone":"+37126123456","country":"LV","offer":"Gold"}')])
    head, row = on_a_terminal(tmp_path, database, "leads", "list").splitlines()
    assert head.split() == ["id", "phone", "country", "offer", "status"]
    assert row.split()[1:] == ["+37126123456", "LV", "Gold", "new"]
