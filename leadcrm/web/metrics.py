"""`GET /metrics`: the node's metrics and its verdict in Prometheus' text format, summed over all workers."""

from __future__ import annotations

from collections.abc import Iterator
from time import time
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from leadcrm import __version__
from leadcrm.delivery.board import DeliveryBoard, age_of
from leadcrm.ingest.ingestion import Verdict
from leadcrm.web.database_view import view_of, view_of_standby
from leadcrm.web.node_metrics import DURATION_BUCKETS_S, OUTCOMES, TURNED_AWAY, NodeMetrics
from leadcrm.web.silence import SilenceBoard

CONTENT_TYPE = CONTENT_TYPE_LATEST


def render(
    node_metrics: NodeMetrics, verdict: Verdict, board: DeliveryBoard | None = None, silence: SilenceBoard | None = None
) -> bytes:
    """Return the text that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(node_metrics, verdict, board, silence))
    return generate_latest(registry)


class _Collector:
    def __init__(
        self, node_metrics: NodeMetrics, verdict: Verdict, board: DeliveryBoard | None, silence: SilenceBoard | None
    ) -> None:
        self._node_metrics = node_metrics
        self._verdict = verdict
        self._board = board
        self._silence = silence

    def collect(self) -> Iterator[Metric]:
        yield from _node_families(self._node_metrics)
        yield from _verdict_families(self._verdict)
        yield from _delivery_families({} if self._board is None else self._board.sinks())
        yield from _source_families({} if self._silence is None else self._silence.ages())
        build = GaugeMetricFamily("leadcrm_build_info", "The version that runs.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build


def _node_families(node_metrics: NodeMetrics) -> Iterator[Metric]:
    leads = CounterMetricFamily("leadcrm_leads", "Answers to POST /api/lead, by outcome.", labels=["outcome"])
    for outcome in OUTCOMES:
        leads.add_metric([outcome], node_metrics.total(f"outcome_{outcome}"))
    yield leads
    yield _durations(node_metrics)
    for name, text in (
        ("received_bytes", "Bytes of bodies received."),
        ("batches", "Batches committed, in the database or the spool."),
        ("batch_rows", "Rows in these batches."),
        ("postponed_rows", "Requests that were answered 201 and whose leads are made later: reading them takes long."),
        ("clustered_conflicts", "Conflicts from addresses that sent many of them."),
        ("failed_rows", "Requests that were answered 201 and kept as failed: they are no lead yet."),
    ):
        yield CounterMetricFamily(f"leadcrm_{name}", text, node_metrics.total(name))
    turned_away = CounterMetricFamily(
        "leadcrm_turned_away",
        "Requests and connections that were ended for others' sake, by reason.",
        labels=["reason"],
    )
    for reason in TURNED_AWAY:
        turned_away.add_metric([reason], node_metrics.total(f"turned_away_{reason}"))
    yield turned_away
    yield GaugeMetricFamily(
        "leadcrm_last_commit_timestamp_seconds",
        "Unix time of the last commit, 0 before the first.",
        node_metrics.greatest("last_commit"),
    )
    yield GaugeMetricFamily(
        "leadcrm_feed_lag_seconds",
        "For how long the same transactions have held the feed back from those who wait for it.",
        node_metrics.greatest("feed_lag"),
    )
    yield GaugeMetricFamily("leadcrm_queue_bytes", "Bytes of bodies that wait.", node_metrics.total("queue_bytes"))
    yield GaugeMetricFamily("leadcrm_workers", "Workers that serve.", node_metrics.total("serving"))
    yield GaugeMetricFamily(
        "leadcrm_workers_with_database", "Workers whose leads go to the database.", node_metrics.total("has_store")
    )
    yield CounterMetricFamily(
        "leadcrm_reconnects",
        "Times that a worker's leads went to the database again after they had not.",
        node_metrics.total("reconnects"),
    )
    yield GaugeMetricFamily(
        "leadcrm_connected_timestamp_seconds",
        "Unix time since which leads go to the database, by the newest connection of a worker.",
        max(worker.get("connected_at") for worker in node_metrics),
    )
    view = view_of(node_metrics)
    database = GaugeMetricFamily(
        "leadcrm_database_info", "Where leads go, and who confirms their commits.", labels=["host", "replication"]
    )
    if view.is_up:
        database.add_metric([view.host, view.replication], 1)
    yield database
    yield from _standby_families(node_metrics)


def _standby_families(node_metrics: NodeMetrics) -> Iterator[Metric]:
    reads = CounterMetricFamily("leadcrm_reads", "Readings of the CRM, by the server they went to.", labels=["server"])
    workers = GaugeMetricFamily("leadcrm_workers_with_standby", "Workers whose reads go to the standby.")
    lag = GaugeMetricFamily("leadcrm_standby_lag_seconds", "How far the standby is behind the primary.")
    standby = view_of_standby(node_metrics)
    if standby is not None:
        for server in ("standby", "primary"):
            reads.add_metric([server], node_metrics.total(f"{server}_reads"))
        workers.add_metric([], standby.workers)
        lag.add_metric([], standby.lag_s)
    yield from (reads, workers, lag)


def _durations(node_metrics: NodeMetrics) -> Metric:
    count = 0.0
    buckets = []
    for bound in DURATION_BUCKETS_S:
        count += node_metrics.total(f"duration_{bound}")
        buckets.append((str(bound), count))
    count += node_metrics.total("duration_more")
    buckets.append(("+Inf", count))
    return HistogramMetricFamily(
        "leadcrm_request_duration_seconds",
        "From the head of POST /api/lead to its answer.",
        buckets=buckets,
        sum_value=node_metrics.total("duration_sum"),
    )


def _delivery_families(sinks: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    text = "Events at sinks that this node delivers to, by outcome; an attempt that will be repeated is failed."
    deliveries = CounterMetricFamily("leadcrm_deliveries", text, labels=["sink", "outcome"])
    text = "Age of the oldest event that waits for a sink, 0 if none does."
    oldest = GaugeMetricFamily("leadcrm_delivery_oldest_seconds", text, labels=["sink"])
    for name, told in sinks.items():
        for outcome in ("delivered", "failed", "dead", "skipped"):
            deliveries.add_metric([name, outcome], told["outcomes"].get(outcome, 0))
        oldest.add_metric([name], age_of(told))
    yield deliveries
    yield oldest


def _source_families(ages: dict[str, float]) -> Iterator[Metric]:
    text = "How long a source has sent no lead, 0 while that is no longer than usual."
    silence = GaugeMetricFamily("leadcrm_source_silent_seconds", text, labels=["source"])
    for name, age_s in ages.items():
        silence.add_metric([name], age_s)
    yield silence


def _verdict_families(verdict: Verdict) -> Iterator[Metric]:
    yield GaugeMetricFamily("leadcrm_ready", "1 while a lead sent now would be kept.", verdict.keeps_leads)
    yield GaugeMetricFamily("leadcrm_disk_free_bytes", "Free on the disk of DATA_DIR.", verdict.disk_free_bytes)
    files = GaugeMetricFamily("leadcrm_file_bytes", "Sizes of the SQLite files and their logs.", labels=["file"])
    for name, size in verdict.file_bytes.items():
        files.add_metric([name], size)
    yield files
    spool = verdict.spool
    if spool is None:
        return
    yield GaugeMetricFamily("leadcrm_spool_rows", "Rows that wait for the database.", spool.depth)
    yield GaugeMetricFamily("leadcrm_spool_refused_rows", "Of these, refused by the database.", spool.refused)
    yield GaugeMetricFamily("leadcrm_spool_bytes", "Bytes the spool takes on disk.", spool.bytes)
    age_s = 0.0 if spool.oldest is None else max(0.0, time() - spool.oldest.timestamp())
    yield GaugeMetricFamily("leadcrm_spool_oldest_seconds", "Age of the oldest row that waits.", age_s)
