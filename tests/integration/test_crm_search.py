"""Lists of leads over HTTP: pages, filters and the search."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.support.crm import keep, submission
from tests.support.crm_client import Crm


def lead(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_pages_follow_one_another_while_leads_arrive(crm: Crm) -> None:
    sent = [submission(lead(marker="pages")) for _ in range(5)]
    keep(crm.database, sent)
    first = crm.get("/api/leads", marker="pages", limit=2)
    keep(crm.database, [submission(lead(marker="pages"))])
    second = crm.get("/api/leads", marker="pages", limit=2, cursor=first["next"])
    third = crm.get("/api/leads", marker="pages", limit=2, cursor=second["next"])
    found = [entry["id"] for page in (first, second, third) for entry in page["leads"]]
    assert found == [row.id for row in reversed(sent)]
    assert third["next"] is None


def test_leads_of_one_moment_are_not_lost_between_pages(crm: Crm) -> None:
    moment = datetime.now(timezone.utc)
    sent = [submission(lead(marker="moment"), received_at=moment) for _ in range(5)]
    keep(crm.database, sent)
    first = crm.get("/api/leads", marker="moment", limit=3)
    rest = crm.ids(marker="moment", limit=3, cursor=first["next"])
    assert sorted([*(entry["id"] for entry in first["leads"]), *rest]) == sorted(row.id for row in sent)


def test_filters_narrow_and_their_repetition_widens(crm: Crm) -> None:
    sent = [
        submission(lead(marker="filters", country=country, offer=offer))
        for country, offer in (("LV", "a"), ("LT", "a"), ("LV", "b"), (None, "a"), ("", "a"))
    ]
    keep(crm.database, sent)
    ids = [row.id for row in sent]
    assert crm.ids(marker="filters", country="LV") == [ids[2], ids[0]]
    assert crm.ids(marker="filters", country=["LV", "LT"], offer="a") == [ids[1], ids[0]]
    assert crm.ids(marker="filters", country="") == [ids[4], ids[3]]
    assert crm.ids(marker=["filters", "other"], assignedTo="", status="new") == ids[::-1]
    assert crm.ids(marker="filters", status="won") == []
    assert crm.ids(marker="filters", status=["won", "new"]) == ids[::-1]


def test_ids_narrow_a_filter_and_a_search(crm: Crm) -> None:
    sent = [submission(lead(marker="by-id", lastName=name)) for name in ("Idbert", "Idbert", "Idris", "Other")]
    keep(crm.database, sent)
    first, _, third, fourth = (row.id for row in sent)
    stranger = "0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e"
    assert crm.ids(id=[first, third, stranger], marker="by-id") == [third, first]
    assert crm.ids(id=[first, fourth], q="id", marker="by-id") == [first]
    assert crm.ids(id=stranger) == []


def test_times_narrow_and_a_date_is_a_whole_day(crm: Crm) -> None:
    noon = datetime(2024, 1, 15, 12, tzinfo=timezone.utc)
    hours = (-24, 0, 11, 12)
    times = [noon + timedelta(hours=after) for after in hours]
    sent = [
        submission(lead(marker="times"), received_at=at, lead_id=f"0000000{number}-0000-7000-8000-000000000000")
        for number, at in enumerate(times)
    ]
    keep(crm.database, sent)
    ids = [row.id for row in sent]
    assert crm.ids(marker="times", **{"from": "2024-01-15", "to": "2024-01-15"}) == [ids[2], ids[1]]
    assert crm.ids(marker="times", **{"from": "2024-01-15T12:00:00Z", "to": "2024-01-15T23:00:00+00:00"}) == [ids[1]]
    assert crm.ids(marker="times", **{"from": "2024-01-15T14:00:00+02:00"}) == [ids[3], ids[2], ids[1]]


def test_a_search_finds_beginnings_in_any_case_and_parts_among_the_newest(crm: Crm) -> None:
    sent = [
        submission(lead(marker="search", **fields))
        for fields in (
            {"email": "Zebra.One@example.com"},
            {"phone": "+37199887766"},
            {"lastName": "Zebra\u0101bols"},
            {"lastName": "\u0100bols", "firstName": "Zeb"},
            {"email": "other@zebra.example"},
            {"email": "M\u00dcLLER@X.de", "lastName": "M\u00fcller-\u00d6zt\u00fcrk"},
        )
    ]
    keep(crm.database, sent)
    ids = [row.id for row in sent]
    assert crm.ids(marker="search", q="zebra.") == [ids[4], ids[0]]
    assert crm.ids(marker="search", q="ZEBRA") == [ids[4], ids[2], ids[0]]
    assert crm.ids(marker="search", q="37199") == [ids[1]]
    assert crm.ids(marker="search", q="+371998") == [ids[1]]
    assert crm.ids(marker="search", q="\u0101bols") == [ids[3], ids[2]]
    assert crm.ids(marker="search", q="zeb \u0101b") == [ids[3]]
    assert crm.ids(marker="search", q="100%_'\\") == []
    assert crm.ids(marker="search", email="zebra.one@EXAMPLE.com") == [ids[0]]
    assert (
        crm.ids(marker="search", email="m\u00fcller@x.de")
        == crm.ids(marker="search", email="M\u00fcller@X.DE")
        == [ids[5]]
    )
    assert crm.ids(marker="search", q="m\u00fcller-\u00f6zt\u00fcrk") == [ids[5]]
    assert crm.ids(marker="search", phone="+37199887766") == [ids[1]]
    first = crm.get("/api/leads", marker="search", q="zebra", limit=2)
    assert crm.ids(marker="search", q="zebra", limit=2, cursor=first["next"]) == [ids[0]]


@pytest.mark.parametrize("field", ["email", "phone"])
def test_texts_that_differ_beyond_what_an_index_holds_are_told_apart(crm: Crm, field: str) -> None:
    texts = ["1" * 64 + end for end in ("", "a", "b")]
    sent = [submission(lead(marker=f"long {field}", **{field: text})) for text in texts]
    keep(crm.database, sent)
    for text, row in zip(texts, sent, strict=True):
        assert crm.ids(marker=f"long {field}", **{field: text}) == [row.id]
