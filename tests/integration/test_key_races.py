"""Fifty senders race with one key over two processes: one lead and one id, even during an outage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import pytest

from tests.conftest import StartServer
from tests.support.client import Answer
from tests.support.comparison import compare_rows
from tests.support.conversation import Conversation, lead_request
from tests.support.journal import Entry, Outcome
from tests.support.postgres import PostgresCluster
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.workers import connections_to_each_worker

ROUNDS = 32
SENDERS_OF_EACH_WORKER = 25


@dataclass(frozen=True)
class Round:
    """One race: the key, and each sender's body and answer."""

    key: bytes
    bodies: list[bytes]
    answers: list[Answer]

    @property
    def statuses(self) -> list[int]:
        return sorted(answer.status for answer in self.answers)

    @property
    def lead_ids(self) -> set[str]:
        return {answer.json()["lead_id"] for answer in self.answers}

    def entries(self) -> Iterator[Entry]:
        for body, answer in zip(self.bodies, self.answers, strict=True):
            receipt, document = answer.receipt, answer.json()
            assert receipt is not None
            yield Entry(
                key=self.key.decode(),
                body_sha256=hashlib.sha256(body).hexdigest(),
                outcome=Outcome.ANSWERED,
                status=answer.status,
                lead_id=document["lead_id"],
                deduplicated=document["deduplicated"],
                raw_id=receipt.raw_id,
                stored=receipt.stored,
                latency_s=answer.latency_s,
                at_s=0,
            )


class Senders:
    """Fifty connections, alternately to the two processes."""

    def __init__(self, connections: list[Conversation]) -> None:
        self._connections = connections
        self.rounds: list[Round] = []

    def race(self, *, one_body: bool = True) -> Round:
        """Send a new key over all connections at once."""
        key = b"race-%d" % len(self.rounds)
        bodies = [b'{"email":"%d"}' % (0 if one_body else number % 5) for number in range(len(self._connections))]
        requests = [lead_request(body, key=key) for body in bodies]
        for connection, request in zip(self._connections, requests, strict=True):
            connection.send(request[:-1])
        # All but the last byte of each request has been sent, so the requests complete nearly at once.
        for connection, request in zip(self._connections, requests, strict=True):
            connection.send(request[-1:])
        self.rounds.append(Round(key, bodies, [connection.answer() for connection in self._connections]))
        return self.rounds[-1]


@contextmanager
def senders_of(server: Server) -> Iterator[Senders]:
    with connections_to_each_worker(server, SENDERS_OF_EACH_WORKER) as held:
        assert len(held) == 2, "both processes take part"
        yield Senders(list(chain.from_iterable(zip(*held, strict=True))))


def assert_one_lead_a_key(rounds: list[Round], rows: Rows) -> None:
    entries = list(chain.from_iterable(one.entries() for one in rounds))
    report = compare_rows(entries, rows.raw(), rows.leads())
    assert report.faults() == {}
    assert report.kept_share == 1
    assert len(rows.leads()) == len(rounds)


@pytest.mark.parametrize("one_body", [True, False], ids=["repeats", "conflicts"])
def test_exactly_one_of_fifty_racing_senders_gets_201(
    start_server: StartServer, database: str, rows: Rows, one_body: bool
) -> None:
    server = start_server(database, environment={"WORKERS": "2"})
    with senders_of(server) as senders:
        for _ in range(ROUNDS):
            race = senders.race(one_body=one_body)
            assert race.statuses == [201] + [409] * 49
            assert len(race.lead_ids) == 1
            assert {answer.receipt and answer.receipt.stored for answer in race.answers} == {"database"}
    assert_one_lead_a_key(senders.rounds, rows)


def test_a_database_outage_does_not_double_a_key(start_server: StartServer, own_postgres: PostgresCluster) -> None:
    database = own_postgres.create_database()
    server = start_server(database, environment={"WORKERS": "2"})

    def has_database(workers: int) -> bool:
        return server.client.metric("leadcrm_workers_with_database") == workers

    with senders_of(server) as senders:
        for mode in ("fast", "immediate"):
            for _ in range(ROUNDS // 4):
                assert senders.race().statuses == [201] + [409] * 49
            own_postgres.stop(mode)
            # In the first races a commit may be in doubt, and each process notices the outage by itself.
            while not has_database(0):
                assert set(senders.race().statuses) <= {201, 409}
            for _ in range(ROUNDS // 4):
                race = senders.race()
                assert race.statuses == [201] + [409] * 49
                assert {answer.receipt and answer.receipt.stored for answer in race.answers} == {"spool"}
            own_postgres.start()
            # In the last races one process may have the database again and the other not yet.
            while not has_database(2):
                assert set(senders.race().statuses) <= {201, 409}
            wait_until(lambda: server.client.metric("leadcrm_spool_rows") == 0, timeout_s=30)
    assert_one_lead_a_key(senders.rounds, Rows(database))
