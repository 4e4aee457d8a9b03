"""The metrics as Prometheus reads them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from prometheus_client.parser import text_string_to_metric_families

from leadcrm.ingest.ingestion import Verdict
from leadcrm.ingest.spool.spool import SpoolStatus
from leadcrm.web.health import held_back
from leadcrm.web.metrics import render
from leadcrm.web.node_metrics import NodeMetrics


def samples(metrics: NodeMetrics, spool: SpoolStatus | None = None) -> dict[str, float]:
    """Return the values by name, with the bound of a bucket."""
    verdict = Verdict(keeps_leads=True, database=True, schema_version=1, spool=spool, disk_free_bytes=10**9, fault="")
    return {
        f"{sample.name}{sample.labels.get('le', '')}": sample.value
        for family in text_string_to_metric_families(render(metrics, verdict).decode())
        for sample in family.samples
    }


def test_every_answer_is_in_the_buckets_of_its_duration_and_of_all_longer_ones() -> None:
    metrics = NodeMetrics(2)
    for number, seconds in enumerate((0.0005, 0.001, 0.3, 5.0, 9.0)):
        metrics.worker(number % 2).count_answer("created", seconds)
    told = samples(metrics)
    name = "leadcrm_request_duration_seconds"
    bounds = ("0.001", "0.25", "0.5", "2.5", "5.0", "+Inf")
    assert [told[f"{name}_bucket{bound}"] for bound in bounds] == [2, 2, 3, 3, 4, 5]
    assert told[f"{name}_count"] == 5
    assert told[f"{name}_sum"] == pytest.approx(14.3015)


def test_rows_of_the_spool_are_told_apart_from_those_that_the_database_refuses() -> None:
    oldest = datetime.now(timezone.utc) - timedelta(minutes=1)
    told = samples(NodeMetrics(1), SpoolStatus(depth=7, refused=2, refusal="why", bytes=4096, oldest=oldest))
    assert (told["leadcrm_spool_rows"], told["leadcrm_spool_refused_rows"]) == (7, 2)
    assert told["leadcrm_spool_bytes"] == 4096
    assert told["leadcrm_spool_oldest_seconds"] == pytest.approx(60, abs=10)


def test_a_feed_that_is_held_back_at_any_worker_is_told_and_a_fault_once_it_lasts() -> None:
    metrics = NodeMetrics(2)
    metrics.worker(1).set("feed_lag", 3)
    assert (samples(metrics)["leadcrm_feed_lag_seconds"], held_back(metrics)) == (3, "")
    metrics.worker(0).set("feed_lag", 61)
    assert samples(metrics)["leadcrm_feed_lag_seconds"] == 61
    assert "61 s" in held_back(metrics)
