"""The feed over HTTP: pages, long polls, their limits, and leads that reach the database late."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from leadcrm.web.crm.feed import MAX_WAIT_S
from tests.conftest import StartServer, new_database, server_starter
from tests.faults.proxy import Proxy
from tests.support.client import Answer
from tests.support.crm import keep, submission
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.feed_readers import FeedReader, Listener, Poller
from tests.support.postgres import PostgresCluster
from tests.support.server import Server
from tests.support.waiting import wait_until


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def crm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    """A server for all tests of the module."""
    for database in new_database(request.param, request, tmp_path_factory.mktemp("database")):
        for start in server_starter(request.node, tmp_path_factory.mktemp("feed")):
            yield Crm(start(database, environment=ENVIRONMENT), database)


def post(server: Server, **fields: str) -> str:
    lead_id: str = server.client.post_lead(fields).json()["lead_id"]
    return lead_id


def end_of_feed(crm: Crm) -> int:
    page = crm.get("/api/feed", limit=500)
    while page["events"]:
        page = crm.get("/api/feed", limit=500, after=page["next"])
    number: int = page["next"]
    return number


def test_a_page_goes_on_from_the_number_that_was_read_last(crm: Crm) -> None:
    after = end_of_feed(crm)
    lead_id = post(crm.server, email="a@example.com")
    crm.ask("PATCH", f"/api/leads/{lead_id}", {"status": "called", "assignedTo": "anna"}, X_Actor="boss")
    crm.server.client.post_lead(b"no lead")
    first = crm.get("/api/feed", after=after, limit=2)
    rest = crm.get("/api/feed", after=first["next"])
    created, *changed = [*first["events"], *rest["events"]]
    assert created["seq"] > after
    assert [event["type"] for event in changed] == ["lead.changed"] * 2
    lead = crm.get(f"/api/leads/{lead_id}")["lead"]
    assert created == {
        "seq": created["seq"],
        "type": "lead.created",
        "at": created["at"],
        "leadId": lead_id,
        "lead": lead,
        "change": None,
    }
    assert {(event["change"]["field"], event["change"]["to"], event["change"]["by"]) for event in changed} == {
        ("status", "called", "boss"),
        ("assignedTo", "anna", "boss"),
    }
    assert all(event["lead"] == lead for event in changed)
    # Nothing more is there, and the number stays the one to go on from.
    assert crm.get("/api/feed", after=rest["next"]) == {"events": [], "next": rest["next"]}
    thin = crm.get("/api/feed", after=after, payload="thin")["events"]
    assert [sorted(event) for event in thin] == [["at", "leadId", "seq", "type"]] * 3
    crm.ask("POST", f"/api/leads/{lead_id}/notes", {"text": "calls back"}, X_Actor="anna")
    (noted,) = crm.get("/api/feed", after=rest["next"])["events"]
    assert (noted["type"], noted["leadId"]) == ("lead.noted", lead_id)
    assert (noted["change"]["to"], noted["change"]["by"]) == ("calls back", "anna")


def test_a_number_that_cannot_be_gone_on_from_is_refused(crm: Crm) -> None:
    for text in ("", "x", "-1", "1.5", "9" * 19):
        assert crm.ask("GET", f"/api/feed?after={text}").status == 400
        assert crm.ask("GET", "/api/leads/stream", Last_Event_ID=text or "x").status == 400
    ahead = end_of_feed(crm) + 1_000_000
    assert crm.ask("GET", f"/api/feed?after={ahead}").status == 410
    post(crm.server, email="pruned@example.com")
    pruned = end_of_feed(crm)
    crm.rows.execute("UPDATE leads_feed_start SET after_seq = %s", pruned)
    crm.rows.execute("DELETE FROM leads_feed WHERE seq <= %s", pruned)
    for answer in (
        crm.ask("GET", f"/api/feed?after={pruned - 1}"),
        crm.ask("GET", "/api/leads/stream", Last_Event_ID=str(pruned - 1)),
    ):
        assert (answer.status, answer.json()["error"], answer.json()["oldest"]) == (410, "gone", pruned)
    assert crm.get("/api/feed", after=pruned) == crm.get("/api/feed") == {"events": [], "next": pruned}


def test_leads_and_requests_are_listed_in_the_order_in_which_they_were_stored(crm: Crm) -> None:
    arrived_at = datetime.now(timezone.utc) - timedelta(days=400)
    first = post(crm.server, marker="order", email="first@example.com")
    late = submission(b'{"marker":"order"}', received_at=arrived_at)
    unread = submission(b"no lead", received_at=arrived_at)
    keep(crm.database, [unread, late])
    last = post(crm.server, marker="order", email="last@example.com")

    def listed(target: str, name: str, **parameters: Any) -> list[str]:
        ids: list[str] = []
        cursor: dict[str, str] = {}
        while cursor is not None:
            page = crm.get(target, order="stored", limit=1, **parameters, **cursor)
            ids += [row["id"] for row in page[name]]
            cursor = page["next"] and {"cursor": page["next"]}
        return ids

    assert listed("/api/leads", "leads", marker="order") == [first, late.id, last]
    assert listed("/api/leads", "leads", marker="order", id=[last, first]) == [first, last]
    assert listed("/api/leads", "leads", marker="order", q="last@") == [last]
    requests = listed("/api/raw", "rows", state=["stored", "invalid"])
    assert [id for id in requests if id in (first, late.id, unread.id, last)] == [first, unread.id, late.id, last]
    assert crm.ids(marker="order") == [last, first, late.id]
    for target in ("/api/leads", "/api/raw"):
        assert crm.ask("GET", f"{target}?cursor=stored-1").status == 400
        cursor = crm.get(target, limit=1)["next"]
        assert crm.ask("GET", f"{target}?order=stored&cursor={cursor}").status == 400
        assert crm.ask("GET", f"{target}?order=stored&cursor=stored-{10**17}").status == 410


def test_long_polls_are_answered_as_soon_as_there_is_an_event_and_hold_nothing_meanwhile(crm: Crm) -> None:
    after = end_of_feed(crm)

    def poll(_: int) -> Answer:
        return crm.ask("GET", f"/api/feed?after={after}&wait={MAX_WAIT_S}")

    with ThreadPoolExecutor(20) as pool:
        polls = pool.map(poll, range(20))
        # More poll than there are threads that read: those answer others meanwhile.
        started = time.monotonic()
        assert crm.get("/api/leads", limit=1) is not None
        lead_id = post(crm.server, email="awaited@example.com")
        answers = list(polls)
    assert time.monotonic() - started < MAX_WAIT_S / 2
    assert {tuple(event["leadId"] for event in answer.json()["events"]) for answer in answers} == {(lead_id,)}
    waited = crm.ask("GET", f"/api/feed?after={answers[0].json()['next']}&wait=1")
    assert waited.json()["events"] == []
    assert waited.latency_s >= 1


def test_a_transaction_that_holds_the_feed_back_shows_in_the_metrics(
    whole_database: str, start_server: StartServer
) -> None:
    crm = Crm(start_server(whole_database, environment=ENVIRONMENT), whole_database)
    after = crm.get("/api/feed")["next"]
    with Poller(crm.server, after) as poller, closing(psycopg2.connect(whole_database)) as rival:
        with rival.cursor() as cursor:
            cursor.execute("INSERT INTO leads_feed (type, lead_id) SELECT 'kept', gen_random_uuid()")
        held = post(crm.server, email="held@example.com")
        wait_until(lambda: crm.server.client.metric("leadcrm_feed_lag_seconds") > 0)
        assert poller.created == []
        rival.commit()
        wait_for(poller, held)
        wait_until(lambda: crm.server.client.metric("leadcrm_feed_lag_seconds") == 0)


def test_a_long_poll_does_not_delay_the_stop(start_server: StartServer) -> None:
    server = start_server(environment=ENVIRONMENT)
    crm = Crm(server, "sqlite:///:memory:")
    answers: list[Answer] = []
    after = crm.get("/api/feed")["next"]
    polling = threading.Thread(
        target=lambda: answers.append(crm.ask("GET", f"/api/feed?after={after}&wait={MAX_WAIT_S}"))
    )
    polling.start()
    wait_until(lambda: len(server.processes()[0].net_connections()) > 1, what="the poll to be there")
    assert server.terminate(timeout_s=10) == 0
    polling.join()
    assert [(answer.status, answer.json()["events"]) for answer in answers] == [(200, [])]


def spooled(server: Server) -> str | None:
    """Send a lead and return its id if it waits in the spool."""
    receipt = server.client.post_lead({"email": "a@example.com"}).receipt
    assert receipt is not None
    return receipt.raw_id if receipt.stored == "spool" else None


def wait_for(reader: FeedReader, lead_id: str) -> None:
    wait_until(lambda: lead_id in reader.created, what=f"{lead_id} at the {type(reader).__name__}")


def test_a_lead_that_waited_on_another_node_and_one_that_was_replayed_come_late_and_with_both_times(
    own_postgres: PostgresCluster, start_server: StartServer
) -> None:
    url = own_postgres.create_database()
    with ExitStack() as stack:
        port = urlsplit(url).port
        assert port is not None
        proxy = Proxy(port)
        stack.callback(proxy.close)
        cut_off_url = url.replace(f":{port}/", f":{proxy.port}/")
        other = start_server(url, environment={**ENVIRONMENT, "NODE_NAME": "other"})
        cut_off = start_server(cut_off_url, environment={**ENVIRONMENT, "NODE_NAME": "cut-off"})
        crm = Crm(other, url)
        after = end_of_feed(crm)
        readers = [stack.enter_context(kind(other, after)) for kind in (Poller, Listener)]
        proxy.refuse()
        waited = wait_until(lambda: spooled(cut_off), what="a lead in the spool")
        direct = post(other, email="b@example.com")
        for reader in readers:
            wait_for(reader, direct)
            assert waited not in reader.created
        proxy.forward()
        for reader in readers:
            wait_for(reader, waited)
        receipt = other.client.post_lead(b'{"email":"c@example.com"').receipt
        assert receipt is not None
        replayed = receipt.raw_id
        crm.rows.execute("UPDATE leads_raw SET body = %s WHERE id = %s", b'{"email":"c@example.com"}', replayed)
        assert crm.ask("POST", f"/api/raw/{replayed}/replay").json()["changed"]
        for reader in readers:
            wait_for(reader, replayed)
            (late,) = [event for event in reader.events if event["leadId"] == waited]
            (before,) = [event for event in reader.events if event["leadId"] == direct]
            assert late["lead"]["createdAt"] < before["lead"]["createdAt"]
            assert late["at"] > before["at"]
        assert readers[0].created == readers[1].created
