"""The corpus of hostile payloads through the real server, in batches shared with healthy leads.

Each database gets the same requests. Its answers and rows are compared with the corpus and with the other database's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadcrm.database.entities import FIELD_COLUMNS
from leadcrm.web.ingest import MAX_BYTES_AT_ONCE
from tests.conftest import DATABASE_KINDS, new_database, server_starter
from tests.corpus import Case, cases
from tests.support.client import parse_receipt
from tests.support.conversation import lead_request
from tests.support.exchange import exchange_all
from tests.support.http1 import ParsedAnswer
from tests.support.rows import Row, Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

MARK = "no-log-may-hold"
NEIGHBOURS_EACH = 2


@dataclass(frozen=True)
class Kept:
    """One request's answer, without the parts that differ every time, and its stored rows."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]
    raw: Row
    lead: Row | None


@dataclass(frozen=True)
class Run:
    """The corpus and its neighbours on one database."""

    server: Server
    rows: Rows
    corpus: list[Case]
    kept: dict[str, Kept]
    neighbours: dict[str, Kept]
    rows_a_batch: float


def neighbours() -> list[Case]:
    bodies = [json.dumps({"email": f"neighbour{n}@example.com", "marker": MARK}).encode() for n in range(600)]
    return [
        Case(f"neighbour {n}", body, (), 201, {"email": f"neighbour{n}@example.com", "marker": MARK})
        for n, body in enumerate(bodies)
    ]


def request_of(case: Case, number: int) -> bytes:
    headers = case.headers
    if b"x-request-id" not in {name.lower() for name, _ in headers}:
        headers = (*headers, (b"X-Request-Id", b"request-%d" % number))
    return lead_request(case.body, *headers)


def waits_for_its_turn(case: Case) -> bool:
    """Say whether the server reads the body only once those before it are read, and puts it off after half a second."""
    names = {name.lower() for name, _ in case.headers}
    return b"content-encoding" in names or len(case.body) > MAX_BYTES_AT_ONCE


def send_corpus(server: Server, rows: Rows, corpus: list[Case]) -> dict[str, Kept]:
    """Send each case beside neighbours of its own, and those that wait for their turn one after the other."""
    healthy = iter(neighbours())
    kept = {}
    for some, connections in (
        ([case for case in corpus if not waits_for_its_turn(case)], 64),
        ([case for case in corpus if waits_for_its_turn(case)], 1 + NEIGHBOURS_EACH),
    ):
        mixed = [one for case in some for one in (case, *islice(healthy, NEIGHBOURS_EACH))]
        kept.update(zip((case.name for case in mixed), send(server, rows, mixed, connections), strict=True))
    return kept


def raw_id_of(answer: ParsedAnswer) -> str:
    receipt = parse_receipt({name.lower(): value for name, value in answer.headers}.get("lead-receipt"))
    assert receipt is not None, answer
    return receipt.raw_id


def kept_of(answer: ParsedAnswer, raw: dict[str, Row], leads: dict[str, Row]) -> Kept:
    raw_id = raw_id_of(answer)
    named = [(name.lower(), value.replace(raw_id, "ID")) for name, value in answer.headers]
    headers = tuple(sorted(header for header in named if header[0] != "date"))
    body = answer.body.replace(raw_id.encode(), b"ID")
    return Kept(answer.status, body, headers, raw[raw_id], leads.get(raw_id))


def send(server: Server, rows: Rows, sent: list[Case], connections: int = 64) -> list[Kept]:
    requests = [request_of(case, number) for number, case in enumerate(sent)]
    answers = exchange_all(server, requests, connections=connections)
    ids = [rows.as_id(raw_id_of(answer)) for answer in answers]
    condition = f"WHERE id IN ({', '.join(['%s'] * len(ids))})"
    raw = {row["id"]: row for row in rows.select(f"SELECT * FROM leads_raw {condition}", *ids)}
    leads = {row["id"]: row for row in rows.select(f"SELECT * FROM leads {condition}", *ids)}
    return [kept_of(answer, raw, leads) for answer in answers]


@contextmanager
def serving(kind: str, request: pytest.FixtureRequest, directory: Path) -> Iterator[tuple[Server, Rows]]:
    with ExitStack() as stack:
        database = stack.enter_context(contextmanager(new_database)(kind, request, directory / "database"))
        start = stack.enter_context(contextmanager(server_starter)(request.node, directory))
        # The longest there is: a machine may stall, and the rows are looked up in the database.
        yield start(database, environment={"COMMIT_TIMEOUT": "2.5"}), Rows(database)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """Send the same corpus to a server on each database."""
    corpus = cases()
    assert len({case.name for case in corpus}) == len(corpus)
    with ExitStack() as stack:
        by_kind = {}
        for kind in DATABASE_KINDS:
            server, rows = stack.enter_context(serving(kind, request, tmp_path_factory.mktemp(kind)))
            kept = send_corpus(server, rows, corpus)
            names = {case.name for case in corpus}
            metric, count = server.client.metric, len(kept)
            wait_until(
                lambda of=metric, count=count: of("leadcrm_batch_rows_total") == count,  # type: ignore[misc]
                what="the count of rows",
            )
            by_kind[kind] = Run(
                server,
                rows,
                corpus,
                {name: kept[name] for name in names},
                {name: kept[name] for name in kept.keys() - names},
                count / metric("leadcrm_batches_total"),
            )
        yield by_kind


@pytest.fixture(params=DATABASE_KINDS)
def run(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    return runs[request.param]


def test_every_case_gets_the_status_of_the_corpus(run: Run) -> None:
    answered = {case.name: run.kept[case.name].status for case in run.corpus}
    assert answered == {case.name: case.status for case in run.corpus}


def test_every_body_is_kept_byte_for_byte_with_its_hash(run: Run) -> None:
    for case in run.corpus:
        raw = run.kept[case.name].raw
        assert raw["body"] == case.body, case.name
        assert raw["body_sha256"] == hashlib.sha256(case.body).digest(), case.name
        assert f"sha256={hashlib.sha256(case.body).hexdigest()};" in dict(run.kept[case.name].headers)["lead-receipt"]


def test_every_case_gets_the_columns_of_the_corpus(run: Run) -> None:
    for case in run.corpus:
        kept = run.kept[case.name]
        if case.fields is None:
            assert (kept.raw["state"], kept.lead) == ("invalid", None), case.name
            continue
        assert kept.raw["state"] == "stored", case.name
        assert kept.lead is not None, case.name
        expected = {**dict.fromkeys(FIELD_COLUMNS), **case.fields}
        assert {column: kept.lead[column] for column in FIELD_COLUMNS} == expected, case.name


def test_every_neighbour_is_stored_whole(run: Run) -> None:
    assert len(run.neighbours) >= NEIGHBOURS_EACH * 100
    for name, kept in run.neighbours.items():
        assert (kept.status, kept.raw["state"]) == (201, "stored"), name
        assert kept.lead is not None
        assert kept.lead["email"] == json.loads(kept.raw["body"])["email"]


def test_the_cases_shared_batches_with_their_neighbours(run: Run) -> None:
    assert run.rows_a_batch > 2


def test_hostile_payloads_leave_no_error_and_no_payload_in_the_log(run: Run) -> None:
    assert run.server.client.post_lead({}).status == 201
    assert [record for record in run.server.log_records() if record["level"] not in ("info", "debug")] == []
    assert MARK not in run.server.stdout_path.read_text(encoding="utf-8")
    assert run.server.stderr_path.read_text(encoding="utf-8") == ""


def comparable(kept: Kept) -> dict[str, Any]:
    varying = {"id", "received_at", "created_at", "updated_at"}
    return {
        "answer": (kept.status, kept.body, kept.headers),
        "raw": {column: value for column, value in kept.raw.items() if column not in varying},
        "lead": kept.lead and {column: value for column, value in kept.lead.items() if column not in varying},
    }


def test_both_databases_answer_and_store_the_same(runs: dict[str, Run]) -> None:
    sqlite, postgres = (runs[kind] for kind in DATABASE_KINDS)
    for case in sqlite.corpus:
        assert comparable(sqlite.kept[case.name]) == comparable(postgres.kept[case.name]), case.name
    for name, kept in sqlite.neighbours.items():
        assert comparable(kept) == comparable(postgres.neighbours[name])


texts = st.text(st.characters(exclude_categories=[]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["email", "phone", "firstName", "lastName", "description", "x"]) | texts
objects = st.dictionaries(names, values, max_size=6).map(lambda value: json.dumps(value).encode("utf-8"))
forms = st.lists(st.tuples(names, texts), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "replace")
)
bodies = objects | forms | st.binary(max_size=60) | st.tuples(objects, st.binary(max_size=3)).map(b"".join)
header_values = st.binary(max_size=40).map(lambda value: value.translate(None, b"\r\n"))
media_types = header_values | st.sampled_from(
    [b"application/json", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"text/plain"]
)


@settings(
    max_examples=60,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    drawn=st.lists(
        st.tuples(bodies, media_types, header_values, st.sampled_from([b"", b"", b"gzip", b"deflate"])),
        min_size=1,
        max_size=12,
    )
)
def test_both_databases_keep_random_requests_alike(
    runs: dict[str, Run], drawn: list[tuple[bytes, bytes, bytes, bytes]]
) -> None:
    sent = [
        Case(
            "drawn",
            body,
            (
                (b"Content-Type", media_type),
                (b"X-Drawn", header),
                (b"User-Agent", header[::-1]),
                *([(b"Content-Encoding", coding)] if coding else []),
            ),
            0,
            None,
        )
        for body, media_type, header, coding in drawn
    ]
    stored = []
    for run in runs.values():
        kept = send(run.server, run.rows, sent)
        assert [one.raw["body"] for one in kept] == [case.body for case in sent]
        assert {one.status for one in kept} <= {201, 400}
        assert [one.lead is not None for one in kept] == [one.status == 201 for one in kept]
        stored.append([comparable(one) for one in kept])
    assert stored[0] == stored[1]


def test_a_case_sent_twice_with_a_key_is_a_repeat(run: Run) -> None:
    keyed = [
        replace(case, headers=(*case.headers, (b"Idempotency-Key", b"the corpus again" + case.name.encode())))
        for case in cases()
        if case.status == 201 and b"Idempotency-Key" not in dict(case.headers)
    ]
    requests = [request_of(case, 0) for case in keyed]
    first, second = exchange_all(run.server, requests), exchange_all(run.server, requests)
    assert {case.name: answer.status for case, answer in zip(keyed, first, strict=True) if answer.status != 201} == {}
    assert {case.name: answer.status for case, answer in zip(keyed, second, strict=True) if answer.status != 409} == {}
    ids = [[json.loads(answer.body)["lead_id"] for answer in answers] for answers in (first, second)]
    assert ids[0] == ids[1]
