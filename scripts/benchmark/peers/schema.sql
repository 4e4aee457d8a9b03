-- The result of `prisma migrate` for original/prisma/schema.prisma; both PostgreSQL peers use it.
CREATE TABLE leads_raw (
    id uuid PRIMARY KEY,
    idempotency_key text,
    request_id text,
    payload jsonb NOT NULL,
    headers jsonb NOT NULL,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX leads_raw_idempotency_key_key ON leads_raw (idempotency_key);

CREATE TABLE leads (
    id uuid PRIMARY KEY,
    raw_id uuid NOT NULL REFERENCES leads_raw (id) ON DELETE RESTRICT ON UPDATE CASCADE,
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
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL
);
CREATE UNIQUE INDEX leads_raw_id_key ON leads (raw_id);
