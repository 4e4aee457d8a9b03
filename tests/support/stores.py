"""The store that leads take, on a database of either kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from leadcrm.database.connections import open_connection
from leadcrm.database.migrations import migrate
from leadcrm.database.postgres import PostgresConnection
from leadcrm.ingest.driving import block
from leadcrm.ingest.store.postgres import PostgresStore
from leadcrm.ingest.store.sqlite import SqliteStore
from leadcrm.ingest.store.store import Store
from tests.support.crm import url_of


def open_store(database: str, *, timeout_s: float = 10, min_free_bytes: int = 0) -> Store:
    """Open a store on a database, made if it is missing, that has proved itself: the loop may use it at once."""
    url = url_of(database)
    migrate(url)
    connection = open_connection(url, timeout_s=timeout_s)
    store: Store
    if isinstance(connection, PostgresConnection):
        store = PostgresStore(connection, schema=url.schema, timeout_s=timeout_s)
    else:
        assert url.path is not None
        store = SqliteStore(connection, url.path, min_free_bytes=min_free_bytes)
    if not min_free_bytes:
        block(store.prove())
    return store


@contextmanager
def store_on(database: str, *, timeout_s: float = 10) -> Iterator[Store]:
    """Open a store for a `with`."""
    store = open_store(database, timeout_s=timeout_s)
    try:
        yield store
    finally:
        store.close()
