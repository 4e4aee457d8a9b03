"""A request that is kept but becomes no lead is answered 201, and people learn of it everywhere else."""

from __future__ import annotations

from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.rows import Rows
from tests.support.waiting import wait_until


def test_a_lead_that_the_databases_encoding_cannot_hold_is_told_of(start_server: StartServer, latin1: str) -> None:
    server, rows = start_server(latin1), Rows(latin1)
    assert server.client.post_lead({"firstName": "Zoë"}).status == 201
    assert server.client.get("/ready").json()["fault"] is None
    answer = server.client.post_lead({"firstName": "Пётр"})
    assert answer.status == 201
    assert rows.raw_row(answer.json()["lead_id"])["state"] == "failed"
    assert server.client.metric("leadcrm_failed_rows_total") == 1
    fault = "1 requests were kept as failed: `leadcrm raw list --state failed`"
    wait_until(lambda: server.client.get("/ready").json()["fault"] == fault)
    log = server.stdout_path.read_text()
    assert "the database's encoding is LATIN1" in log
    assert "the database refused a lead, whose request is kept as failed: untranslatable_character" in log
    directory = server.data_dir.parent
    settings = {"DATABASE_URL": latin1, "DATA_DIR": str(server.data_dir)}
    check = leadcrm(directory, "check", **settings)
    assert (check.returncode, "LATIN1" in check.stdout + check.stderr) == (1, True)
    verify = leadcrm(directory, "verify", **settings)
    assert (verify.returncode, "1 rows are kept but are no lead yet" in verify.stdout) == (0, True), verify.stderr
