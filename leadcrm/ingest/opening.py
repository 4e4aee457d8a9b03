"""Opens what leads are kept in, as the configuration says: for one thread of a process, or for a command."""

from __future__ import annotations

import logging
from collections.abc import Callable

from leadcrm.configuration.config import Config
from leadcrm.database.connections import Connection, open_connection
from leadcrm.database.feed_numbers import raise_numbers
from leadcrm.database.migrations import made_at, require_current
from leadcrm.database.postgres import (
    COMPLETE_ENCODINGS,
    NOT_REPLICATED,
    PostgresConnection,
    deadline,
    server_encoding,
    strengthen_commits,
)
from leadcrm.errors import SpoolUnavailable
from leadcrm.ingest.sourced import SourceRows
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.store.postgres import PostgresStore
from leadcrm.ingest.store.sqlite import SqliteStore
from leadcrm.ingest.store.store import Store
from leadcrm.sources.live import LiveSources

logger = logging.getLogger("leadcrm.ingest.opening")


def open_spool(config: Config) -> Spool | None:
    """Return this node's spool for use by one thread, or None if spooling is off."""
    if not config.spool:
        return None
    return Spool(config.data_dir, max_bytes=config.spool_bytes, min_free_bytes=config.min_free_bytes)


def open_store(config: Config, look: Callable[[Connection], None] = lambda _connection: None) -> Store:
    """Connect to the database and return a store for use by one thread.

    Args:
        config: The configuration.
        look: Is given the connection before it is used.

    Raises:
        StoreUnavailable: The database cannot be used now.
        SchemaTooOld: Migrations are pending.
        SchemaTooNew: A newer program has migrated the database.
        ForeignTables: Another program made the tables.
    """
    url = config.database
    connection = open_connection(url, timeout_s=config.commit_timeout_s)
    try:
        # Without the deadline, a server that stops responding here would block this thread for ever.
        with deadline(config.commit_timeout_s):
            schema_version = require_current(connection, url)
            known_by = made_at(connection, url)
            raise_numbers(connection, url)
            look(connection)
            if isinstance(connection, PostgresConnection) and config.require_sync:
                strengthen_commits(connection, url, NOT_REPLICATED)
        if isinstance(connection, PostgresConnection):
            if (encoding := server_encoding(connection)) not in COMPLETE_ENCODINGS:
                text = f"the database's encoding is {encoding}: leads with letters that it lacks are kept as failed"
                logger.warning(text, extra={"action": "recover", "hint": "leadcrm check", "repeat_key": text})
            store: Store = PostgresStore(
                connection,
                schema=url.schema,
                timeout_s=config.commit_timeout_s,
                may_prepare=not url.pgbouncer,
                requires_standby=config.require_sync,
            )
        else:
            assert url.path is not None
            store = SqliteStore(connection, url.path, min_free_bytes=config.min_free_bytes)
        store.standing = store.standing._replace(schema_version=schema_version, made_at=known_by)
    except BaseException:
        connection.close()
        raise
    return store


def open_sources(config: Config) -> SourceRows:
    """Return what reads the rows of sources, for a command.

    Raises:
        SourcesFault: `SOURCES_FILE` cannot be used.
    """
    live = LiveSources(config)
    live.learn()
    return SourceRows(live, max_decoded_bytes=config.max_body_bytes)


def prepare_spool(config: Config) -> None:
    """Check the spool before any process opens it; a damaged file is set aside, and recovery salvages its rows."""
    spool = open_spool(config)
    if spool is None:
        return
    try:
        spool.inspect()
    except SpoolUnavailable as error:
        logger.warning("%s", error, extra={"action": "start", "hint": error.hint})
    finally:
        spool.close()
