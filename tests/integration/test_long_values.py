"""Long values: pages, searches, statistics and the feed carry their beginnings, a lead and its export the whole."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest

from leadcrm.crm.export import export_leads
from leadcrm.crm.feed import Feed
from leadcrm.crm.files import new_file
from leadcrm.crm.leads import LONGEST_LISTED, LeadFilter
from leadcrm.crm.lookup import follow
from leadcrm.crm.raw import SpoolReader, list_raw
from leadcrm.crm.search import list_leads
from leadcrm.crm.statistics import statistics
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind, session
from tests.support.crm import keep, submission, url_of

LONG = "ab\u0101" * 100_000
LONG_LEADS = 3


@pytest.fixture
def entities(database: str) -> Iterator[Entities]:
    bodies = [
        {"description": LONG, "email": LONG, "country": LONG, "phone": str(number)} for number in range(LONG_LEADS)
    ]
    keep(
        database,
        [
            submission(b'{"email":"short"}'),
            *(submission(json.dumps(body).encode()) for body in bodies),
            submission(b"{}", state="failed")._replace(target="/" + LONG, idempotency_key=LONG, error=LONG),
        ],
    )
    entities = bind(url_of(database))
    yield entities
    entities.database.disconnect()


def test_lists_carry_the_beginnings_of_long_values_and_a_lead_all(entities: Entities, tmp_path: Path) -> None:
    page = list_leads(entities, LeadFilter(), limit=10).leads
    assert [lead.phone for lead in page] == ["2", "1", "0", None]
    events = Feed().read(entities, None, limit=10).events
    announced = [event.lead for event in events if event.lead and event.lead.phone]
    found = [*list_leads(entities, LeadFilter(q="ab\u0101ab"), limit=10).leads, *announced]
    for lead in [*page[:LONG_LEADS], *found]:
        assert (lead.description, lead.email) == (LONG[:LONGEST_LISTED], LONG[:LONGEST_LISTED])
    assert len(found) == 2 * LONG_LEADS
    spool = SpoolReader(tmp_path)
    (raw,) = list_raw(entities, spool, ["failed"], limit=10).rows
    assert max(map(len, (raw.target, raw.idempotency_key or "", raw.error or ""))) == LONGEST_LISTED
    destination = follow(entities, spool, UUID(str(page[0].id)))
    assert destination is not None
    assert destination.lead is not None
    assert (destination.lead.description, destination.lead.email) == (LONG, LONG)


def test_statistics_carry_the_beginnings_of_long_values(entities: Entities) -> None:
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    with session(entities):
        period = LeadFilter(since=now - timedelta(hours=1), until=now + timedelta(hours=1))
        counted = statistics(entities, period, "hour")
    assert dict(counted.dimensions["country"]) == {LONG[:256]: LONG_LEADS, None: 1}


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_an_export_has_long_values_whole_and_all_leads_in_order(entities: Entities, kind: str) -> None:
    pieces = list(export_leads(entities, LeadFilter(), new_file(kind)))
    assert max(map(len, pieces)) < 2 * 4 * len(LONG), "no more than one long lead at a time"
    text = b"".join(pieces).decode("utf-8-sig")
    csv.field_size_limit(len(LONG) * 2)
    rows = csv.DictReader(io.StringIO(text)) if kind == "csv" else map(json.loads, text.splitlines())
    exported = [(row["phone"] or None, row["description"] or None) for row in rows]
    assert exported == [("2", LONG), ("1", LONG), ("0", LONG), (None, None)]
