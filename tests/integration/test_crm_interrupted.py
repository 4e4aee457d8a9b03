"""The CRM's work interrupted: its database hangs, is killed, or breaks a connection off in the middle."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.conftest import server_starter
from tests.integration.test_crm_at_once import (
    EXPORT,
    LARGE,
    LARGE_LEADS,
    LAST_CHUNK,
    READERS,
    lead,
    post,
)
from tests.support.conversation import Conversation
from tests.support.crm import keep, submission
from tests.support.crm_client import ENVIRONMENT, Crm, request_head
from tests.support.download import Download
from tests.support.postgres import Installation, PostgresCluster
from tests.support.waiting import wait_until

MOST_WAITING = 64
TOO_MANY = 4


@pytest.fixture(scope="module")
def fragile(
    request: pytest.FixtureRequest, postgres_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Crm, PostgresCluster]]:
    """A CRM and its database, to be frozen and killed."""
    cluster = postgres_installation.new_cluster()
    cluster.start()
    keep(cluster.url, LARGE)
    for start in server_starter(request.node, tmp_path_factory.mktemp("fragile")):
        yield Crm(start(cluster.url, environment=ENVIRONMENT), cluster.url), cluster
    cluster.remove()


def test_while_the_database_hangs_so_many_wait_and_the_others_hear_so_at_once(
    fragile: tuple[Crm, PostgresCluster],
) -> None:
    crm, cluster = fragile
    assert len(crm.ids(limit=1)) == 1
    with ExitStack() as stack:
        connections = [
            stack.enter_context(Conversation(crm.server.client, timeout_s=20))
            for _ in range(READERS + MOST_WAITING + TOO_MANY)
        ]

        def answered() -> list[Conversation]:
            ready = select.select(connections, [], [], 0)[0]
            return ready if len(ready) >= TOO_MANY else []

        with cluster.frozen():
            for connection in connections:
                connection.send(request_head("/api/leads?limit=1"))
            refused = wait_until(answered, timeout_s=5)
            # A reader that has yet to take its first leaves that in the queue.
            assert len(refused) <= TOO_MANY + READERS
            for connection in refused:
                answer = connection.answer()
                assert (answer.status, answer.json()["error"]) == (503, "unavailable")
                assert answer.json()["message"] == "Too many wait for the database already."
                assert int(answer.header("Retry-After") or 0) > 0
        assert {one.answer().status for one in connections if one not in refused} == {200}


@contextmanager
def breaking_once(crm: Crm, event: str, condition: str) -> Iterator[None]:
    """Let the database break off the first connection that meets a trigger on `leads`, within a `with`."""
    # A sequence goes on though its transaction does not.
    crm.rows.execute("CREATE SEQUENCE attempts")
    crm.rows.execute(
        "CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('attempts') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
        " RETURN NEW; END $$"
    )
    crm.rows.execute(
        f"CREATE TRIGGER break_off BEFORE {event} ON leads FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION break_off()"
    )
    try:
        yield
        assert crm.rows.select("SELECT last_value FROM attempts WHERE is_called"), "no connection was broken off"
    finally:
        crm.rows.execute("DROP FUNCTION break_off CASCADE")
        crm.rows.execute("DROP SEQUENCE attempts")


def test_many_changes_whose_connection_breaks_in_the_middle_are_made_all_or_none(
    fragile: tuple[Crm, PostgresCluster],
) -> None:
    crm, _ = fragile
    ids = [post(crm, email="breaks" if number == 1 else "goes on") for number in range(3)]
    with breaking_once(crm, "UPDATE", "OLD.email = 'breaks'"):
        answer = crm.ask("POST", "/api/leads/bulk", {"ids": ids, "status": "won"})
    assert (answer.status, answer.json()["error"]) == (503, "unavailable")
    seen = [crm.get(f"/api/leads/{lead_id}") for lead_id in ids]
    assert {(one["lead"]["status"], len(one["events"])) for one in seen} == {("new", 0)}
    assert crm.ask("POST", "/api/leads/bulk", {"ids": ids, "status": "won"}).json()["changed"] == 3


def test_a_replay_whose_connection_breaks_in_the_middle_leaves_the_row_as_it_was(
    fragile: tuple[Crm, PostgresCluster],
) -> None:
    crm, cluster = fragile
    row = submission(lead(email="breaks"), state="failed", error="a fault of ours")
    keep(cluster.url, [row])
    with breaking_once(crm, "INSERT", "NEW.email = 'breaks'"):
        assert crm.ask("POST", f"/api/raw/{row.id}/replay").status == 503
    seen = crm.get(f"/api/leads/{row.id}")
    assert (seen["lead"], seen["raw"]["state"]) == (None, "failed")
    assert crm.ask("POST", f"/api/raw/{row.id}/replay").json()["state"] == "stored"
    assert crm.get(f"/api/leads/{row.id}")["lead"]["email"] == "breaks"


def test_an_export_whose_connection_breaks_does_not_go_on_with_another_moment(
    fragile: tuple[Crm, PostgresCluster],
) -> None:
    crm, _ = fragile
    with Download(crm, EXPORT) as download:
        download.read_until(b"\n{")
        break_off = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        such = "datname = current_database() AND state LIKE 'idle in transaction%'"
        wait_until(
            lambda: crm.rows.select(f"{break_off} WHERE {such}"), what="the export's connection to be broken off"
        )
        received = download.read_to_the_end()
    assert 0 < received.count(b"\n{") < LARGE_LEADS
    assert not received.endswith(LAST_CHUNK)


def test_an_export_whose_database_is_killed_is_not_taken_for_a_whole_one(fragile: tuple[Crm, PostgresCluster]) -> None:
    crm, cluster = fragile
    with Download(crm, EXPORT) as download:
        download.read_until(b"\n{")
        cluster.kill9()
        received = download.read_to_the_end()
    assert 0 < received.count(b"\n{") < LARGE_LEADS
    assert not received.endswith(LAST_CHUNK)
    wait_until(lambda: "an export ended half way" in crm.server.log_text())
    away = crm.ask("GET", EXPORT)
    assert (away.status, away.json()["error"]) == (503, "unavailable")
    cluster.start()
    whole = wait_until(
        lambda: answer if (answer := crm.ask("GET", EXPORT)).status == 200 else None, what="an export of all"
    )
    assert whole is not None
    assert whole.body.count(b"\n") == LARGE_LEADS
