"""Fills a database with rows like those of leads, creates the indexes afterwards for speed, and counts past days."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from leadcrm.database.sessions import bind
from tests.support.crm import keep_days, url_of
from tests.support.postgres import PostgresCluster

CHUNK_ROWS = 500_000

_BODY = (
    '{"click_id":"%1$s","country":"LV","creo":"banner-3","description":"Interested in trading, call after work",'
    '"domain":"landing-7.example.com","email":"user%2$s@example.com","firstName":"John","ip":"192.168.1.1",'
    '"lang":"lv","lastName":"Doe","marker":"Pureshka","offer":"Baltic Capital Native","phone":"+371%2$s",'
    '"sourcetype":"web"}'
)

_POSTGRES_RAW = f"""
    INSERT INTO leads_raw (id, received_at, request_id, idempotency_key, method, target, remote_addr, content_type,
                           headers, body, body_sha256, state, key_sha256, node)
    SELECT ('018f0000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, timestamp '2026-01-01' + n * interval '1 s',
           md5(n::text), encode(sha256(n::text::bytea), 'hex'), 'POST', '/api/lead', '192.0.2.1', 'application/json',
           json_build_object('host', 'leads.example', 'user-agent', 'lead-sender/1.0', 'accept', '*/*', 'content-type',
                             'application/json', 'idempotency-key', encode(sha256(n::text::bytea), 'hex'),
                             'x-request-id', md5(n::text), 'content-length', '372'),
           convert_to(format('{_BODY}', left(md5(n::text), 16), (random() * 9999999)::int), 'UTF8'),
           sha256(n::text::bytea), 'stored', sha256(sha256(n::text::bytea)), 'a-node'
    FROM generate_series(%s, %s) AS n
"""

_POSTGRES_LEADS = """
    INSERT INTO leads (id, click_id, country, creo, description, domain, email, first_name, ip, lang, last_name, marker,
                       offer, phone, sourcetype, status, created_at, updated_at, normalizer_version)
    SELECT ('018f0000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, left(md5(n::text), 16), 'LV', 'banner-3',
           'Interested in trading, call after work', 'landing-7.example.com', 'user' || (random() * 9999999)::int
           || '@example.com', 'John', '192.168.1.1', 'lv', 'Doe', 'Pureshka', 'Baltic Capital Native',
           '+371' || lpad((random() * 99999999)::int::text, 8, '0'), 'web', 'new',
           timestamp '2026-01-01' + n * interval '1 s', timestamp '2026-01-01' + n * interval '1 s', 1
    FROM generate_series(%s, %s) AS n
"""


def fill_postgres(cluster: PostgresCluster, url: str, rows: int) -> None:
    """Fill both tables, then vacuum and checkpoint, so that no work is left for later."""
    indexes = cluster.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('leads', 'leads_raw') "
        "AND indexname NOT LIKE '%%pkey'",
        url=url,
    )
    for name, _ in indexes:
        cluster.execute(f"DROP INDEX {name}", url=url)
    cluster.execute("ALTER TABLE leads DISABLE TRIGGER ALL", url=url)
    for start in range(1, rows + 1, CHUNK_ROWS):
        end = min(start + CHUNK_ROWS - 1, rows)
        cluster.execute(_POSTGRES_RAW.replace("%1$s", "%%1$s").replace("%2$s", "%%2$s"), start, end, url=url)
        cluster.execute(_POSTGRES_LEADS, start, end, url=url)
        print(f"bench: {end:,} rows in PostgreSQL", flush=True)
    cluster.execute("ALTER TABLE leads ENABLE TRIGGER ALL", url=url)
    for _, definition in indexes:
        cluster.execute(definition, url=url)
    cluster.execute("VACUUM ANALYZE", url=url)
    cluster.execute("CHECKPOINT", url=url)


def fill_sqlite(path: Path, rows: int) -> None:
    """Fill both tables."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        definitions = [(name, sql) for name, sql in indexes.fetchall() if "leads" in name]
        for name, _ in definitions:
            connection.execute(f"DROP INDEX {name}")
        for start in range(1, rows + 1, CHUNK_ROWS):
            end = min(start + CHUNK_ROWS - 1, rows)
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO leads_raw (id, received_at, request_id, idempotency_key, headers, body, body_sha256, "
                "key_sha256, method, target, remote_addr, content_type, state, node) VALUES (?, ?, ?, ?, ?, ?, ?, ?, "
                "'POST', '/api/lead', '192.0.2.1', 'application/json', 'stored', 'a-node')",
                _sqlite_raw_rows(start, end),
            )
            connection.executemany(
                "INSERT INTO leads (id, click_id, email, phone, created_at, updated_at, country, creo, description, "
                "domain, first_name, ip, lang, last_name, marker, offer, sourcetype, status, normalizer_version) "
                "VALUES (?, ?, ?, ?, ?, ?, 'LV', 'banner-3', 'Interested in trading, call after work', "
                "'landing-7.example.com', 'John', '192.168.1.1', 'lv', 'Doe', 'Pureshka', 'Baltic Capital Native', "
                "'web', 'new', 1)",
                _sqlite_lead_rows(start, end),
            )
            connection.execute("COMMIT")
            print(f"bench: {end:,} rows in SQLite", flush=True)
        for _, definition in definitions:
            connection.execute(definition)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _sync(path)


def count_days(url: str) -> None:
    """Count the leads of all past days, which a server does beside its load for as long as some lack."""
    entities = bind(url_of(url))
    keep_days(entities)
    entities.database.disconnect()
    print("bench: counted the past days", flush=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


def _id(number: int) -> bytes:
    return bytes.fromhex("018f000000007000") + (0x8000 << 48 | number).to_bytes(8, "big")


def _moment(number: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime(1_767_225_600 + number))


def _sqlite_raw_rows(start: int, end: int) -> Iterator[tuple[object, ...]]:
    for number in range(start, end + 1):
        key = random.randbytes(32)
        text = key.hex()
        body = _BODY.replace("%1$s", text[:16]).replace("%2$s", str(random.randrange(10**7))).encode()
        headers = (
            '{"host":"leads.example","user-agent":"lead-sender/1.0","accept":"*/*","content-type":"application/json",'
            f'"idempotency-key":"{text}","x-request-id":"{text[:32]}","content-length":"372"}}'
        )
        yield _id(number), _moment(number), text[:32], text, headers, body, random.randbytes(32), random.randbytes(32)


def _sqlite_lead_rows(start: int, end: int) -> Iterator[tuple[object, ...]]:
    for number in range(start, end + 1):
        moment = _moment(number)
        email = f"user{random.randrange(10**7)}@example.com"
        yield _id(number), random.randbytes(8).hex(), email, f"+371{random.randrange(10**8):08d}", moment, moment
