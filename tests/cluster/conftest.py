"""A primary and its standby, which the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.postgres import Installation, PostgresCluster
from tests.support.waiting import wait_until


class Pair:
    """Two PostgreSQL servers, of which one is the primary and the other its standby; a failover swaps them."""

    def __init__(self, installation: Installation) -> None:
        self.primary = installation.new_cluster()
        self.primary.start()
        self.standby = installation.new_standby(self.primary)

    def url(self, database: str, *servers: PostgresCluster) -> str:
        """Return the URL of a database of the primary with these servers as its hosts, in order."""
        parts = urlsplit(database)
        user, _, _ = parts.netloc.rpartition("@")
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        return urlunsplit(parts._replace(netloc=f"{user}@{hosts}"))

    def wait_for_standbys(self, names: str) -> None:
        """Have commits wait for the standbys of these names, any for `*`; empty: for none."""
        self.primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.execute("SELECT pg_reload_conf()")
        wait_until(lambda: self.primary.execute("SHOW synchronous_standby_names") == [(names,)])
        if names == "*":
            sync = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
            wait_until(lambda: self.primary.execute(sync))

    def fail_over(self) -> None:
        """Kill the primary, promote its standby, and let the killed one follow the new primary as its standby."""
        ((names,),) = self.primary.execute("SHOW synchronous_standby_names")
        self.standby.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.standby.execute("SELECT pg_reload_conf()")
        self.primary.kill9()
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        self.standby.follow(self.primary)

    def wait_for_counted_days(self, database: str) -> None:
        """Wait until the nodes of a database without leads write nothing by themselves any more."""
        is_done = "SELECT 1 FROM leads_days_until, leads_feed_seq_seq WHERE seq > 0 AND last_value - seq < 1000"
        wait_until(lambda: self.primary.execute(is_done, url=database))

    def remove(self) -> None:
        """Delete both."""
        self.primary.remove()
        self.standby.remove()


@pytest.fixture(scope="session")
def pair(postgres_installation: Installation) -> Iterator[Pair]:
    """A primary and a standby, whose replication is asynchronous unless a test changes it for its own time."""
    pair = Pair(postgres_installation)
    yield pair
    pair.remove()
