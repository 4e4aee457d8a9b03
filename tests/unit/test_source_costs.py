"""What a preset's mapping costs over the reading of a flat lead at `/api/lead`; `-rP` prints the figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import thread_time

from leadcrm.ingest.payload.document import read_document
from leadcrm.ingest.submission import process
from leadcrm.sources.catalogue import parse_catalogue
from tests.support.senders import senders, sources_text

FLAT = b'{"firstName":"A","lastName":"B","email":"a@example.com","phone":"+37120000000","country":"LV","click_id":"x"}'
MAX_TIMES = 15
"""Of a flat lead's cost. Far more than it takes: the bound is there to find what grows with the size of a table."""


def cost_us(call: Callable[[], object]) -> float:
    def batch() -> float:
        started = thread_time()
        for _ in range(40):
            call()
        return thread_time() - started

    return min(batch() for _ in range(100)) / 40 * 1_000_000


def test_a_presets_mapping_costs_little_over_a_flat_lead() -> None:
    sources = parse_catalogue(sources_text(), Path("x.toml")).sources
    options = {"content_encoding": "", "max_decoded_bytes": 1_048_576}
    flat_us = cost_us(lambda: process(FLAT, content_type="application/json", **options))
    over = {}
    for sent in senders():
        if not sent.body.startswith((b"{", b"[")):
            continue
        source = sources[sent.name]
        over[sent.name] = (
            cost_us(
                lambda source=source, sent=sent: source.leads(  # type: ignore[misc]
                    read_document(sent.body, content_type="application/json", **options), {}, {}
                )
            )
            - flat_us
        )
        print(f"{sent.name:45} {over[sent.name]:6.1f} µs over {flat_us:.1f} µs")
    assert max(over.values()) < MAX_TIMES * flat_us
