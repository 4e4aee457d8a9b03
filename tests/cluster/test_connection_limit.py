"""`connection_limit` counts the connections of a node, of all its workers together."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster.conftest import Pair
from tests.conftest import StartServer
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.waiting import wait_until

WORKERS = 2
LEAST = WORKERS + 1
SPOOLED = 300
ASKED = 50
READERS = 6

SLOW = """
    CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.004); RETURN NEW; END $$;
    CREATE TRIGGER rest BEFORE INSERT ON leads_raw FOR EACH ROW EXECUTE FUNCTION rest()
"""
"""Lets the drain last for more than a turn."""


def close_doors(primary: PostgresCluster, name: str) -> None:
    primary.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    primary.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)


class Watch:
    """Counts a database's connections; one that its client has closed may be seen once more."""

    def __init__(self, primary: PostgresCluster, name: str) -> None:
        self._select = f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}'"
        self._primary = primary
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most = 0

    def _run(self) -> None:
        before: set[int] = set()
        connection = self._primary.connect()
        with connection.cursor() as cursor:
            while not self._stopping.wait(0.05):
                cursor.execute(self._select)
                now = {pid for (pid,) in cursor.fetchall()}
                self.most = max(self.most, len(now & before))
                before = now
        connection.close()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()


def asked_at_once(ask: Callable[[], int], until: Callable[[], bool]) -> Counter[int]:
    """Ask from several threads until the condition holds; return how often each status came."""
    statuses: Counter[int] = Counter()

    def repeat() -> None:
        while not until():
            statuses[ask()] += 1

    with ThreadPoolExecutor(READERS) as pool:
        for done in [pool.submit(repeat) for _ in range(READERS)]:
            done.result()
    return statuses


def test_one_connection_more_than_workers_serves_leads_the_crm_and_the_drain(
    start_server: StartServer, pair: Pair
) -> None:
    url = pair.primary.create_database()
    name = url.rpartition("/")[2]
    environment = {**ENVIRONMENT, "WORKERS": str(WORKERS)}
    server = start_server(f"{url}?connection_limit={LEAST}", environment=environment)
    crm = Crm(server, url)
    pair.primary.execute(SLOW, url=url)
    close_doors(pair.primary, name)
    stores: Counter[str] = Counter()
    for number in range(SPOOLED):
        receipt = server.client.post_lead({"email": f"a{number}@example.com"}).receipt
        assert receipt is not None
        stores[receipt.stored] += 1
    assert stores["spool"] > SPOOLED / 2
    pair.primary.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    wait_until(lambda: server.client.get("/ready").json()["database"] == "up")
    with Watch(pair.primary, name) as watch:
        counted: list[int] = []

        def ask() -> int:
            if len(counted) % 5 == 0:
                receipt = server.client.post_lead({"email": "b@example.com"}).receipt
                assert receipt is not None
                stores[receipt.stored] += 1
            counted.append(crm.ask("GET", "/api/leads").status)
            return counted[-1]

        statuses = asked_at_once(ask, lambda: len(counted) >= ASKED and not server.spooled())
    print(f"at most {watch.most} connections, statuses {dict(statuses)}, stores {dict(stores)}")
    assert set(statuses) <= {200}
    assert WORKERS <= watch.most <= LEAST
    server.wait_drained()
    assert len(Rows(url).leads()) == sum(stores.values())


def test_a_crm_call_waits_for_a_connection_for_pool_timeout(start_server: StartServer, pair: Pair) -> None:
    url = pair.primary.create_database()
    server = start_server(f"{url}?connection_limit=2&pool_timeout=1", environment=ENVIRONMENT)
    crm = Crm(server, url)
    assert crm.ids() == []
    pair.wait_for_counted_days(url)
    with pair.primary.connect(url) as blocker, blocker.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE leads IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(crm.ask, "GET", "/api/leads")
            wait_until(lambda: pair.primary.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))
            answer = crm.ask("GET", "/api/leads")
            assert (answer.status, "connection_limit" in answer.json()["message"]) == (503, True)
            assert 0.9 < answer.latency_s < 3
            cursor.execute("ROLLBACK")
            assert held.result().status == 200
    assert crm.ids() == []


@pytest.mark.parametrize(("limit", "accepted"), [(4, False), (5, True)])
def test_a_limit_that_is_not_enough_stops_the_start(
    start_server: StartServer, pair: Pair, limit: int, accepted: bool
) -> None:
    url = pair.primary.create_database()
    server = start_server(f"{url}?connection_limit={limit}", environment={"WORKERS": "4"}, wait=accepted)
    if not accepted:
        assert server.exit_status() == 78
        assert "connection_limit=5 or more" in server.log_text()
