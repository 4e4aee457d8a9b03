"""Rows that the database refused go through once it takes them: at the start, on `spool drain`, and now and then."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.ingest import recovery as recovery_module
from leadcrm.ingest.queue_budget import QueueBudget
from leadcrm.ingest.recovery import Recovery
from leadcrm.ingest.writer import Writer
from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.crm import MAX_DECODED_BYTES, submission
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.stores import open_store
from tests.support.waiting import wait_until
from tests.support.writers import spool_in

REFUSE = {
    True: "CREATE TRIGGER refuse BEFORE INSERT ON leads_raw BEGIN SELECT RAISE(ABORT, 'refused'); END",
    False: "ALTER TABLE leads_raw ADD CONSTRAINT refuse CHECK (received_at < '2020-01-01') NOT VALID",
}
MEND = {True: "DROP TRIGGER refuse", False: "ALTER TABLE leads_raw DROP CONSTRAINT refuse"}


def with_refused_rows(start_server: StartServer, database: str) -> tuple[Server, Rows, set[str]]:
    """Start a server, let its database refuse three leads, and return their ids."""
    server, rows = start_server(database), Rows(database)
    rows.execute(REFUSE[rows.is_sqlite])
    answers = [server.client.post_lead({"email": str(number)}, key=str(number)) for number in range(3)]
    assert [answer.receipt and answer.receipt.stored for answer in answers] == ["spool"] * 3
    wait_until(lambda: server.client.get("/ready").json()["spool"]["refused"] == 3)
    return server, rows, {answer.json()["lead_id"] for answer in answers}


def run(server: Server, database: str, *words: str) -> tuple[int, str]:
    done = leadcrm(server.data_dir.parent, *words, DATABASE_URL=database, DATA_DIR=str(server.data_dir))
    return done.returncode, done.stdout + done.stderr


def test_a_person_learns_of_them_and_a_drain_takes_them_once_the_database_is_mended(
    start_server: StartServer, database: str
) -> None:
    server, rows, ids = with_refused_rows(start_server, database)
    ready = server.client.get("/ready")
    assert (ready.status, ready.json()["fault"]) == (
        200, "the database refuses 3 leads, which wait in the spool: `leadcrm check`",
    )  # fmt: skip
    assert server.terminate() == 0
    why = "refused" if rows.is_sqlite else "check_violation (SQLSTATE 23514)"
    for command, status, told in (
        (["check"], 1, f"the database refuses 3 of 3 rows that wait: {why}"),
        (["spool", "status"], 0, why),
        (["verify"], 0, "3 rows wait in the spool because the database refuses them"),
        (["spool", "drain"], 1, f"3 wait because the database refuses them: {why}"),
    ):
        code, text = run(server, database, *command)
        assert (code, told in text) == (status, True), text
    rows.execute(MEND[rows.is_sqlite])
    code, text = run(server, database, "spool", "drain")
    assert (code, text.startswith("3 rows went into ")) == (0, True)
    assert {lead["id"] for lead in rows.leads()} == ids
    assert run(server, database, "check")[0] == 0


def test_a_restart_takes_them(start_server: StartServer, database: str) -> None:
    server, rows, ids = with_refused_rows(start_server, database)
    assert server.terminate() == 0
    rows.execute(MEND[rows.is_sqlite])
    server.start()
    wait_until(lambda: {lead["id"] for lead in rows.leads()} == ids)
    wait_until(lambda: server.client.get("/ready").json()["fault"] is None)


def test_a_running_server_tries_them_again_ever_less_often(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_module, "FIRST_REFUSED_PAUSE_S", 0.1)
    monkeypatch.setattr(recovery_module, "MAX_REFUSED_PAUSE_S", 0.4)
    monkeypatch.setattr(recovery_module, "IDLE_PAUSE_S", 0.02)
    open_store(database).close()
    rows = Rows(database)
    rows.execute(REFUSE[rows.is_sqlite])
    releases: list[int] = []

    class WatchedSpool(type(spool_in(tmp_path))):  # type: ignore[misc]
        def release_refused(self) -> int:
            if releases.count(1) == 2:
                # Not later: a row that is refused as a lead, and taken without it a moment later, is kept as failed.
                rows.execute(MEND[rows.is_sqlite])
            releases.append(super().release_refused())
            return releases[-1]

    with closing(spool_in(tmp_path)) as spool:
        spool.write([submission(b"{}")])
        writer = Writer(None, lambda: None, QueueBudget(1))
        recovery = Recovery(
            writer,
            WatchedSpool(tmp_path, max_bytes=1 << 30, min_free_bytes=0),
            lambda: open_store(database),
            lambda _: 0,
            max_decoded_bytes=MAX_DECODED_BYTES,
        )
        recovery.start()
        try:
            wait_until(lambda: spool.status().depth == 0)
        finally:
            recovery.stop()
    assert len(rows.leads()) == 1


def test_a_refused_row_sends_no_batch_to_the_thread_and_its_key_is_known(tmp_path: Path) -> None:
    held, others = submission(b"{}", key="held"), [submission(b"{}", key="other"), submission(b"{}")]
    with closing(spool_in(tmp_path)) as spool:
        spool.refuse(held, "why")
        assert spool.known_at_a_glance(others) == {}
        assert spool.known_at_a_glance([*others, submission(b"{}", key="held")]) == {
            held.key_sha256: (held.id, held.body_sha256)
        }
