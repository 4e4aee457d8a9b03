"""What is broken in a trial."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep

from failover.cluster import Cluster
from failover.members import Member
from tests.support.waiting import wait_until

Break = Callable[[], "float | None"]


class Faults:
    """The faults of a cluster. Each returns when the database could be used again; None if it was all along."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def all(self) -> Iterator[tuple[str, Break]]:
        """Yield every fault with its name, in order."""
        yield "none", self.nothing
        yield "switchover", self.switch_over
        yield "primary killed -9", self.kill_primary
        yield "the same, five times in a row", self.kill_five_times
        yield "primary and its Patroni frozen until 10 s after the promotion", self.freeze_primary
        yield "synchronous standby killed -9", self.kill_standby
        yield "synchronous standby frozen 30 s", self.freeze_standby
        yield "strict, both standbys frozen 40 s", self.freeze_both_standbys
        yield "etcd away 40 s, `failsafe_mode`", self.lose_etcd
        yield "etcd away 40 s, without `failsafe_mode`", self.lose_etcd_without_failsafe
        yield "node a cut off from PostgreSQL 20 s", self.cut_a_off

    def nothing(self) -> None:
        sleep(6.0)

    def switch_over(self) -> float:
        self._cluster.switch_over()
        return monotonic()

    def kill_primary(self) -> float:
        primary = self._cluster.wait_primary()
        primary.kill_postgres()
        self._cluster.wait_primary(primary)
        return monotonic()

    def kill_five_times(self) -> float:
        for _ in range(4):
            self.kill_primary()
            self._cluster.wait_whole()
        return self.kill_primary()

    def freeze_primary(self) -> float:
        primary = self._cluster.wait_primary()
        with frozen(primary):
            self._cluster.wait_primary(primary)
            usable_at = monotonic()
            sleep(10.0)
        return usable_at

    def kill_standby(self) -> None:
        self._sync_standby().kill_postgres()
        sleep(5.0)

    def freeze_standby(self) -> None:
        with frozen(self._sync_standby()):
            sleep(30.0)

    def freeze_both_standbys(self) -> float:
        cluster = self._cluster
        cluster.configure(synchronous_mode_strict=True)
        one, other = (member for member in cluster.members if not member.is_primary)
        with frozen(one), frozen(other):
            sleep(40.0)
        cluster.wait_whole()
        usable_at = monotonic()
        cluster.configure(synchronous_mode_strict=False)
        return usable_at

    def lose_etcd(self) -> float:
        self._cluster.stop_etcd()
        sleep(40.0)
        self._cluster.start_etcd()
        self._cluster.wait_primary()
        return monotonic()

    def lose_etcd_without_failsafe(self) -> float:
        self._cluster.configure(failsafe_mode=False)
        sleep(10.0)  # until every member knows
        usable_at = self.lose_etcd()
        self._cluster.configure(failsafe_mode=True)
        return usable_at

    def cut_a_off(self) -> float:
        way = self._cluster.way_of_a
        assert way is not None
        way.signal_all(signal.SIGSTOP)
        sleep(20.0)
        way.signal_all(signal.SIGCONT)
        return monotonic()

    def _sync_standby(self) -> Member:
        members = self._cluster.members
        return wait_until(lambda: next((member for member in members if member.is_sync_standby), None))


@contextmanager
def frozen(member: Member) -> Iterator[None]:
    """Suspend a member for the duration of the block."""
    member.freeze()
    try:
        yield
    finally:
        member.thaw()
