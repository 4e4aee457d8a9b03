"""What real senders send, as they send it: their leads, their retries and their idea of success."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import server_starter
from tests.support.client import Answer
from tests.support.rows import Row, Rows
from tests.support.senders import PRESET_OF, Sent, senders, sources_text
from tests.support.server import Server

COLUMN_OF_FIELD = {"firstName": "first_name", "lastName": "last_name"}


@pytest.fixture(scope="module")
def sources_server(
    request: pytest.FixtureRequest, shared_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sources")
    file = folder / "sources.toml"
    file.write_text(sources_text())
    for start in server_starter(request.node, folder):
        yield start(shared_database, environment={"SOURCES_FILE": str(file)})


def send(server: Server, sent: Sent) -> Answer:
    return server.client.request(sent.method, sent.target, body=sent.body or None, headers=sent.headers)


def lead_of(rows: Rows, source: str) -> Row | None:
    found = rows.select("SELECT * FROM leads WHERE source = %s ORDER BY id", source)
    return found[0] if found else None


def test_every_sender_sees_success_and_its_leads_fill_the_columns(sources_server: Server, shared_database: str) -> None:
    rows = Rows(shared_database)
    wanted = filled = contacts = with_contact = 0
    missing = {}
    for sent in senders():
        for _ in range(2):
            answer = send(sources_server, sent)
            assert answer.status in sent.accepts, sent.name
        lead = lead_of(rows, sent.name) or {}
        expected = {COLUMN_OF_FIELD.get(field, field): value for field, value in sent.columns.items()}
        lacking = {column: value for column, value in expected.items() if lead.get(column) != value}
        wanted, filled = wanted + len(expected), filled + len(expected) - len(lacking)
        if expected.keys() & {"email", "phone"}:
            contacts += 1
            with_contact += bool(lead.get("email") or lead.get("phone"))
        if lacking:
            missing[sent.name] = lacking
        leads = rows.select("SELECT id FROM leads WHERE source = %s", sent.name)
        if sent.has_key:
            assert len(leads) == 1, sent.name
    assert (wanted, contacts) == (119, 25)
    assert filled == 119, missing
    assert with_contact == 25
    assert not rows.select("SELECT id FROM leads_raw WHERE state = 'failed'")
    assert not rows.select("SELECT id FROM leads_raw WHERE state = 'invalid'")


def test_the_samples_cover_most_presets() -> None:
    assert len({*PRESET_OF.values()}) == 24 - 0
