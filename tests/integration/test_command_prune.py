"""`leadcrm prune`: what is old becomes tombstones beside a running server, and a kill in the middle halves nothing."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from leadcrm.cli import prune as prune_command
from leadcrm.cli.prune import add_arguments
from leadcrm.crm.audit import Actor, Via
from leadcrm.crm.changes import change_leads
from leadcrm.crm.prune import BATCH_S, IDLE_S, LEAST_REST, MOST_REST, Due, Pace, count_due, prune, states_with
from leadcrm.crm.tombstones import ERASED_AT_ONCE, Counts, trace_of
from leadcrm.database import clock
from leadcrm.database.sessions import bind, session
from leadcrm.database.states import State
from leadcrm.ingest.submission import Submission
from tests.conftest import StartServer
from tests.support.crm import keep, run_command, submission, url_of
from tests.support.journal import Journal
from tests.support.load import Load, generated_leads
from tests.support.rows import Rows
from tests.support.server import Server, command
from tests.support.waiting import wait_until

NOW = datetime.now(timezone.utc)
OLD = NOW - timedelta(days=500)
ERASED = "SELECT count(*) AS n FROM leads_raw WHERE substr(error, 1, 7) = 'erased '"


def row(text: str, *, at: datetime = OLD, **given: Any) -> Submission:
    return submission(json.dumps({"email": f"{text}@example.com"}).encode(), received_at=at, **given)


def erased(rows: Rows) -> int:
    return int(rows.select(ERASED)[0]["n"])


def test_states_of_leads_take_with_them_what_may_hold_the_same_data() -> None:
    assert states_with([]) == tuple(State)
    assert states_with([State.INVALID, State.BATCH]) == (State.BATCH, State.INVALID)
    with_leads = (State.STORED, State.BATCH, State.REPEAT, State.CONFLICT)
    assert states_with([State.STORED]) == with_leads
    assert states_with([State.FAILED]) == (*with_leads[1:], State.FAILED)


def test_only_what_is_old_and_in_the_states_goes_and_a_worked_lead_is_told_of(
    database: str, rows: Rows, tmp_path: Path
) -> None:
    old, young = row("old", key="k"), row("young", at=NOW)
    worked, conflict = row("worked"), row("conflict", key="k", at=OLD + timedelta(hours=1))
    late = row("late conflict", key="k", at=NOW)
    invalid = row("invalid", state="invalid", error="no payload")
    failed = row("failed", key="f", state="failed", error="our fault")
    keep(database, [old, young, worked, conflict, late, invalid, failed])
    entities = bind(url_of(database))
    assert change_leads(entities, [UUID(worked.id)], {"status": "won"}, actor=Actor("kim", Via.COMMAND))
    before = (NOW - timedelta(days=400)).replace(tzinfo=None)
    assert count_due(entities, [], before) == Due(rows=5, leads=2, worked=1)
    assert count_due(entities, [State.STORED], before) == Due(rows=3, leads=2, worked=1)
    assert prune(entities, [State.INVALID], before, trace_of("kim")).rows == 1
    assert count_due(entities, [], before) == Due(rows=4, leads=2, worked=1)
    entities.database.disconnect()
    refused = run_command(tmp_path, database, "prune", "--older-than", "400d")
    assert (refused.returncode, "--yes" in refused.stderr, erased(rows)) == (2, True, 1)
    told = json.loads(run_command(tmp_path, database, "prune", "--older-than", "400d", "--yes", "--json").stdout)
    assert (told["rows"], told["leads"], told["changes"], told["worked"]) == (4, 2, 1, 1)
    assert {one["id"] for one in rows.raw() if one["error"] is None} == {young.id, late.id}
    assert [lead["id"] for lead in rows.leads()] == [young.id]
    assert run_command(tmp_path, database, "verify").returncode == 0


def test_the_leads_that_were_worked_on_are_looked_for_among_the_changed_ones(whole_database: str) -> None:
    leads = [row(f"{number}") for number in range(1000)]
    keep(whole_database, leads)
    entities, rows = bind(url_of(whole_database)), Rows(whole_database)
    assert change_leads(entities, [UUID(leads[7].id)], {"status": "won"}, actor=Actor("kim", Via.COMMAND))
    rows.execute("ANALYZE leads")
    assert count_due(entities, [State.STORED], (NOW - timedelta(days=400)).replace(tzinfo=None)).worked == 1
    entities.database.disconnect()
    used = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'leads_changed'"
    wait_until(lambda: rows.select(used) == [{"idx_scan": 1}])


class Clock:
    """The time of the pace, in which only work and rests take any."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.rests = 0.0, list[float]()
        monkeypatch.setattr("leadcrm.crm.prune.monotonic", lambda: self.now_s)
        monkeypatch.setattr("leadcrm.crm.prune.sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now_s += seconds

    def rest_after(self, pace: Pace, worked_s: float) -> float:
        """Work, and return how long it rests then."""
        self.now_s += worked_s
        self.rests.clear()
        pace.rest()
        return sum(self.rests)


def test_it_rests_while_something_arrives_the_longer_the_more_and_not_at_all_once_nothing_has_for_a_second(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, [row(f"{number}") for number in range(1200)])
    entities, clock = bind(url_of(database)), Clock(monkeypatch)
    pace = Pace(entities)
    assert [clock.rest_after(pace, 0), clock.rest_after(pace, 0.5)] == [0, LEAST_REST * 0.5]
    assert clock.rest_after(pace, BATCH_S / 2) == 0, "nothing has arrived for a second"
    assert [clock.rest_after(pace, BATCH_S / 2), pace.rows] == [0, 4 * ERASED_AT_ONCE]
    assert [clock.rest_after(pace, 3 * BATCH_S), pace.rows] == [0, 2 * ERASED_AT_ONCE]

    batches = [0]

    def on_batch(counts: Counts) -> None:
        batches.append(counts.rows)
        clock.now_s += IDLE_S / 2 if counts.rows == ERASED_AT_ONCE else BATCH_S / 2
        if counts.rows == 800:
            keep(database, [row("new", at=NOW)])

    erased = prune(entities, [], NOW.replace(tzinfo=None), trace_of("kim"), on_batch)
    assert batches == [0, 200, 400, 800, 1000, 1200]
    pace.leave_out(erased.leads + 1)
    assert clock.rest_after(pace, BATCH_S) == 0, "what it erases does not arrive"
    keep(database, [row(f"busy {number}", at=NOW) for number in range(600)])
    assert [clock.rest_after(pace, 2.0), pace.rows] == [MOST_REST * 2.0, ERASED_AT_ONCE]
    assert clock.rest_after(pace, IDLE_S) == 0
    entities.database.disconnect()


def test_it_rests_while_a_sink_that_is_served_has_many_events_before_it(
    database: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, [row("first")])
    entities, clock = bind(url_of(database)), Clock(monkeypatch)
    with session(entities, writes=True):
        counts = dict.fromkeys(("taken", "delivered", "skipped", "dropped"), 0)
        lease = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(minutes=1)
        entities.sink(name="slow", start_seq=0, cursor_seq=1, **counts, holder="a-node", lease_until=lease)
    pace = Pace(entities)
    assert [clock.rest_after(pace, IDLE_S), pace.rows] == [0, ERASED_AT_ONCE]
    assert [clock.rest_after(pace, IDLE_S), pace.rows] == [LEAST_REST * IDLE_S, ERASED_AT_ONCE]
    rows.execute("UPDATE leads_sinks SET lease_until = '2020-01-01 00:00:00.000000'")
    assert clock.rest_after(pace, IDLE_S) == 0, "nobody serves it: it may never get on"
    entities.database.disconnect()


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_node_whose_clock_is_ahead_erases_nothing_that_is_young(
    database: str, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, [row("old"), row("young", at=NOW)])
    ahead = clock.now_utc() + timedelta(days=3650)
    for module, name in ((clock, "now_utc"), (prune_command, "now")):
        monkeypatch.setattr(module, name, lambda: ahead)
    monkeypatch.setattr(prune_command, "_NICENESS", 0)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["--older-than", "400d", "--yes"])
    assert prune_command.run(arguments, {"DATABASE_URL": database, "DATA_DIR": str(tmp_path)}, tmp_path) == 0
    assert [lead["email"] for lead in rows.leads()] == ["young@example.com"]


@pytest.mark.parametrize("age", ["400", "0d", "-1d", "999999d", "d", "1.5d"])
def test_what_is_no_number_of_days_is_refused(age: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--older-than", age])


def test_a_kill_or_an_interrupt_in_the_middle_halves_nothing_and_the_next_run_completes_beside_ingestion(
    start_server: StartServer, database: str, rows: Rows, tmp_path: Path
) -> None:
    keep(database, [row(f"{number}", key=f"key {number}") for number in range(1400)])
    server = start_server(database)
    with (
        Journal(tmp_path / "journal") as journal,
        Load(server.host, server.port, journal, generated_leads(1), connections=4, pause_s=0.005),
    ):
        for number, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
            before = erased(rows)
            process = begin(server)
            wait_until(lambda before=before: erased(rows) > before)  # type: ignore[misc]
            process.send_signal(number)
            _, told = process.communicate(timeout=30)
            assert process.returncode == status
            assert ("run it again for the rest" in told) == (number == signal.SIGINT)
            assert before < erased(rows) < 1400
            leads = rows.select("SELECT count(*) AS n FROM leads WHERE created_at < %s", str(NOW - timedelta(days=1)))
            assert leads[0]["n"] == 1400 - erased(rows)
        process = begin(server)
        assert process.communicate(timeout=60)[0].startswith("erased: ")
        assert process.returncode == 0
    assert erased(rows) == 1400
    assert {entry.status for entry in journal.entries} == {201}
    duplicate = server.client.post_lead({"email": "7@example.com"}, key="key 7")
    assert (duplicate.status, duplicate.json()["deduplicated"]) == (409, True)
    assert run_command(server.directory / "verify", database, "verify").returncode == 0


def begin(server: Server) -> subprocess.Popen[str]:
    line = [*command(), "prune", "--older-than", "400d", "--yes"]
    return subprocess.Popen(
        line, cwd=server.directory, env=server.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
