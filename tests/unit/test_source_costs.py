"""What a preset's mapping costs over the reading of a flat lead at `/api/lead`; `-rP` prints the figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import thread_time

from leadcrm.ingest.payload.document import read_document
from leadcrm.ingest.submission import process
from leadcrm.sources import labels
from leadcrm.sources.catalogue import parse_catalogue, read_catalogue
from tests.support.senders import senders, sources_text

FLAT = b'{"firstName":"A","lastName":"B","email":"a@example.com","phone":"+37120000000","country":"LV","click_id":"x"}'
MAX_TIMES = 15
"""Of a flat lead's cost. Far more than it takes: the bound is there to find what grows with the size of a table."""


ROUNDS = 100
CALLS = 40


def costs_us(*calls: Callable[[], object]) -> list[float]:
    """Return what each call costs at least. They take turns: a machine may change its speed at any time."""

    def batch(call: Callable[[], object]) -> float:
        started = thread_time()
        for _ in range(CALLS):
            call()
        return thread_time() - started

    rounds = [[batch(call) for call in calls] for _ in range(ROUNDS)]
    return [min(times) / CALLS * 1_000_000 for times in zip(*rounds, strict=True)]


def test_a_presets_mapping_costs_little_over_a_flat_lead() -> None:
    sources = parse_catalogue(sources_text(), Path("x.toml")).sources
    options = {"content_encoding": "", "max_decoded_bytes": 1_048_576}
    times = {}
    for sent in senders():
        if not sent.body.startswith((b"{", b"[")):
            continue
        source = sources[sent.name]
        flat_us, sent_us = costs_us(
            lambda: process(FLAT, content_type="application/json", **options),
            lambda source=source, sent=sent: source.leads(  # type: ignore[misc]
                read_document(sent.body, content_type="application/json", **options), {}, {}
            ),
        )
        times[sent.name] = (sent_us - flat_us) / flat_us
        print(f"{sent.name:45} {sent_us - flat_us:6.1f} µs over {flat_us:.1f} µs")
    assert max(times.values()) < MAX_TIMES


def test_no_request_waits_until_the_names_of_labels_are_read(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    file.write_text("[source.a]\n")
    labels._names.cache_clear()
    read_catalogue(file)
    assert labels._names.cache_info().currsize == 1
