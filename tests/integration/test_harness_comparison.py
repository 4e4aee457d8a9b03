"""The comparison of a journal with rows names each broken promise, and nothing where all were kept."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.support.comparison import Report, compare_rows
from tests.support.journal import Entry, Outcome

FIRST, REPEAT, CONFLICT, OTHER = (f"00000000-0000-7000-8000-00000000000{number}" for number in range(4))
BODY, CHANGED_BODY = b'{"email":"a@example.com"}', b'{"email":"b@example.com"}'


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def answered(status: int, lead_id: str, raw_id: str, body: bytes = BODY, latency_s: float = 0.1) -> Entry:
    return Entry(
        key="the key",
        body_sha256=sha256(body).hex(),
        outcome=Outcome.ANSWERED,
        status=status,
        lead_id=lead_id,
        deduplicated=status == 409,
        raw_id=raw_id,
        stored="database",
        latency_s=latency_s,
        at_s=0.0,
    )


def raw_row(identifier: str, state: str, body: bytes | None, sent: bytes, first: str | None) -> dict[str, Any]:
    return {
        "id": identifier,
        "state": state,
        "body": body,
        "body_sha256": sha256(sent),
        "key_sha256": sha256(b"the key"),
        "duplicate_of": first,
    }


def entries() -> list[Entry]:
    return [
        answered(201, FIRST, FIRST),
        # Given out while the database was away, found to be a repeat later: the id leads to the first.
        answered(201, REPEAT, REPEAT, latency_s=0.5),
        answered(409, FIRST, CONFLICT, CHANGED_BODY),
    ]


def raw() -> list[dict[str, Any]]:
    return [
        raw_row(FIRST, "stored", BODY, BODY, None),
        raw_row(REPEAT, "repeat", None, BODY, FIRST),
        raw_row(CONFLICT, "conflict", CHANGED_BODY, CHANGED_BODY, FIRST),
    ]


def compared(rows: list[dict[str, Any]], lead_ids: tuple[str, ...] = (FIRST,)) -> Report:
    return compare_rows(entries(), rows, [{"id": identifier} for identifier in lead_ids])


def test_nothing_is_named_where_every_promise_was_kept() -> None:
    report = compared(raw())
    assert report.faults() == {}
    assert (report.attempts, report.acknowledged, report.kept_share) == (3, 2, 1.0)
    assert report.answers_by_status == {201: 2, 409: 1}
    assert report.slowest_answer_s == 0.5


def test_a_missing_lead_loses_every_id_that_leads_to_it() -> None:
    assert compared(raw(), lead_ids=()).faults() == {"lost": [FIRST, REPEAT]}


def test_a_missing_row_is_lost_and_unkept() -> None:
    assert compared([raw()[0], raw()[2]]).faults() == {
        "lost": [REPEAT],
        "doubled": [sha256(b"the key").hex()],
        "unkept": [REPEAT],
    }


@pytest.mark.parametrize("state", ["stored", "repeat"])
def test_a_second_lead_under_a_key_is_doubled(state: str) -> None:
    rows = raw()
    rows[1] |= {"state": state, "body": BODY}
    report = compared(rows, lead_ids=(FIRST, REPEAT))
    assert report.faults() == {"doubled": [sha256(b"the key").hex()]}


def test_a_failed_row_is_kept_though_it_is_no_lead() -> None:
    rows = raw()
    rows[0]["state"] = "failed"
    report = compared(rows, lead_ids=())
    assert (report.faults(), report.failed) == ({}, [FIRST])


def test_a_changed_body_is_altered() -> None:
    rows = raw()
    rows[0]["body"] = b"other bytes"
    assert compared(rows).faults() == {"altered": [FIRST]}


def test_a_key_that_another_row_holds_is_mismatched() -> None:
    rows = raw()
    rows[0]["key_sha256"] = None
    assert compared(rows).faults() == {"mismatched": ["the key"]}


def test_a_row_that_nobody_sent_is_unexplained() -> None:
    rows = [*raw(), raw_row(OTHER, "invalid", b"nobody's", b"nobody's", None)]
    assert compared(rows).faults() == {"unexplained": [OTHER]}
