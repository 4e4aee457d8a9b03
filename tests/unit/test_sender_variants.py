"""The same senders with other labels, languages, orders, gaps and shapes: what a lead's buyer expects is filled.

A column that must stay empty is null in `columns`. A body with a type of its own is a text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from leadcrm.database.entities import FIELDS
from tests.unit.test_source_bounds import FORM, JSON, PRESETS, arrival

VARIANTS = {
    variant["name"]: variant
    for variant in map(json.loads, Path(__file__).with_name("sender_variants.jsonl").read_text().splitlines())
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_fills_what_it_holds(name: str) -> None:
    variant: dict[str, Any] = VARIANTS[name]
    body = variant["body"]
    if "type" not in variant:
        body = urlencode(body) if variant["form"] else json.dumps(body)
    content_type = variant.get("type") or (FORM if variant["form"] else JSON)
    row = arrival(PRESETS[variant["preset"]], body.encode(), content_type).interpreted()
    filled = dict(zip(FIELDS, row.fields or (None,) * len(FIELDS), strict=True))
    assert {field: filled[field] for field in variant["columns"]} == variant["columns"]
    assert row.is_test is variant["test"]
