"""One attack on a real server beside an honest sender, and the judgement afterwards.

The honest sender's synced journal says what was acknowledged; once the spool has drained, the plain drivers read what
the database holds. An attack fails its test if an honest lead is not kept within 3 seconds, if `/health` is silent or
says something else than the senders hear, if the server's memory grows past its limit, or if an acknowledged lead is
missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hostile.honest import HealthProbe, HonestSender, Probe
from tests.support.comparison import compare
from tests.support.figure_tables import AttackRow, FigureTable
from tests.support.journal import Entry, Journal, read_journal
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

SLOWEST_ANSWER_S = 3.0
MAX_MEMORY_BYTES = 250_000_000
LIES_AFTER_S = 1.0
"""How long `/health` may go on saying 200 after a lead was refused."""


class Siege:
    """The honest sender, the journal and the judgement of one test."""

    def __init__(self, journal_path: Path, table: FigureTable) -> None:
        """Open the journal."""
        self._table = table
        self._journal = Journal(journal_path)
        self._is_open = True

    def close(self) -> None:
        """Make the journal durable."""
        if self._is_open:
            self._journal.close()
            self._is_open = False

    def wait_acknowledged(self, count: int = 20) -> None:
        """Wait until this many more honest leads were acknowledged: 20 take a second."""
        enough = self._journal.acknowledged_count + count
        wait_until(
            lambda: self._journal.acknowledged_count >= enough,
            timeout_s=10 + count,
            what=f"{count} honest leads to be acknowledged",
        )

    @contextmanager
    def of(self, server: Server, rows: Rows, attack: str) -> Iterator[None]:
        """Send honest leads for the duration of the block, which is the attack; judge both afterwards.

        A siege judges one block. `attack` is the name of the row in the table; that of the database is added.
        """
        with server.memory_peak() as memory:
            sender = HonestSender(server.client, self._journal, seed=1)
            probe = HealthProbe(server.client)
            try:
                self.wait_acknowledged(5)
                yield
            finally:
                probe.stop()
                sender.stop()
        server.wait_drained()
        self.close()
        entries = read_journal(self._journal.path)
        report = compare(entries, rows)
        latencies = sorted(sender.latencies_s)
        kind = "SQLite" if rows.is_sqlite else "PostgreSQL"
        self._table.add(
            AttackRow(
                attack=f"{attack}, {kind}",
                sent=len(latencies),
                acknowledged=report.acknowledged,
                lost=len(report.lost),
                p99_s=latencies[int(len(latencies) * 0.99)],
                slowest_s=latencies[-1],
                peak_bytes=memory.peak_bytes,
            )
        )
        # The attackers' own bodies may have been kept too.
        assert {name: ids for name, ids in report.faults().items() if name != "unexplained"} == {}
        assert report.acknowledged == len(latencies), report.answers_by_status
        assert latencies[-1] <= SLOWEST_ANSWER_S
        assert _lies(probe.probes, entries) == []
        assert memory.peak_bytes <= MAX_MEMORY_BYTES


def _lies(probes: list[Probe], entries: list[Entry]) -> list[str]:
    """Return where `/health` was silent, or said something else than the honest sender heard."""
    refused_at = [entry.at_s for entry in entries if entry.status == 503]
    told_at = [probe.at_s for probe in probes if probe.status == 503]
    silent = [f"no answer at {probe.at_s:.1f}" for probe in probes if probe.status not in (200, 503)]
    late = [f"an answer after {probe.latency_s:.1f} s" for probe in probes if probe.latency_s > SLOWEST_ANSWER_S]
    untold = [
        f"no 503 after {at_s:.1f}"
        for at_s in refused_at
        if not any(0 <= told - at_s < LIES_AFTER_S for told in told_at)
    ]
    false_alarm = ["503 though every lead was kept"] if told_at and not refused_at else []
    return silent + late + untold + false_alarm
