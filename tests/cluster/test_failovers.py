"""Five failovers in a row, under load on two nodes that get the same keys."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic

from tests.cluster.conftest import Pair
from tests.conftest import StartServer
from tests.support.comparison import compare
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.journal import Journal
from tests.support.load import Load, generated_leads
from tests.support.rows import Rows
from tests.support.waiting import wait_until

FAILOVERS = 5
BACK_WITHIN_S = 10.0
KEPT_SHARE = 0.99


class Sender:
    """The load on one node and its journal."""

    def __init__(self, stack: ExitStack, journal_path: Path, host: str, port: int) -> None:
        self.journal = stack.enter_context(Journal(journal_path))
        # The same seed for every node: each key comes to all of them.
        leads = generated_leads(1, repeat_share=0.1, conflict_share=0.05, keyless_share=0.1)
        self._load = Load(host, port, self.journal, leads, connections=3, pause_s=0.03, most_s=100)

    def __enter__(self) -> Sender:
        self._load.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._load.stop()

    def stored_after(self, moment: float) -> float | None:
        """Return when the database kept a lead for the first time after a moment (monotonic)."""
        times = (one.at_s for one in self.journal.entries if one.stored == "database" and one.at_s > moment)
        return min(times, default=None)

    def back_s(self, moment: float) -> float:
        """Wait until the database keeps leads after a moment, and return how long after it."""
        return wait_until(partial(self.stored_after, moment), timeout_s=BACK_WITHIN_S) - moment


def test_five_failovers_in_a_row_lose_and_double_nothing(start_server: StartServer, pair: Pair, tmp_path: Path) -> None:
    database = pair.primary.create_database()
    pair.wait_for_standbys("*")
    urls = pair.url(database, pair.primary, pair.standby), pair.url(database, pair.standby, pair.primary)
    nodes = [start_server(url, environment={**ENVIRONMENT, "NODE_NAME": f"node-{url[-9:-1]}"}) for url in urls]
    back_s: list[float] = []
    with ExitStack() as stack:
        senders = [
            Sender(stack, tmp_path / f"journal-{number}", node.host, node.port) for number, node in enumerate(nodes)
        ]
        with senders[0], senders[1]:
            for sender in senders:
                sender.back_s(monotonic())
            for _ in range(FAILOVERS):
                pair.fail_over()
                ready_at = monotonic()
                back_s += [sender.back_s(ready_at) for sender in senders]
        for node in nodes:
            node.wait_drained()
    entries = [entry for sender in senders for entry in sender.journal.entries]
    report = compare(entries, Rows(pair.url(database, pair.primary)))
    stores = Counter(entry.stored for entry in entries if entry.acknowledged)
    print(
        f"{FAILOVERS} failovers: {report.acknowledged} leads acknowledged, {len(report.lost)} lost, "
        f"{len(report.doubled)} doubled, {report.answers_by_status}, {dict(stores)}, "
        f"slowest answer {report.slowest_answer_s:.2f} s, back after {', '.join(f'{s:.1f}' for s in back_s)} s"
    )
    assert report.faults() == {}
    assert report.failed == []
    assert set(report.answers_by_status) <= {201, 409, 503}
    assert report.kept_share >= KEPT_SHARE
    assert stores["spool"] > 0
    ids = [set(Crm(node, database).ids()) for node in nodes]
    assert ids[0] == ids[1] != set()
    pair.wait_for_standbys("")
