-- Ids are the 16 bytes of the UUID; times are UTC, "YYYY-MM-DD HH:MM:SS.ffffff".
-- The types are those of Pony's SQLite dialect.
CREATE TABLE leads_raw (
    id BLOB NOT NULL PRIMARY KEY,
    received_at TEXT NOT NULL,
    request_id TEXT NOT NULL,
    idempotency_key TEXT,
    method TEXT NOT NULL,
    target TEXT NOT NULL,
    remote_addr TEXT NOT NULL,
    content_type TEXT,
    headers TEXT NOT NULL,
    body BLOB,
    body_sha256 BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('stored', 'failed', 'invalid', 'conflict', 'repeat')),
    key_sha256 BLOB,
    error TEXT,
    duplicate_of BLOB,
    node TEXT NOT NULL
);

-- One key, one lead. Rows in the other states (invalid, conflict, repeat) hold no key.
CREATE UNIQUE INDEX leads_raw_key ON leads_raw (key_sha256)
    WHERE key_sha256 IS NOT NULL AND state IN ('stored', 'failed');

CREATE INDEX leads_raw_inbox ON leads_raw (state, id) WHERE state <> 'stored';

CREATE TABLE leads (
    id BLOB NOT NULL PRIMARY KEY REFERENCES leads_raw (id),
    click_id TEXT,
    country TEXT,
    creo TEXT,
    description TEXT,
    domain TEXT,
    email TEXT,
    first_name TEXT,
    ip TEXT,
    lang TEXT,
    last_name TEXT,
    marker TEXT,
    offer TEXT,
    phone TEXT,
    sourcetype TEXT,
    status TEXT NOT NULL DEFAULT 'new',
    assigned_to TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    normalizer_version INTEGER NOT NULL
);
