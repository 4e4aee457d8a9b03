"""What the executable needs, how large it is and how soon it serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import monotonic, sleep

import pytest

from leadcrm.cli import COMMANDS
from tests.support.server import Server, StartServer

MOST_BYTES = 20 * 1024 * 1024
MOST_START_S = 0.7
MOST_TIMES_THE_SOURCE = 1.6
MOST_VERSION_S = 0.5
LIBRARIES_S = 0.25
"""What importing the libraries takes on a machine for which the limits in seconds hold; a slower one gets more time."""

MOST_TRIALS = 15
"""A trial may meet a busy machine, so the best of some counts: enough that one of them meets a quiet moment."""


def test_the_executable_has_at_most_twenty_megabytes(executable: Path) -> None:
    assert executable.stat().st_size <= MOST_BYTES


def test_it_serves_in_an_empty_folder_with_an_empty_environment(executable: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    harness = Server(tmp_path)
    line = [executable, "serve", "--host", harness.host, "--port", str(harness.port)]
    with subprocess.Popen(line, cwd=folder, env={}, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for_health(harness)
            body = {"email": "test@example.com", "firstName": "John", "phone": "+371123456789"}
            first = harness.client.post_lead(body, key="test-key-123")
            second = harness.client.post_lead(body, key="test-key-123")
        finally:
            process.terminate()
    assert (first.status, second.status, process.returncode) == (201, 409, 0)
    assert first.json()["lead_id"] == second.json()["lead_id"]
    assert sorted(path.name for path in folder.iterdir()) == ["data"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_keeps_leads_on_both_databases(start_server: StartServer, database: str, workers: str) -> None:
    server = start_server(database, environment={"WORKERS": workers})
    answers = [server.client.post_lead(b'{"email": "a@example.com"}', key=f"key-{number}") for number in range(8)]
    assert [answer.status for answer in answers] == [201] * 8
    assert {answer.receipt.stored for answer in answers if answer.receipt} == {"database"}
    assert server.terminate() == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_inside_and_shows_its_examples(executable: Path, tmp_path: Path, command: str) -> None:
    shown = subprocess.run(
        [executable, command, "--help"], check=False, cwd=tmp_path, env={}, capture_output=True, text=True
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"leadcrm {command}" in shown.stdout.partition("examples:")[2]


def test_every_command_does_its_work(
    executable: Path, start_server: StartServer, database: str, tmp_path: Path
) -> None:
    server = start_server(database)
    lead_id = server.client.post_lead(b'{"email": "a@example.com"}').json()["lead_id"]
    assert server.client.post_lead(b"no payload").status == 400
    assert server.terminate() == 0

    def run(*words: str) -> str:
        environment = {"DATABASE_URL": database, "DATA_DIR": str(server.data_dir)}
        done = subprocess.run(
            [executable, *words], check=False, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    assert json.loads(run("migrate", "status", "--json"))["pending"] == []
    assert "FAILED" not in run("check")
    assert lead_id in run("leads", "list")
    assert lead_id in run("leads", "list", "--json")
    assert lead_id in run("export", "--format", "csv")
    assert lead_id not in run("raw", "list", "--state", "invalid")
    assert run("replay", "--state", "failed")
    assert run("spool", "status")
    assert run("verify")
    assert "unknown" not in json.loads(run("version", "--json")).values()
    if database.startswith("sqlite"):
        run("backup", "leads.backup")
        run("restore", "leads.backup", "--yes")
        assert lead_id in run("leads", "list")


def test_it_is_healthy_soon_and_not_much_later_than_the_source(
    executable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best_s, of_the_source = 60.0, []
    for trial in range(MOST_TRIALS):
        monkeypatch.setenv("LEADCRM_TEST_EXECUTABLE", str(executable))
        took_s = _start_s(tmp_path / f"{trial}")
        # Beside the start: a machine that other work shares is fast and slow by turns.
        best_s = min(best_s, took_s / slowness(1))
        monkeypatch.delenv("LEADCRM_TEST_EXECUTABLE")
        # Of two that follow each other: the best of each may be from a fast and from a slow turn.
        of_the_source.append(took_s / _start_s(tmp_path / f"{trial}-source"))
        if best_s < MOST_START_S and median(of_the_source) < MOST_TIMES_THE_SOURCE:
            break
    print(f"healthy after {best_s:.3f} s, {median(of_the_source):.2f} times what the source takes")
    assert best_s < MOST_START_S
    assert median(of_the_source) < MOST_TIMES_THE_SOURCE


def test_version_takes_less_than_half_a_second(executable: Path, tmp_path: Path) -> None:
    best_s = 60.0
    for _ in range(MOST_TRIALS):
        started = monotonic()
        subprocess.run([executable, "version"], cwd=tmp_path, env={}, check=True, stdout=subprocess.DEVNULL)
        best_s = min(best_s, monotonic() - started)
        if best_s < MOST_VERSION_S:
            break
    print(f"leadcrm version took {best_s:.3f} s")
    assert best_s < MOST_VERSION_S * slowness()


def slowness(trials: int = 5) -> float:
    """Return how many times slower than such a machine this one is now, at least 1; none of our code counts."""
    best_s = 60.0
    for _ in range(trials):
        before = os.times()
        subprocess.run([sys.executable, "-c", "import sanic, pony.orm, psycopg2, uvloop"], check=True)
        after = os.times()
        took_s = after.children_user - before.children_user + after.children_system - before.children_system
        best_s = min(best_s, took_s)
    return max(1.0, best_s / LIBRARIES_S)


def _start_s(directory: Path) -> float:
    """Return the time to the first healthy answer, without what its processes waited for a processor."""
    server = Server(directory)
    started = monotonic()
    server.start(wait=False)
    try:
        _wait_for_health(server)
        return monotonic() - started - sum(map(_stood_in_line_s, server.pids()))
    finally:
        server.clean_up()


def _stood_in_line_s(pid: int) -> float:
    """Return how long a process was ready to run while others had the processors, as far as the kernel tells."""
    try:
        _, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except OSError:
        return 0.0
    return int(waited_ns) / 1e9


def _wait_for_health(server: Server) -> None:
    """Wait more finely than the harness does, since here the time counts."""
    deadline = monotonic() + 30
    while monotonic() < deadline:
        try:
            if server.client.get("/health").status == 200:
                return
        except OSError:
            sleep(0.002)
    raise AssertionError(f"{server!r} is not healthy: {os.linesep}{server.log_text()}")
