"""Compares a client's journal with the rows of the database.

The totals come from the journal alone, never from the program's own counts. Read the rows only after the spool has
drained.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.journal import Entry, Outcome
from tests.support.rows import Row, Rows

KEY_HOLDING_STATES = frozenset({"stored", "failed"})


def _hex(value: bytes | str) -> str:
    return value.hex() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Report:
    """The result of a comparison; every list is empty when all promises were kept."""

    attempts: int
    outcomes: dict[Outcome, int]
    answers_by_status: dict[int, int]
    acknowledged: int
    """The number of different lead ids in responses 201 and 409."""
    lost: list[str] = field(default_factory=list)
    """Acknowledged lead ids without a row, or whose stored row has no lead."""
    doubled: list[str] = field(default_factory=list)
    """Keys with two leads, by the rows or by the responses."""
    mismatched: list[str] = field(default_factory=list)
    """Keys whose responses name another lead than the rows do."""
    unkept: list[str] = field(default_factory=list)
    """Raw ids from receipts that have no row."""
    altered: list[str] = field(default_factory=list)
    """Raw ids whose row differs from the request in hash or body."""
    unexplained: list[str] = field(default_factory=list)
    """Raw ids whose body no request contained."""
    failed: list[str] = field(default_factory=list)
    """Raw ids in state `failed`: kept, but not yet leads."""
    slowest_answer_s: float = 0.0
    median_answer_s: float = 0.0

    @property
    def answered(self) -> int:
        """The number of attempts that got a response."""
        return self.outcomes.get(Outcome.ANSWERED, 0)

    @property
    def kept_share(self) -> float:
        """The share of responses that were 201 or 409."""
        kept = self.answers_by_status.get(201, 0) + self.answers_by_status.get(409, 0)
        return kept / self.answered if self.answered else 0.0

    def faults(self) -> dict[str, list[str]]:
        """Return the broken promises by name; empty when all were kept."""
        names = ("lost", "doubled", "mismatched", "unkept", "altered", "unexplained")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


class _Stored:
    """The rows, indexed for the comparison."""

    def __init__(self, raw: Sequence[Row], leads: Sequence[Row]) -> None:
        self.raw = {row["id"]: row for row in raw}
        self.lead_ids = {row["id"] for row in leads}
        self.holders: dict[str, list[str]] = defaultdict(list)
        for row in raw:
            is_lead = row["state"] in KEY_HOLDING_STATES or row["id"] in self.lead_ids
            if row["key_sha256"] is not None and is_lead:
                self.holders[_hex(row["key_sha256"])].append(row["id"])

    def first_of(self, identifier: str) -> str | None:
        """Follow `duplicate_of` to the first row; None if a link is missing or circular."""
        seen = set()
        while identifier in self.raw and identifier not in seen:
            seen.add(identifier)
            following = self.raw[identifier]["duplicate_of"]
            if following is None:
                return identifier
            identifier = following
        return None

    def leads_to_a_lead(self, identifier: str) -> bool:
        first = self.first_of(identifier)
        if first is None:
            return False
        state = self.raw[first]["state"]
        return first in self.lead_ids if state == "stored" else state == "failed"

    def is_altered(self, identifier: str, body_sha256: str) -> bool:
        row = self.raw[identifier]
        if _hex(row["body_sha256"]) != body_sha256:
            return True
        # A repeat has no body of its own: its first row holds it.
        return row["body"] is not None and hashlib.sha256(row["body"]).hexdigest() != body_sha256


def compare(entries: Sequence[Entry], rows: Rows) -> Report:
    """Compare the durable entries of a journal with the rows of a database."""
    return compare_rows(entries, rows.raw(), rows.leads())


def compare_rows(entries: Sequence[Entry], raw: Sequence[Row], leads: Sequence[Row]) -> Report:
    """Compare a journal with rows read earlier."""
    stored = _Stored(raw, leads)
    acknowledged = sorted({entry.lead_id for entry in entries if entry.acknowledged and entry.lead_id})
    receipts = {entry.raw_id: entry.body_sha256 for entry in entries if entry.raw_id}
    doubled, mismatched = _compare_keys(entries, stored)
    latencies = sorted(entry.latency_s for entry in entries if entry.outcome is Outcome.ANSWERED)
    sent = {entry.body_sha256 for entry in entries if entry.outcome not in (Outcome.REFUSED, Outcome.UNSENT)}
    return Report(
        attempts=len(entries),
        outcomes=Counter(entry.outcome for entry in entries),
        answers_by_status=Counter(entry.status for entry in entries if entry.status is not None),
        acknowledged=len(acknowledged),
        lost=[identifier for identifier in acknowledged if not stored.leads_to_a_lead(identifier)],
        doubled=doubled,
        mismatched=mismatched,
        unkept=[identifier for identifier in receipts if identifier not in stored.raw],
        altered=[
            identifier
            for identifier, body_sha256 in receipts.items()
            if identifier in stored.raw and stored.is_altered(identifier, body_sha256)
        ],
        unexplained=[identifier for identifier, row in stored.raw.items() if _hex(row["body_sha256"]) not in sent],
        failed=[identifier for identifier, row in stored.raw.items() if row["state"] == "failed"],
        slowest_answer_s=latencies[-1] if latencies else 0.0,
        median_answer_s=latencies[len(latencies) // 2] if latencies else 0.0,
    )


def _compare_keys(entries: Sequence[Entry], stored: _Stored) -> tuple[list[str], list[str]]:
    told: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.acknowledged and entry.key is not None and entry.lead_id is not None:
            told[entry.key].add(stored.first_of(entry.lead_id) or entry.lead_id)
    doubled = {key_sha256 for key_sha256, holders in stored.holders.items() if len(holders) > 1}
    mismatched = []
    for key, firsts in told.items():
        key_sha256 = hashlib.sha256(key.encode("latin-1")).hexdigest()
        if len(firsts) > 1:
            doubled.add(key_sha256)
        elif firsts.isdisjoint(stored.holders[key_sha256]):
            mismatched.append(key)
    return sorted(doubled), mismatched
