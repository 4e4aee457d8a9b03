"""Faults under load on both nodes, and what became of every answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep

from failover.cluster import Cluster
from tests.support.comparison import compare
from tests.support.journal import Entry, Journal
from tests.support.load import Load, generated_leads
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

CONNECTIONS = 8
PAUSE_S = 0.05
BEFORE_S = 4.0
AFTER_S = 6.0
BACK_WITHIN_S = 60.0
LONGEST_S = 300.0
POLL_S = 0.15

COLUMNS = (
    "fault",
    "acknowledged",
    "lost",
    "doubled",
    "201 / 409 / other",
    "slowest",
    "back on the database, a / b",
    "longest without it, a / b",
    "spooled",
    "CRM away, a / b",
)


@dataclass
class Outcome:
    """What one fault did."""

    fault: str
    cells: tuple[str, ...]
    broken: dict[str, list[str]]


class Watcher(threading.Thread):
    """Reads a node's CRM all the time, and remembers the longest time without an answer 200."""

    def __init__(self, node: Server, token: str) -> None:
        super().__init__(daemon=True)
        self._node = node
        self._headers = (("Authorization", f"Bearer {token}"),)
        self._stopping = threading.Event()
        self.longest_s = 0.0

    def run(self) -> None:
        good_at = monotonic()
        while not self._stopping.wait(POLL_S):
            with suppress(OSError):
                if self._node.client.get("/api/leads?limit=1", headers=self._headers).status == 200:
                    good_at = monotonic()
            self.longest_s = max(self.longest_s, monotonic() - good_at - 2 * POLL_S)

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()


class Trial:
    """One load after the other on a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._number = 0

    def run(self, fault: str, break_it: Callable[[], float | None]) -> Outcome:
        """Break something under load, wait until all is well again, and compare.

        Args:
            fault: What is done.
            break_it: Does it, and returns when the database could be used again (monotonic); None if it was all along.
        """
        self._number += 1
        cluster = self._cluster
        cluster.wait_whole()
        with ExitStack() as stack:
            journals = [stack.enter_context(Journal(self._path(node))) for node in "ab"]
            watchers = [stack.enter_context(Watcher(node, cluster.token)) for node in cluster.nodes]
            for node, journal in zip(cluster.nodes, journals, strict=True):
                # The same seed: each key comes to both nodes.
                leads = generated_leads(1000 + self._number, repeat_share=0.1, conflict_share=0.05, keyless_share=0.1)
                load = Load(
                    *(node.host, node.port, journal, leads),
                    connections=CONNECTIONS,
                    pause_s=PAUSE_S,
                    most_s=LONGEST_S,
                )
                stack.enter_context(load)
            began_at = monotonic()
            sleep(BEFORE_S)
            usable_at = break_it()
            since = monotonic() if usable_at is None else usable_at
            with suppress(AssertionError):
                wait_until(lambda: all(_stored_after(one, since) for one in journals), timeout_s=BACK_WITHIN_S)
            sleep(AFTER_S)
        ended_at = monotonic()
        for node in cluster.nodes:
            node.wait_drained(timeout_s=120)
        entries = [journal.entries for journal in journals]
        both = entries[0] + entries[1]
        report = compare(both, Rows(f"postgresql://lead@127.0.0.1:{cluster.wait_whole().port}/leadcrm"))
        statuses = report.answers_by_status
        other = sum(count for status, count in statuses.items() if status not in (201, 409))
        backs = [_stored_after(one, since) for one in journals]
        gaps = [_longest_gap(one, began_at, ended_at) for one in entries]
        cells = (
            f"{report.acknowledged:,}",
            str(len(report.lost)),
            str(len(report.doubled)),
            f"{statuses.get(201, 0):,} / {statuses.get(409, 0):,} / {other}",
            f"{report.slowest_answer_s:.2f} s",
            "" if usable_at is None else " / ".join(f"{at - since:.2f} s" if at else "never" for at in backs),
            " / ".join(f"{gap:.1f} s" for gap in gaps),
            f"{sum(entry.stored == 'spool' for entry in both if entry.acknowledged):,}",
            " / ".join(f"{max(0.0, watcher.longest_s):.1f} s" for watcher in watchers),
        )
        broken = {name: found for name, found in report.faults().items() if name != "unexplained"}
        return Outcome(fault, cells, broken)

    def _path(self, node: str) -> Path:
        return self._cluster.folder / f"journal-{self._number}-{node}"


def _stored_after(journal: Journal, moment: float) -> float | None:
    times = (entry.at_s for entry in journal.entries if entry.stored == "database" and entry.at_s > moment)
    return min(times, default=None)


def _longest_gap(entries: list[Entry], began_at: float, ended_at: float) -> float:
    times = [began_at, *sorted(entry.at_s for entry in entries if entry.stored == "database"), ended_at]
    return max(later - earlier for earlier, later in pairwise(times))
