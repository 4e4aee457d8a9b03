"""One trial: a load on a real server, a fault in the middle, and the comparison afterwards.

The client's synced journal says what was acknowledged. Once the spool has drained, the plain drivers read what the
database holds. A trial prints both and adds a row to the session's table.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.comparison import Report, compare
from tests.support.figure_tables import FaultRow, FigureTable
from tests.support.journal import Entry, Journal, Outcome, read_journal
from tests.support.load import Load, generated_leads
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

SLOWEST_ANSWER_S = 5.0
SLOWEST_AT_SERVER_S = 3.0
LEAST_KEPT_SHARE = 0.99
PROGRESS_TIMEOUT_S = 30.0
LEAST_A_SECOND = 50
"""Answers, on two cores that have other work too."""

MOST_COMPLAINTS = 100
"""Warnings and errors of a server in one trial, even with a dozen outages: no fault is logged once per lead."""

BROKEN = frozenset({Outcome.TORN, Outcome.TIMED_OUT})
"""Outcomes that no fault of a database or a disk may cause."""


class Trial:
    """The load, the journal and the comparison of one fault test."""

    def __init__(self, journal_path: Path, table: FigureTable) -> None:
        self._table = table
        self.journal = Journal(journal_path)
        self._closed = False
        self._seed = 0

    @contextmanager
    def load(
        self, server: Server, *, connections: int = 16, pause_s: float = 0.02, most_s: float = 100
    ) -> Iterator[Load]:
        """Send leads for the duration of the block: new ones, repeats, conflicts, some without a key."""
        self._seed += 1
        leads = generated_leads(self._seed, repeat_share=0.1, conflict_share=0.05, keyless_share=0.1)
        with Load(
            server.host, server.port, self.journal, leads, connections=connections, pause_s=pause_s, most_s=most_s
        ) as load:
            yield load

    def wait_for(self, count: int, such: Callable[[Entry], bool], what: str) -> None:
        """Wait for `count` more entries of a kind in the journal."""
        before = len(self.journal.entries)
        wait_until(
            lambda: sum(map(such, self.journal.entries[before:])) >= count,
            timeout_s=PROGRESS_TIMEOUT_S + count / LEAST_A_SECOND,
            what=f"{count} answers {what}",
        )

    def wait_acknowledged(self, count: int = 100) -> None:
        """Wait for `count` more acknowledged leads."""
        self.wait_for(count, lambda entry: entry.acknowledged, "201 or 409")

    def wait_stored(self, count: int = 100) -> None:
        """Wait for `count` more leads acknowledged from the database."""
        self.wait_for(count, lambda entry: entry.stored == "database", "from the database")

    def wait_spooled(self, count: int = 100) -> None:
        """Wait for `count` more leads acknowledged from the spool."""
        self.wait_for(count, lambda entry: entry.stored == "spool", "from the spool")

    def wait_refused(self, count: int = 20) -> None:
        """Wait for `count` more responses 503."""
        self.wait_for(count, lambda entry: entry.status == 503, "503")

    def close(self) -> None:
        """Close the journal."""
        if not self._closed:
            self.journal.close()
            self._closed = True

    def judge(
        self,
        fault: str,
        server: Server,
        rows: Rows,
        *,
        least_kept_share: float = LEAST_KEPT_SHARE,
        slowest_answer_s: float = SLOWEST_ANSWER_S,
        slowest_at_server_s: float = SLOWEST_AT_SERVER_S,
        killed: bool = False,
    ) -> Report:
        """Compare the journal with the rows, add a row to the table and assert that every promise was kept.

        `killed` allows exchanges that were cut off because the server itself was killed.
        """
        self.close()
        entries = read_journal(self.journal.path)
        report = compare(entries, rows)
        self._table.add(
            FaultRow(
                fault,
                report.acknowledged,
                report.acknowledged - len(report.lost),
                len(report.doubled),
                report.answers_by_status.get(503, 0),
                report.kept_share,
                report.slowest_answer_s,
            )
        )
        assert report.faults() == {}
        assert report.failed == []
        assert set(report.answers_by_status) <= {201, 409, 503}
        assert report.kept_share >= least_kept_share
        assert report.slowest_answer_s <= slowest_answer_s
        assert slowest_lead_s(server) <= slowest_at_server_s
        assert len(complaints(server)) <= MOST_COMPLAINTS, complaints(server)
        if not killed:
            assert not BROKEN & set(report.outcomes), report.outcomes
        return report

    def median_of_spooled_s(self) -> float:
        """Return the median response time of the spooled leads."""
        return statistics.median(entry.latency_s for entry in self.journal.entries if entry.stored == "spool")


def complaints(server: Server) -> list[str]:
    """Return the log's warnings and errors, each with its hint, but for the one that the load's own conflicts cause."""
    records = [record for record in server.log_records() if record["level"] in ("warn", "error")]
    records = [record for record in records if "came under keys that others had used" not in record["msg"]]
    return [f"{record['msg']} ({record.get('hint')})" for record in records]


def slowest_lead_s(server: Server) -> float:
    """Return the longest duration that the server's own log gives for a lead."""
    durations_ms = [
        record["duration_ms"] for record in server.log_records() if record.get("url", "").startswith("/api/lead")
    ]
    return max(durations_ms, default=0.0) / 1000
