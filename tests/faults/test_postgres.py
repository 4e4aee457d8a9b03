"""PostgreSQL stopped, killed, frozen, cut off, locked and late: no lead is lost or waits for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from tests.conftest import StartServer
from tests.faults.proxy import Proxy
from tests.faults.trial import Trial
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.waiting import wait_until

QUICK_S = 0.25
"""Once the database is known to be away, a lead waits only for the spool."""

TWO_WORKERS = {"WORKERS": "2"}


def stop_and_start(cluster: PostgresCluster, during: Callable[[], None]) -> None:
    cluster.stop("immediate")
    during()
    cluster.start()


def kill_and_start(cluster: PostgresCluster, during: Callable[[], None]) -> None:
    cluster.kill9()
    during()
    cluster.start()


def freeze_and_thaw(cluster: PostgresCluster, during: Callable[[], None]) -> None:
    with cluster.frozen():
        during()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("PostgreSQL stopped -m immediate, restarted", stop_and_start),
        ("PostgreSQL killed -9, restarted", kill_and_start),
        ("PostgreSQL frozen (SIGSTOP), thawed", freeze_and_thaw),
    ],
)
def test_a_database_that_goes_and_comes_back_loses_no_lead(
    name: str,
    fault: Callable[[PostgresCluster, Callable[[], None]], None],
    start_server: StartServer,
    own_postgres: PostgresCluster,
    trial: Trial,
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment=TWO_WORKERS)
    with trial.load(server):
        trial.wait_stored()
        for _ in range(2):
            fault(own_postgres, lambda: trial.wait_spooled(500))
            trial.wait_stored()
        assert trial.median_of_spooled_s() < QUICK_S
    server.wait_drained()
    trial.judge(name, server, Rows(url))


def test_a_connection_that_a_firewall_swallowed_holds_no_lead_up(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    with closing(Proxy(own_postgres.port)) as proxy:
        through = url.replace(f":{own_postgres.port}/", f":{proxy.port}/")
        server = start_server(through, environment=TWO_WORKERS)
        with trial.load(server):
            trial.wait_stored()
            proxy.swallow()
            trial.wait_spooled(1000)
            assert trial.median_of_spooled_s() < QUICK_S
            proxy.forward()
            trial.wait_stored()
        server.wait_drained()
    trial.judge("connections swallowed by a firewall", server, Rows(url))


def test_a_locked_table_holds_no_lead_up(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment=TWO_WORKERS)
    with trial.load(server):
        trial.wait_stored()
        with closing(own_postgres.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE leads_raw IN ACCESS EXCLUSIVE MODE")
            wait_for_hung_connections(own_postgres, 6)
        assert trial.median_of_spooled_s() < QUICK_S
        trial.wait_stored()
    server.wait_drained()
    trial.judge("leads_raw locked ACCESS EXCLUSIVE", server, Rows(url))


def wait_for_hung_connections(cluster: PostgresCluster, count: int) -> None:
    """Wait until so many connections of leadcrm's, one after the other, have waited for a lock."""
    hung: set[int] = set()

    def are_enough() -> bool:
        such = "application_name = 'leadcrm' AND wait_event_type = 'Lock'"
        hung.update(pid for (pid,) in cluster.execute(f"SELECT pid FROM pg_stat_activity WHERE {such}"))
        return len(hung) >= count

    wait_until(are_enough, timeout_s=40, what=f"{count} connections to hang")


def test_leads_are_taken_before_the_database_has_ever_been_there(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    own_postgres.stop()
    server = start_server(url, environment=TWO_WORKERS)
    with trial.load(server):
        trial.wait_spooled(500)
        own_postgres.start()
        trial.wait_stored()
    server.wait_drained()
    trial.judge("PostgreSQL started after the server", server, Rows(url))


def test_many_outages_leave_no_thread_connection_or_descriptor_behind(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    with closing(Proxy(own_postgres.port)) as proxy:
        server = start_server(url.replace(f":{own_postgres.port}/", f":{proxy.port}/"))
        (process,) = server.processes()
        with trial.load(server, connections=4):
            trial.wait_stored()
            server.wait_drained()
            wait_until(lambda: process.num_threads() <= 6, what="the threads of the start to end")
            threads, descriptors = process.num_threads(), process.num_fds()
            for outage in range(10):
                (proxy.swallow if outage % 2 else proxy.refuse)()
                trial.wait_spooled(20)
                proxy.forward()
                trial.wait_stored(20)
            server.wait_drained()
            wait_until(lambda: process.num_threads() <= threads, what=f"no more than {threads} threads")
            wait_until(
                lambda: process.num_fds() <= descriptors + 2, what=f"no more than {descriptors} file descriptors"
            )
            wait_until(lambda: sessions(own_postgres, url) <= 2, timeout_s=30, what="the abandoned sessions to end")
    trial.judge("10 outages in a row, half of them silent", server, Rows(url))


def sessions(cluster: PostgresCluster, url: str) -> int:
    found = cluster.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leadcrm'", url=url)
    return int(found[0][0])


@pytest.mark.alone
def test_a_database_that_hangs_while_the_server_starts_holds_no_lead_up(
    start_server: StartServer, own_postgres: PostgresCluster, trial: Trial
) -> None:
    url = own_postgres.create_database()
    server = start_server(url, environment=TWO_WORKERS)
    assert server.terminate() == 0
    with own_postgres.frozen():
        server.start(wait=False)
        with trial.load(server):
            trial.wait_spooled(300)
    with trial.load(server):
        trial.wait_stored()
    server.wait_drained()
    trial.judge("PostgreSQL frozen while the server starts", server, Rows(url))
