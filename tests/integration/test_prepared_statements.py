"""The batch insert is prepared once in each session, and works behind a pooler that changes sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leadcrm.database.connections import open_connection
from leadcrm.database.migrations import migrate
from leadcrm.database.postgres import PostgresConnection
from leadcrm.database.states import Outcome
from leadcrm.ingest.driving import block
from leadcrm.ingest.store.postgres import PostgresStore
from leadcrm.ingest.submission import Receipt
from tests.support.crm import submission, url_of
from tests.support.postgres import PostgresServer


@pytest.fixture
def connection(postgres: PostgresServer) -> Iterator[PostgresConnection]:
    """A connection to a fresh, migrated database."""
    database = postgres.create_database()
    url = url_of(database)
    migrate(url)
    opened = open_connection(url, timeout_s=30)
    assert isinstance(opened, PostgresConnection)
    yield opened
    opened.close()
    postgres.drop_database(database)


def prepared(connection: PostgresConnection) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def creates(store: PostgresStore) -> bool:
    (result,) = block(store.write([submission(b"{}")]))
    return isinstance(result, Receipt) and result.outcome is Outcome.CREATED


def test_a_session_prepares_its_insert_once(connection: PostgresConnection) -> None:
    store = PostgresStore(connection, schema=None, timeout_s=30)
    assert creates(store)
    assert creates(store)
    assert prepared(connection) == 1


def test_another_session_from_a_pooler_costs_no_lead(connection: PostgresConnection) -> None:
    store = PostgresStore(connection, schema=None, timeout_s=30)
    assert creates(store)
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    assert creates(store)
    assert creates(store)


def test_a_session_in_which_another_client_prepared_the_insert_takes_leads(connection: PostgresConnection) -> None:
    assert creates(PostgresStore(connection, schema=None, timeout_s=30))
    assert creates(PostgresStore(connection, schema=None, timeout_s=30))


def test_nothing_is_prepared_behind_a_pooler(connection: PostgresConnection) -> None:
    assert creates(PostgresStore(connection, schema=None, timeout_s=30, may_prepare=False))
    assert prepared(connection) == 0
