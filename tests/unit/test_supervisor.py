"""The supervisor: children that die are restarted with backoff, and a stop reaches each child once."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.server import REPOSITORY, clean_environment
from tests.support.waiting import wait_until

PROGRAM = """\
import errno, itertools, os, signal, sys, time
from leadcrm.process import supervisor
from leadcrm.process.supervisor import Supervisor

supervisor.STABLE_S = 0.2
if sys.argv[2] == "cannot fork again":
    supervisor.MAX_RESTART_S = 0.5
    forks, fork = itertools.count(1), os.fork

    def fork_unless_the_third():
        if next(forks) == 3:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    os.fork = fork_unless_the_third

def tick():
    if sys.argv[2] == "cannot tick":
        note("tick")
        raise RuntimeError("unforeseen")

def note(word):
    with open(sys.argv[1], "a") as file:
        file.write(f"{word} {os.getpid()} {time.monotonic()}\\n")

def run_child(number):
    if sys.argv[2] in ("dies", "lives for a while"):
        note(f"started-{number}")
        time.sleep(0 if sys.argv[2] == "dies" else 2 * supervisor.STABLE_S)
        return False
    if sys.argv[2] == "ignores":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    note(f"started-{number}")
    if sys.argv[2] == "ignores":
        time.sleep(60)
    signal.sigwait((signal.SIGTERM,))
    time.sleep(1.5)
    note("again" if signal.SIGTERM in signal.sigpending() else "once")
    return sys.argv[2] == "answers"

sys.exit(Supervisor(
    run_child, workers=2, shutdown_timeout_s=0.2, before_fork=lambda: None, on_tick=tick,
    on_stop=lambda: note("stopping"), is_outdated=lambda: os.path.exists(sys.argv[1] + ".outdated"),
).run() or 0)
"""


class Notes:
    """The words that the program and its children have noted in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, word: str) -> list[tuple[int, float]]:
        """Return the pids that noted a word, and when."""
        lines = [line.split() for line in self._path.read_text().splitlines()] if self._path.exists() else []
        return [(int(pid), float(at)) for noted, pid, at in lines if noted.startswith(word)]


@contextmanager
def supervised(tmp_path: Path, behaviour: str) -> Iterator[tuple[subprocess.Popen[bytes], Notes]]:
    path = tmp_path / "notes"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), behaviour], env=clean_environment(REPOSITORY), start_new_session=True
    )
    try:
        yield process, Notes(path)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_child_that_keeps_dying_is_restarted_with_longer_and_longer_pauses(tmp_path: Path) -> None:
    with supervised(tmp_path, "dies") as (_, notes):
        wait_until(lambda: len(notes.of("started-0")) >= 5, timeout_s=20)
        times = [at for _, at in notes.of("started-0")]
    # The supervisor restarts children every half second, so shorter pauses cannot be told apart.
    assert times[4] - times[3] > 1.5 > times[1] - times[0]


def test_a_child_that_was_healthy_is_restarted_soon_however_often_it_dies(tmp_path: Path) -> None:
    with supervised(tmp_path, "lives for a while") as (_, notes):
        wait_until(lambda: len(notes.of("started-0")) >= 6, timeout_s=20)
        times = [at for _, at in notes.of("started-0")]
    assert all(later - earlier < 2.5 for earlier, later in itertools.pairwise(times))


def test_a_killed_child_is_restarted(tmp_path: Path) -> None:
    with supervised(tmp_path, "answers") as (_, notes):
        wait_until(lambda: len(notes.of("started")) == 2)
        os.kill(notes.of("started")[0][0], signal.SIGKILL)
        wait_until(lambda: len(notes.of("started")) == 3)


def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    with supervised(tmp_path, "cannot fork again") as (_, notes):
        wait_until(lambda: len(notes.of("started")) == 2)
        os.kill(notes.of("started-0")[0][0], signal.SIGKILL)
        wait_until(lambda: len(notes.of("started-0")) == 2)
        assert len(notes.of("started-1")) == 1


def test_a_supervisor_that_fails_beside_its_children_goes_on(tmp_path: Path) -> None:
    with supervised(tmp_path, "cannot tick") as (process, notes):
        wait_until(lambda: len(notes.of("tick")) == 2)
        assert process.poll() is None


def test_a_stop_reaches_every_child_once_and_the_exit_status_follows_from_theirs(tmp_path: Path) -> None:
    for behaviour, status in (("answers", 0), ("cuts off", 1)):
        (tmp_path / behaviour).mkdir()
        with supervised(tmp_path / behaviour, behaviour) as (process, notes):
            wait_until(lambda notes=notes: len(notes.of("started")) == 2)  # type: ignore[misc]
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == status
            assert (len(notes.of("once")), len(notes.of("again"))) == (2, 0)
            assert len(notes.of("stopping")) == 1


def test_a_child_that_does_not_stop_is_killed_after_the_timeout(tmp_path: Path) -> None:
    with supervised(tmp_path, "ignores") as (process, notes):
        wait_until(lambda: len(notes.of("started")) == 2)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 1
        assert 5 < time.monotonic() - started < 12


def test_an_outdated_program_ends_its_children_and_keeps_the_socket(tmp_path: Path) -> None:
    with supervised(tmp_path, "answers") as (process, notes):
        wait_until(lambda: len(notes.of("started")) == 2)
        (tmp_path / "notes.outdated").touch()
        assert process.wait(20) == 0
        assert len(notes.of("once")) == 2
        assert notes.of("stopping") == [], "the socket stays open for the program that replaces this one"
