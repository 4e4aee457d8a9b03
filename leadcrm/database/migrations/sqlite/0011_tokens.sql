-- Tokens of people and programs, of which only the SHA-256 is stored: a token is 256 random bits, and nobody finds those
-- from their hash, however quick it is. A session is a browser that stays signed in with a token, or with ADMIN_TOKEN.
CREATE TABLE leads_tokens (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('agent', 'lead', 'reader', 'integrator')),
    sha256 BLOB NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT,
    used_at TEXT
);

CREATE UNIQUE INDEX leads_tokens_name ON leads_tokens (name) WHERE revoked_at IS NULL;

CREATE TABLE leads_sessions (
    sha256 BLOB NOT NULL PRIMARY KEY,
    token_id BLOB,
    admin_proof BLOB,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
);

-- Who did what: no entry quotes a lead.
CREATE TABLE leads_audit (
    id BLOB NOT NULL PRIMARY KEY,
    at TEXT NOT NULL,
    actor TEXT NOT NULL,
    via TEXT NOT NULL,
    claimed TEXT,
    action TEXT NOT NULL,
    lead_id BLOB,
    detail TEXT NOT NULL
);

CREATE INDEX leads_audit_lead ON leads_audit (lead_id, id) WHERE lead_id IS NOT NULL;
CREATE INDEX leads_audit_actor ON leads_audit (actor, id);
CREATE INDEX leads_audit_action ON leads_audit (action, id);

-- Who a change's author says to act for.
ALTER TABLE lead_events ADD COLUMN claimed TEXT;
