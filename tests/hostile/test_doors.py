"""Who guesses tokens, and who uses the keys of others before they do."""

from __future__ import annotations

from tests.conftest import StartServer
from tests.hostile.attackers import flood
from tests.hostile.siege import Siege
from tests.support.crm_client import BEARER, ENVIRONMENT
from tests.support.rows import Rows
from tests.support.waiting import wait_until

GUESS = b"GET /api/leads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\r\n"
ORDERS = 30


def test_guesses_shut_nobody_out_of_the_crm(start_server: StartServer, database: str, rows: Rows, siege: Siege) -> None:
    server = start_server(database, environment=ENVIRONMENT)
    with siege.of(server, rows, "64 connections that guess the token"), flood(server, 64, GUESS):
        siege.wait_acknowledged()
        # From the address of those who guess, as behind one proxy.
        answers = [server.client.get("/api/leads?limit=1", headers=[BEARER]) for _ in range(30)]
        assert {answer.status for answer in answers} == {200}
        assert max(answer.latency_s for answer in answers) < 1


def test_leads_under_keys_that_somebody_else_used_first_are_told_of_and_can_be_had(
    start_server: StartServer, database: str, rows: Rows, siege: Siege
) -> None:
    server = start_server(database, environment=ENVIRONMENT)
    with siege.of(server, rows, "keys that are used before their owner does"):
        for number in range(ORDERS):
            assert server.client.post_lead({"email": "poison"}, key=f"order-{number}").status == 201
        answers = [
            server.client.post_lead({"email": "a@b.c", "marker": "shop"}, key=f"order-{number}")
            for number in range(ORDERS)
        ]
    assert {answer.status for answer in answers} == {409}
    assert server.client.metric("leadcrm_clustered_conflicts_total") == 11
    warning = "came under keys that others had used"
    wait_until(lambda: server.log_text().count(warning) == 1, what="one warning")
    for answer in answers:
        assert answer.receipt is not None
        target = f"/api/raw/{answer.receipt.raw_id}/replay"
        done = server.client.request("POST", target, headers=[BEARER]).json()
        assert (done["state"], done["leadId"]) == ("stored", answer.receipt.raw_id)
    (count,) = rows.select("SELECT count(*) AS n FROM leads WHERE marker = 'shop'")
    assert count["n"] == ORDERS
