-- Raw rows as in leads_raw, which wait on the local disk for the database.
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
    node TEXT NOT NULL,
    -- Why the database refused this row. A refused row waits for a person and does not block the others.
    refusal TEXT
);

CREATE UNIQUE INDEX leads_raw_key ON leads_raw (key_sha256)
    WHERE key_sha256 IS NOT NULL AND state IN ('stored', 'failed');

-- Refused rows are counted many times a second.
CREATE INDEX leads_raw_refused ON leads_raw (id) WHERE refusal IS NOT NULL;
