"""The PostgreSQL of the tests does what fault tests ask of it."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import psycopg2
import pytest

from tests.support.postgres import Installation, PostgresCluster, PostgresServer
from tests.support.rows import Rows

# The first thing a client may ask, answered with one byte before any authentication.
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


def test_each_test_gets_an_empty_database_of_its_own(postgres: PostgresServer) -> None:
    first, second = postgres.create_database(), postgres.create_database()
    postgres.execute("CREATE TABLE leads (id uuid)", url=first)
    assert Rows(first).leads() == []
    with pytest.raises(psycopg2.errors.UndefinedTable):
        Rows(second).leads()
    postgres.drop_database(first)
    postgres.drop_database(second)


def test_the_cluster_is_as_durable_as_in_production(own_postgres: PostgresCluster) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    assert [own_postgres.execute(f"SHOW {name}") for name in names] == [[("on",)]] * 3


def test_a_standby_follows_its_primary_whatever_the_umask_was(postgres_installation: Installation) -> None:
    os.umask(0o077)
    primary = postgres_installation.new_cluster()
    primary.start()
    try:
        standby = postgres_installation.new_standby(primary)
        assert standby.execute("SELECT pg_is_in_recovery()") == [(True,)]
        standby.remove()
    finally:
        primary.remove()


@pytest.mark.parametrize("way", ["fast", "immediate", "kill9"])
def test_what_was_committed_is_there_after_a_stop_and_a_start(own_postgres: PostgresCluster, way: str) -> None:
    own_postgres.execute("CREATE TABLE kept (value int)")
    own_postgres.execute("INSERT INTO kept VALUES (1)")
    if way == "kill9":
        own_postgres.kill9()
    else:
        own_postgres.stop(way)
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        own_postgres.connect()
    own_postgres.start()
    assert own_postgres.execute("SELECT value FROM kept") == [(1,)]


def test_a_frozen_cluster_takes_connections_and_answers_nothing_until_it_is_thawed(
    own_postgres: PostgresCluster,
) -> None:
    with closing(own_postgres.connect()) as connection, connection.cursor() as cursor:
        with own_postgres.frozen():
            states = {process.status() for process in own_postgres.processes()}
            assert states == {"stopped"}
            with socket.create_connection(("127.0.0.1", own_postgres.port), timeout=0.5) as waiting:
                waiting.sendall(SSL_REQUEST)
                with pytest.raises(TimeoutError):
                    waiting.recv(1)
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]
