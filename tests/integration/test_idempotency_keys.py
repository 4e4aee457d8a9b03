"""One Idempotency-Key, one lead: repeats, conflicts, unusual keys, and the rows that hold a key."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack

import pytest

from tests.support.client import Answer, Client
from tests.support.conversation import Conversation, lead_request
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until


@pytest.fixture
def stored(shared_server: Server, shared_database: str) -> Rows:
    return Rows(shared_database)


@pytest.fixture
def client(shared_server: Server) -> Client:
    return shared_server.client


def lead_id_of(answer: Answer) -> str:
    return str(answer.json()["lead_id"])


def raw_id_of(answer: Answer) -> str:
    assert answer.receipt is not None
    return answer.receipt.raw_id


def test_a_repeat_is_answered_409_with_the_first_id(client: Client) -> None:
    first = client.post_lead({"email": "a"}, key="repeat")
    second = client.post_lead({"email": "a"}, key="repeat")
    assert (first.status, second.status) == (201, 409)
    assert second.body == b'{"ok":true,"lead_id":"%s","deduplicated":true}' % lead_id_of(first).encode()


def test_a_repeat_is_a_row_of_its_own_without_a_body(client: Client, stored: Rows) -> None:
    body = b'{"email":"repeated row"}'
    first = client.post_lead(body, key="repeat-row")
    second = client.post_lead(body, key="repeat-row", headers=[("X-Request-Id", "the-second")])
    assert raw_id_of(second) != raw_id_of(first) == lead_id_of(second)
    row = stored.raw_row(raw_id_of(second))
    assert (row["state"], row["duplicate_of"], row["body"]) == ("repeat", lead_id_of(first), None)
    assert row["body_sha256"] == hashlib.sha256(body).digest()
    assert row["request_id"] == "the-second"
    assert second.receipt is not None
    assert second.receipt.sha256 == hashlib.sha256(body).hexdigest()
    assert stored.select("SELECT id FROM leads WHERE email = 'repeated row'") == [{"id": lead_id_of(first)}]


def test_a_conflict_is_answered_409_and_its_body_is_kept(client: Client, stored: Rows) -> None:
    first = client.post_lead(b'{"email":"first"}', key="conflict")
    second = client.post_lead(b'{"email":"conflicting"}', key="conflict")
    assert (second.status, lead_id_of(second)) == (409, lead_id_of(first))
    row = stored.raw_row(raw_id_of(second))
    assert (row["state"], row["duplicate_of"]) == ("conflict", lead_id_of(first))
    assert row["body"] == b'{"email":"conflicting"}'
    assert stored.select("SELECT id FROM leads WHERE email = 'conflicting'") == []
    assert stored.lead(lead_id_of(first))["email"] == "first"


def test_a_repeated_conflict_still_leads_to_the_first_row(client: Client) -> None:
    first = client.post_lead(b'{"a":1}', key="conflicts")
    answers = [client.post_lead(b'{"a":2}', key="conflicts") for _ in range(2)]
    assert [(answer.status, lead_id_of(answer)) for answer in answers] == [(409, lead_id_of(first))] * 2


def test_leads_without_a_key_are_never_duplicates(client: Client) -> None:
    answers = [client.post_lead({"email": "same"}) for _ in range(3)]
    assert [answer.status for answer in answers] == [201] * 3
    assert len({lead_id_of(answer) for answer in answers}) == 3


@pytest.mark.parametrize("key", [b"", b"   ", b"\t"], ids=["empty", "blanks", "a tab"])
def test_an_empty_key_counts_as_absent(client: Client, stored: Rows, key: bytes) -> None:
    answers = [client.post_lead({}, key=key) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    row = stored.raw_row(lead_id_of(answers[0]))
    assert (row["idempotency_key"], row["key_sha256"]) == (None, None)


@pytest.mark.parametrize("key", [b"undefined", b"null", b"[object Object]", b"NULL", b" Undefined\t"])
def test_a_key_that_javascript_makes_of_nothing_counts_as_absent(client: Client, stored: Rows, key: bytes) -> None:
    people = [client.post_lead({"email": email}, key=key) for email in ("a", "b", "a")]
    assert [answer.status for answer in people] == [201] * 3
    row = stored.raw_row(raw_id_of(people[0]))
    assert (row["idempotency_key"], row["key_sha256"]) == (None, None)
    assert row["headers"]["idempotency-key"].strip() == key.decode().strip()


@pytest.mark.parametrize("key", [b"undefined-1", b'"null"', b"none", b"0", b"[object]"])
def test_a_key_that_only_resembles_nothing_is_a_key(client: Client, key: bytes) -> None:
    assert [client.post_lead({}, key=key).status for _ in range(2)] == [201, 409]


def test_the_first_of_several_keys_counts(client: Client) -> None:
    first = client.post_lead({}, key="several-1")
    both = client.post_lead({}, headers=[("Idempotency-Key", "several-1"), ("Idempotency-Key", "several-2")])
    assert (both.status, lead_id_of(both)) == (409, lead_id_of(first))
    assert client.post_lead({}, key="several-2").status == 201


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"caf\xe9", "caf\u00e9".encode()),
        (b"Case", b"case"),
        (b"k" * 5999 + b"1", b"k" * 5999 + b"2"),
        (b"a\x00b", b"a\xef\xbf\xbdb"),
        (b"\xff\xfe", b"\xfe\xff"),
        (b"a,b", b"a, b"),
        (b"\xc2\xa0key", b"key"),
        (b"separated\xe2\x80\xa8", b"separated"),
        (b"tabbed\x0b", b"tabbed"),
        (b"fed\x0c", b"fed"),
    ],
    ids=[
        "latin-1",
        "case",
        "6,000 bytes",
        "NUL",
        "no text",
        "comma",
        "no-break space",
        "line separator",
        "vertical tab",
        "form feed",
    ],
)
def test_keys_differ_by_their_bytes(client: Client, stored: Rows, one: bytes, other: bytes) -> None:
    one, other = b"bytes-" + one, b"bytes-" + other
    answers = [client.post_lead({}, key=key) for key in (one, other, one, other)]
    assert [answer.status for answer in answers] == [201, 201, 409, 409]
    ids = [lead_id_of(answer) for answer in answers]
    assert ids[:2] == ids[2:]
    assert stored.raw_row(ids[0])["key_sha256"] == hashlib.sha256(one).digest()


def test_blanks_around_a_key_are_not_part_of_it(client: Client) -> None:
    first = client.post_lead({}, key="blanks around")
    second = client.post_lead({}, key=" \t blanks around \t")
    assert (second.status, lead_id_of(second)) == (409, lead_id_of(first))


def test_a_body_that_got_400_does_not_take_its_key(client: Client, stored: Rows) -> None:
    broken = client.post_lead(b'{"email":', key="corrected")
    again = client.post_lead(b'{"email":', key="corrected")
    corrected = client.post_lead(b'{"email":"a"}', key="corrected")
    repeat = client.post_lead(b'{"email":"a"}', key="corrected")
    assert [answer.status for answer in (broken, again, corrected, repeat)] == [400, 400, 201, 409]
    assert lead_id_of(repeat) == lead_id_of(corrected)
    for answer in (broken, again):
        row = stored.raw_row(raw_id_of(answer))
        assert (row["state"], row["duplicate_of"], row["body"]) == ("invalid", None, b'{"email":')


def test_an_unreadable_body_under_a_taken_key_is_still_answered_400(client: Client, stored: Rows) -> None:
    assert client.post_lead({}, key="used").status == 201
    answer = client.post_lead(b"unreadable", key="used")
    assert answer.status == 400
    assert stored.raw_row(raw_id_of(answer))["state"] == "invalid"


def test_repeats_and_conflicts_within_one_batch_are_resolved_by_arrival(client: Client, stored: Rows) -> None:
    bodies = [b'{"email":"batch %d"}' % (number % 3) for number in range(30)]
    with ExitStack() as stack:
        connections = [stack.enter_context(Conversation(client)) for _ in range(31)]
        received = client.metric("leadcrm_received_bytes_total")
        with stored.writes_blocked():
            # The first lead keeps the writer busy, so that all others gather in the next batch.
            connections[0].send(lead_request(b"{}"))
            wait_until(lambda: client.metric("leadcrm_received_bytes_total") == received + 2)
            for number, body in enumerate(bodies):
                connections[number + 1].send(lead_request(body, key=b"one batch %d" % (number % 2)))
            total = received + 2 + sum(map(len, bodies))
            wait_until(lambda: client.metric("leadcrm_received_bytes_total") == total)
        answers = [connection.answer() for connection in connections][1:]
    for key in (0, 1):
        of_key = answers[key::2]
        assert sorted(answer.status for answer in of_key) == [201] + [409] * 14
        assert len({lead_id_of(answer) for answer in of_key}) == 1
        first = next(answer for answer in of_key if answer.status == 201)
        states = {raw_id_of(answer): stored.raw_row(raw_id_of(answer))["state"] for answer in of_key}
        held = stored.raw_row(lead_id_of(first))["body"]
        for answer, body in zip(of_key, bodies[key::2], strict=True):
            expected = "stored" if answer is first else "repeat" if body == held else "conflict"
            assert states[raw_id_of(answer)] == expected


def test_a_key_outlives_a_restart(server: Server, rows: Rows) -> None:
    first = server.client.post_lead({}, key="restart")
    server.terminate()
    server.start()
    second = server.client.post_lead({}, key="restart")
    assert (second.status, lead_id_of(second)) == (409, lead_id_of(first))
    assert len(rows.leads()) == 1


def test_every_duplicate_points_at_a_row_that_holds_the_key(client: Client, stored: Rows) -> None:
    client.post_lead({}, key="refers")
    client.post_lead({}, key="refers")
    client.post_lead({"other": "body"}, key="refers")
    raw = {row["id"]: row for row in stored.raw()}
    duplicates = [row for row in raw.values() if row["duplicate_of"]]
    assert len(duplicates) >= 2
    for row in duplicates:
        first = raw[row["duplicate_of"]]
        assert first["state"] in ("stored", "failed")
        assert first["key_sha256"] == row["key_sha256"]
        assert json.loads(json.dumps(first["headers"]))["idempotency-key"]
