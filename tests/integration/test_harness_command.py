"""Commands that run in forks of one process leave what processes of their own leave."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.command import ENVIRONMENT, ROOT, run_line
from tests.support.forks import Forks

ENDS = ["", "sys.exit(7)", "sys.exit('told')", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"]
PROGRAM = """\
import atexit, json, os, signal, sys, threading, time
for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(errors="backslashreplace")
told = {
    "folder": os.getcwd(), "path": sys.path[0], "words": sys.argv[1:], "variables": dict(os.environ),
    "open": [number for number in range(64) if os.path.exists(f"/proc/self/fd/{number}")],
    "kinds": [os.fstat(number).st_mode >> 12 for number in range(3)], "umask": os.umask(0o77), "zone": time.tzname,
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
    "blocked": [*signal.pthread_sigmask(signal.SIG_BLOCK, [])], "group": os.getpgrp(), "session": os.getsid(0),
    "threads": threading.active_count(), "streams": [[s.encoding, s.line_buffering] for s in (sys.stdout, sys.stderr)],
}
atexit.register(lambda: print("the end"))
print(json.dumps(told, sort_keys=True), "\\u00e9\\r\\nnext\\rline")
print("e" * 200_000, file=sys.stderr)
sys.stdout.flush()
exec(sys.argv[3])
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of leadcrm's name that tells what it was started with, and ends as it is told."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "leadcrm" / "cli").mkdir(parents=True)
    (folder / "leadcrm" / "__init__.py").touch()
    (folder / "leadcrm" / "cli" / "__init__.py").write_text("COMMANDS: list[str] = []\n")
    (folder / "leadcrm" / "__main__.py").write_text(PROGRAM)
    return folder


def test_a_fork_is_as_a_process_of_its_own_and_ends_as_one(package: Path, tmp_path: Path) -> None:
    variables = {**ENVIRONMENT, "PYTHONPATH": f"{package}:{ROOT}", "LANG": "C.UTF-8"}
    forks = Forks({**variables, "OF_THE_FORKING": "process"})

    def run(end: str) -> list[tuple[int, str, str]]:
        words, environment = ["a word", "\udcff", end], {**variables, "TZ": "<+0545>-5:45", "NAME": "v\u00e4lue"}
        line = [sys.executable, "-m", "leadcrm", *words]
        both = [forks.run(tmp_path, words, environment), run_line(line, tmp_path, environment)]
        return [(done.returncode, done.stdout, done.stderr) for done in both]

    try:
        run("")
        os.umask(0o27)
        with ThreadPoolExecutor() as threads:
            ends = [*threads.map(run, ENDS)]
    finally:
        forks.close()
    assert [fork for fork, _ in ends] == [process for _, process in ends]
    assert [status for (status, _, _), _ in ends] == [0, 7, 1, -signal.SIGKILL, -signal.SIGABRT]
