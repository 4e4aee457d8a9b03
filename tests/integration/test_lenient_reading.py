"""Bodies that are read in spite of a mistake of their sender, and the mark of it in their raw rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.conversation import Conversation, lead_request
from tests.support.crm import keep, run_command, submission
from tests.support.rows import Rows
from tests.support.server import Server

UNTRUE_CODING = "read leniently: the content coding is not what the header says"
PLAIN = b'{"email":"lenient@example.com"}'


def post(server: Server, body: bytes, *headers: tuple[bytes, bytes]) -> tuple[int, str]:
    """Return the status and the id of the raw row."""
    with Conversation(server.client) as connection:
        connection.send(lead_request(body, *headers))
        answer = connection.answer()
    assert answer.receipt is not None
    return answer.status, answer.receipt.raw_id


def marks(database: str, ids: Sequence[str]) -> list[tuple[str, str | None, bytes]]:
    rows = [Rows(database).raw_row(identifier) for identifier in ids]
    return [(row["state"], row["error"], row["body"]) for row in rows]


@pytest.mark.parametrize("coding", [b"utf-8", b"none", b"application/json", b"aws-chunked", b"gzip", b"gzip, deflate"])
def test_a_body_whose_coding_is_unknown_or_untrue_is_read_as_it_is(
    shared_server: Server, shared_database: str, coding: bytes
) -> None:
    status, identifier = post(shared_server, PLAIN, (b"Content-Encoding", coding))
    assert status == 201
    assert marks(shared_database, [identifier]) == [("stored", UNTRUE_CODING, PLAIN)]
    assert Rows(shared_database).lead(identifier)["email"] == "lenient@example.com"


def test_a_body_that_is_read_strictly_has_no_mark(shared_server: Server, shared_database: str) -> None:
    coded = gzip.compress(PLAIN)
    status, identifier = post(shared_server, coded, (b"Content-Encoding", b"gzip"))
    assert status == 201
    assert marks(shared_database, [identifier]) == [("stored", None, coded)]


def test_a_body_that_no_reading_understands_is_invalid_for_the_strict_readings_reason(
    shared_server: Server, shared_database: str
) -> None:
    cut = gzip.compress(PLAIN)[:-9]
    status, identifier = post(shared_server, cut, (b"Content-Encoding", b"gzip"))
    assert status == 400
    assert marks(shared_database, [identifier]) == [("invalid", "the compressed body ends early", cut)]


def test_the_commands_show_the_mark_and_verify_finds_no_fault_in_it(
    shared_server: Server, shared_database: str, tmp_path: Path
) -> None:
    _, identifier = post(shared_server, PLAIN, (b"Content-Encoding", b"utf-8"))
    shown = json.loads(run_command(tmp_path, shared_database, "raw", "show", identifier, "--json").stdout)
    assert (shown["state"], shown["error"]) == ("stored", UNTRUE_CODING)
    verified = run_command(tmp_path, shared_database, "verify")
    assert verified.returncode == 0, verified.stdout


def test_a_replay_makes_a_marked_lead_of_a_request_that_was_invalid_before(database: str, tmp_path: Path) -> None:
    headers = {"content-type": "application/json", "content-encoding": "utf-8"}
    row = submission(PLAIN, key="k", state="invalid", error="an older reason")._replace(headers=headers)
    keep(database, [row])
    assert run_command(tmp_path, database, "replay", row.id).returncode == 0
    assert marks(database, [row.id]) == [("stored", UNTRUE_CODING, PLAIN)]
    assert run_command(tmp_path, database, "verify").returncode == 0


def test_the_mark_reaches_the_database_by_way_of_the_spool(start_server: StartServer, database: str) -> None:
    server = start_server(database, environment={"COMMIT_TIMEOUT": "0.5"})
    with Rows(database).writes_blocked():
        status, identifier = post(server, PLAIN, (b"Content-Encoding", b"utf-8"))
        assert status == 201
        assert [row["error"] for row in server.spooled()] == [UNTRUE_CODING]
    server.wait_drained()
    assert marks(database, [identifier]) == [("stored", UNTRUE_CODING, PLAIN)]
