"""Replacing the original Node service on its own database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from leadcrm.configuration.database_url import parse_database_url
from leadcrm.database.migrations import migrate
from leadcrm.database.migrations.original import TakenOver, take_over
from leadcrm.errors import ForeignTables
from tests.conftest import StartServer
from tests.support.postgres import PostgresServer

LEAD_ID = "550e8400-e29b-41d4-a716-446655440000"
RAW_ID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
LONELY_ID = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"

TABLES = f"""
CREATE TABLE _prisma_migrations (id text PRIMARY KEY);
CREATE TABLE leads_raw (
    id text PRIMARY KEY, "idempotencyKey" text UNIQUE, payload jsonb NOT NULL, "requestId" text,
    "createdAt" timestamp(3) NOT NULL
);
CREATE TABLE leads (
    id text PRIMARY KEY, "rawId" text REFERENCES leads_raw (id), "firstName" text, email text, phone text,
    status text NOT NULL, "assignedTo" text, "createdAt" timestamp(3) NOT NULL, "updatedAt" timestamp(3) NOT NULL
);
INSERT INTO leads_raw VALUES
    ('{RAW_ID}', 'old-key', '{{"email": "a@example.com", "firstName": "Žanna"}}', 'req-1', '2024-01-15 10:30:00'),
    ('{LONELY_ID}', '', '{{"email": "b@example.com"}}', NULL, '2024-01-16 10:30:00');
INSERT INTO leads VALUES
    ('{LEAD_ID}', '{RAW_ID}', 'Žanna', 'a@example.com', NULL, 'called', 'maria',
     '2024-01-15 10:30:00', '2024-02-01 08:00:00');
"""


@pytest.fixture
def originals(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database as the original service leaves it."""
    url = postgres.create_database()
    postgres.execute(TABLES, url=url)
    yield url
    postgres.drop_database(url)


def test_the_originals_tables_are_named_and_left_alone(originals: str) -> None:
    with pytest.raises(ForeignTables, match="leads_raw and leads"):
        migrate(parse_database_url(originals, base=Path("/")))


def test_the_originals_leads_and_keys_are_taken_over(
    originals: str, postgres: PostgresServer, start_server: StartServer
) -> None:
    assert take_over(parse_database_url(originals, base=Path("/"))) == TakenOver(leads=1, without_lead=1)

    lead = (
        "SELECT id::text, first_name, email, phone, status, assigned_to, created_at::text FROM leads WHERE status = %s"
    )
    assert postgres.execute(lead, "called", url=originals) == [
        (LEAD_ID, "Žanna", "a@example.com", None, "called", "maria", "2024-01-15 10:30:00")
    ]
    assert postgres.execute("SELECT count(*) FROM original_leads_raw", url=originals) == [(2,)]
    of_empty_key = "SELECT key_sha256 FROM leads_raw WHERE idempotency_key = ''"
    assert postgres.execute(of_empty_key, url=originals) == [(None,)], "an empty key counts as absent"
    server = start_server(originals)
    answer = server.client.post_lead(b'{"email": "a@example.com"}', key="old-key")
    assert answer.status == 409
    assert answer.json()["lead_id"] == LEAD_ID


def test_another_programs_database_is_not_taken_over(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    try:
        with pytest.raises(ForeignTables, match="original service's tables"):
            take_over(parse_database_url(url, base=Path("/")))
    finally:
        postgres.drop_database(url)
