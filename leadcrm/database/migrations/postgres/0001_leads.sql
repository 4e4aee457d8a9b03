-- Times are UTC without a zone, so that both databases hold the same values.
CREATE TABLE {schema}leads_raw (
    id uuid PRIMARY KEY,
    received_at timestamp NOT NULL,
    request_id text NOT NULL,
    idempotency_key text,
    method text NOT NULL,
    target text NOT NULL,
    remote_addr text NOT NULL,
    content_type text,
    headers json NOT NULL,
    body bytea,
    body_sha256 bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('stored', 'failed', 'invalid', 'conflict', 'repeat')),
    key_sha256 bytea,
    error text,
    duplicate_of uuid,
    node text NOT NULL
);

-- One key, one lead. Rows in the other states (invalid, conflict, repeat) hold no key.
CREATE UNIQUE INDEX leads_raw_key ON {schema}leads_raw (key_sha256)
    WHERE key_sha256 IS NOT NULL AND state IN ('stored', 'failed');

CREATE INDEX leads_raw_inbox ON {schema}leads_raw (state, id) WHERE state <> 'stored';

CREATE TABLE {schema}leads (
    id uuid PRIMARY KEY REFERENCES {schema}leads_raw (id),
    click_id text,
    country text,
    creo text,
    description text,
    domain text,
    email text,
    first_name text,
    ip text,
    lang text,
    last_name text,
    marker text,
    offer text,
    phone text,
    sourcetype text,
    status text NOT NULL DEFAULT 'new',
    assigned_to text,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    normalizer_version integer NOT NULL
);
