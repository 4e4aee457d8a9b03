"""Pony's queries in several threads at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Event
from time import monotonic

import pony.orm.asttranslation
import pony.orm.decompiling
import pytest

from leadcrm.crm.raw import SpoolReader, list_raw
from leadcrm.database.deleted_log import refuse_without_log
from leadcrm.database.sessions import bind, session
from leadcrm.database.sqlite import open_sqlite
from leadcrm.errors import StoreUnavailable
from tests.support.crm import keep, submission, url_of

THREADS = 4
ROUNDS = 60


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns in the middle of everything."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty_threads")
def test_threads_that_run_a_query_for_the_first_time_at_once_all_get_its_rows(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'leads.db'}"
    keep(database, [submission(b"no lead")])
    spool = SpoolReader(tmp_path)
    entities = bind(url_of(database))
    caches = (
        pony.orm.asttranslation.extractors_cache,
        pony.orm.decompiling.ast_cache,
        entities.database._translator_cache,
    )
    start = Barrier(THREADS)

    def read(_: int) -> int:
        start.wait()
        return len(list_raw(entities, spool, ["invalid"], limit=10).rows)

    with ThreadPoolExecutor(THREADS) as threads:
        for _ in range(ROUNDS):
            for cache in caches:
                cache.clear()
            assert list(threads.map(read, range(THREADS))) == [1] * THREADS
    entities.database.disconnect()


def test_no_thread_connects_beside_one_whose_log_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "leads.db"
    keep(f"sqlite:///{path}", [submission(b"{}", key="k")])
    entities = bind(url_of(f"sqlite:///{path}"))

    def count() -> int:
        with session(entities):
            return int(entities.raw_lead.select().count())

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        assert first.submit(count).result() == 1
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink()
        writing = Event()

        def write() -> None:
            while not writing.wait(0.005):
                with session(entities, writes=True):
                    entities.raw_lead.get().error = str(monotonic())

        written = first.submit(write)
        try:
            with pytest.raises(StoreUnavailable, match="was deleted while leadcrm ran"):
                second.submit(count).result()
        finally:
            writing.set()
        written.result()
        assert first.submit(count).result() == 1
        for thread in (first, second):
            thread.submit(entities.database.disconnect).result()
        entities.database.disconnect()
        assert second.submit(count).result() == 1, "nobody holds the deleted log any more"
        second.submit(entities.database.disconnect).result()


def bind_once(path: Path) -> None:
    bind(url_of(f"sqlite:///{path}")).database.disconnect()


def open_once(path: Path) -> None:
    open_sqlite(path, busy_timeout_s=1).close()


@contextmanager
def another_process(path: Path) -> Iterator[None]:
    """Another process has a database open that it writes to."""
    # It goes on to write: each commit changes the times of its log.
    program = (
        "import select, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1])\n"
        "for number in range(10 ** 6):\n"
        "    c.execute(f'PRAGMA user_version = {number}'); c.commit()\n"
        "    if number == 0: print(flush=True)\n"
        "    if select.select([sys.stdin], [], [], 0.005)[0]: break\n"
    )
    line = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        yield
        process.stdin.close()
        process.wait()


@pytest.mark.parametrize("deleted", [["-wal"], ["-shm"], ["-wal", "-shm"]], ids=" ".join)
@pytest.mark.parametrize("opens", [bind_once, open_once], ids=["bind", "open_sqlite"])
def test_no_process_connects_beside_another_whose_log_was_deleted(
    tmp_path: Path, deleted: Sequence[str], opens: Callable[[Path], None]
) -> None:
    path = tmp_path / "leads.db"
    keep(f"sqlite:///{path}", [submission(b"{}", key="k")])
    with another_process(path):
        opens(path)
        for end in deleted:
            path.with_name(path.name + end).unlink()
        left = {*tmp_path.iterdir()}
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="was deleted while leadcrm ran"):
                opens(path)
        assert {*tmp_path.iterdir()} == left, "no new log was begun"
    opens(path)


def test_a_process_with_the_deleted_log_of_a_file_that_was_replaced_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "leads.db"
    keep(f"sqlite:///{path}", [submission(b"{}", key="k")])
    copy = path.read_bytes()
    with another_process(path):
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink()
        path.write_bytes(copy)
        open_once(path)


def test_a_process_that_closes_the_last_connection_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "leads.db"
    keep(f"sqlite:///{path}", [submission(b"{}", key="k")])
    program = (
        "import sqlite3, sys\n"
        "while True:\n"
        "    c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version = 7'); c.commit(); c.close()\n"
        "    print(flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(200):
            process.stdout.readline()
            refuse_without_log(path)
        process.kill()
