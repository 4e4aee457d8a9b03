"""The CRM while its database is away, hangs or was never there."""

from __future__ import annotations

import time

from tests.conftest import StartServer
from tests.support.crm_client import ENVIRONMENT, TOKEN, Crm
from tests.support.postgres import PostgresCluster
from tests.support.waiting import wait_until


def test_while_the_database_is_away_the_crm_answers_503_and_leads_are_kept(
    own_postgres: PostgresCluster, start_server: StartServer
) -> None:
    crm = Crm(start_server(own_postgres.url, environment=ENVIRONMENT), own_postgres.url)
    crm.server.client.post_lead({"email": "before@example.com"})
    assert len(crm.ids()) == 1
    own_postgres.stop("immediate")
    a_day = "/api/stats?from=2024-02-01&to=2024-02-01"
    for target in ("/api/leads", a_day, a_day):
        away = crm.ask("GET", target)
        assert (away.status, away.json()["error"]) == (503, "unavailable")
        assert away.header("Retry-After")
    waiting = crm.server.client.post_lead({"email": "while@example.com"})
    assert waiting.status == 201
    assert waiting.receipt is not None
    assert waiting.receipt.stored == "spool"
    own_postgres.start()
    wait_until(lambda: crm.ask("GET", "/api/leads").status == 200, timeout_s=30, what="the CRM to read again")
    wait_until(lambda: crm.ask("GET", a_day).status == 200, what="the same question to be counted again")
    wait_until(lambda: len(crm.ids()) == 2, timeout_s=30, what="the spool to drain")


def test_a_database_that_never_existed_gets_503_too(start_server: StartServer) -> None:
    server = start_server("postgresql://nobody@127.0.0.1:9/none", environment=ENVIRONMENT)
    answer = server.client.get("/api/leads", headers=[("Authorization", f"Bearer {TOKEN}")])
    assert (answer.status, answer.json()["error"]) == (503, "unavailable")
    assert "a request failed" not in server.log_text()


def test_a_database_that_hangs_is_given_up_and_read_again_once_it_answers(
    own_postgres: PostgresCluster, start_server: StartServer
) -> None:
    crm = Crm(start_server(own_postgres.url, environment=ENVIRONMENT), own_postgres.url)
    assert crm.ids() == []
    with own_postgres.frozen():
        started = time.monotonic()
        answer = crm.ask("GET", "/api/leads")
        assert (answer.status, answer.json()["error"]) == (503, "unavailable")
        assert time.monotonic() - started < 15
        assert crm.server.client.post_lead({"email": "while@example.com"}).status == 201
    wait_until(lambda: len(crm.ids()) == 1, timeout_s=30, what="the spool to drain")
