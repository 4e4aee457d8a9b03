"""What a node's workers together know of the database: each writes it down, and whoever is asked reads all."""

from __future__ import annotations

from time import monotonic
from typing import NamedTuple

from leadcrm.database.standby import Standby
from leadcrm.ingest.ingestion import Ingestion
from leadcrm.web.node_metrics import NodeMetrics, WorkerMetrics

SILENT_S = 10.0
"""A worker that has written nothing for this long has no opinion: it hangs or was killed."""

_STRENGTHS = ("none", "asynchronous", "synchronous")


class DatabaseView(NamedTuple):
    """The database as the node sees it.

    Attributes:
        is_up: Whether the commits of any worker reach it.
        host: The host that the newest connection leads to; empty for a file, or while there is none.
        replication: What the workers' commits survive, the weakest of them; empty while none reaches the database.
        fault: What is waited for; empty if every worker's commits reach it.
    """

    is_up: bool
    host: str
    replication: str
    fault: str


class StandbyView(NamedTuple):
    """The standby as the node sees it.

    Attributes:
        workers: How many workers read from it.
        host: The host that was looked at last; empty if none could be.
        fault: Why a worker does not read from it; empty if all do.
    """

    workers: int
    host: str
    lag_s: float
    fault: str


def write_down_standby(standby: Standby, metrics: WorkerMetrics) -> None:
    """Write down what this worker knows of the standby."""
    metrics.set("standby_used", standby.is_usable)
    metrics.set("standby_lag", standby.lag_s)
    metrics.set_text("standby", standby.host)
    metrics.set_text("standby_fault", standby.fault)


def view_of_standby(node: NodeMetrics) -> StandbyView | None:
    """Return what all workers know together; None if there is no standby to read from."""
    faults = [*filter(None, (one.get_text("standby_fault") for one in node))]
    workers = int(node.total("standby_used"))
    if not workers and not faults:
        return None
    host = next(filter(None, (one.get_text("standby") for one in node)), "")
    return StandbyView(workers, host, node.greatest("standby_lag"), faults[0] if faults else "")


def write_down(ingestion: Ingestion, metrics: WorkerMetrics) -> None:
    """Write down what this worker knows."""
    known = ingestion.database_now()
    metrics.set("has_store", known.is_up)
    metrics.set("connected_at", known.connected_at)
    metrics.set_text("host", known.standing.host)
    metrics.set_text("replication", known.standing.replication)
    metrics.set_text("database_fault", known.fault)


def view_of(node: NodeMetrics) -> DatabaseView:
    """Return what all workers know together."""
    now = monotonic()
    workers = [one for one in node if now - one.get("loop_seen") < SILENT_S] or list(node)
    connected = [one for one in workers if one.get("has_store")]
    without = [one for one in workers if not one.get("has_store")]
    fault = next(filter(None, (one.get_text("database_fault") for one in without)), "")
    if not connected:
        return DatabaseView(False, "", "", fault)
    if without:
        fault = f"leads of {len(without)} of {len(workers)} workers do not reach the database: {fault}"
    newest = max(connected, key=lambda one: one.get("connected_at"))
    replication = min((one.get_text("replication") for one in connected), key=_STRENGTHS.index)
    return DatabaseView(True, newest.get_text("host"), replication, fault)
