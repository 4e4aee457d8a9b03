"""The examples for Prometheus and Grafana name only what the program exposes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from leadcrm.ingest.ingestion import Verdict
from leadcrm.ingest.spool.spool import SpoolStatus
from leadcrm.web.metrics import render
from leadcrm.web.node_metrics import OUTCOMES, TURNED_AWAY, NodeMetrics

FOLDER = Path(__file__).parents[2] / "systemd" / "examples" / "monitoring"
DELIVERY_OUTCOMES = ("delivered", "failed", "dead", "skipped")
VALUES = {
    "outcome": {*OUTCOMES, *DELIVERY_OUTCOMES},
    "reason": {*TURNED_AWAY},
    "replication": {"none", "asynchronous", "synchronous"},
    "server": {"standby", "primary"},
    "file": {"database", "database_log", "spool", "spool_log"},
}
"""What labels can be, of those that a rule compares with a text of its own."""


def exposed() -> set[str]:
    """Return the names of all samples that /metrics may have."""
    verdict = Verdict(True, True, 1, SpoolStatus(0, 0, None, 0, None), 0, "", {"spool": 0})
    types = re.findall(r"^# TYPE (\S+) (\S+)", render(NodeMetrics(1), verdict).decode(), re.MULTILINE)
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    return {f"{name}{suffix}" for name, kind in types for suffix in suffixes.get(kind, ("",))}


def rules() -> list[dict[str, str]]:
    (group,) = yaml.safe_load((FOLDER / "prometheus-rules.yml").read_text())["groups"]
    found: list[dict[str, str]] = group["rules"]
    return found


def expressions(value: object) -> Iterator[str]:
    """Yield what a dashboard asks Prometheus for."""
    if isinstance(value, dict):
        yield from (text for name, text in value.items() if name in ("expr", "query") and isinstance(text, str))
        for part in value.values():
            yield from expressions(part)
    elif isinstance(value, list):
        for part in value:
            yield from expressions(part)


ASKED = {
    "rules": [rule["expr"] for rule in rules()],
    "dashboard": list(expressions(json.loads((FOLDER / "grafana-dashboard.json").read_text()))),
}


@pytest.mark.parametrize("texts", ASKED.values(), ids=ASKED.keys())
def test_every_metric_and_every_value_of_a_label_is_one_that_the_program_has(texts: list[str]) -> None:
    assert len(texts) > 20
    named = {name for text in texts for name in re.findall(r"\bleadcrm_\w+", text)}
    assert named - exposed() == set()
    for label, pattern in re.findall(r'(\w+)(?:=~|!=|=)"([a-z_|]+)"', " ".join(texts)):
        if label != "job":
            assert set(pattern.split("|")) <= VALUES[label], (label, pattern)


def test_the_dashboard_has_the_shape_that_grafana_imports() -> None:
    dashboard = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    assert dashboard["schemaVersion"] >= 36
    assert {"title", "uid", "panels", "time", "templating"} <= set(dashboard)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in ("stat", "timeseries", "row"), panel["title"]
        place = panel["gridPos"]
        columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(column, line) for column in columns for line in lines}
        assert not cells & taken, panel["title"]
        assert columns.stop <= 24, panel["title"]
        taken |= cells
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
    asked = " ".join(ASKED["dashboard"])
    named = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard)))
    assert {name for name in named if not name.startswith("__")} == variables
    assert asked.count("(") == asked.count(")")


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for text in ASKED["dashboard"] for name in re.findall(r"\bleadcrm_\w+", text)}
    without_parts = {name for name in exposed() if not name.endswith(("_sum", "_count"))}
    assert without_parts - shown == set()


def test_every_alert_has_a_name_of_its_own_and_says_what_to_do() -> None:
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        assert {"summary", "todo"} <= set(rule["annotations"]), rule["alert"]
