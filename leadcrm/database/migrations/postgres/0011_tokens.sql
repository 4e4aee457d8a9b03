-- Tokens of people and programs, of which only the SHA-256 is stored: a token is 256 random bits, and nobody finds those
-- from their hash, however quick it is. A session is a browser that stays signed in with a token, or with ADMIN_TOKEN.
CREATE TABLE {schema}leads_tokens (
    id uuid NOT NULL PRIMARY KEY,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('agent', 'lead', 'reader', 'integrator')),
    sha256 bytea NOT NULL UNIQUE,
    created_at timestamp NOT NULL,
    created_by text NOT NULL,
    expires_at timestamp,
    revoked_at timestamp,
    used_at timestamp
);

CREATE UNIQUE INDEX leads_tokens_name ON {schema}leads_tokens (name) WHERE revoked_at IS NULL;

CREATE TABLE {schema}leads_sessions (
    sha256 bytea NOT NULL PRIMARY KEY,
    token_id uuid,
    admin_proof bytea,
    created_at timestamp NOT NULL,
    expires_at timestamp NOT NULL
);

-- Who did what: no entry quotes a lead.
CREATE TABLE {schema}leads_audit (
    id uuid NOT NULL PRIMARY KEY,
    at timestamp NOT NULL,
    actor text NOT NULL,
    via text NOT NULL,
    claimed text,
    action text NOT NULL,
    lead_id uuid,
    detail json NOT NULL
);

CREATE INDEX leads_audit_lead ON {schema}leads_audit (lead_id, id) WHERE lead_id IS NOT NULL;
CREATE INDEX leads_audit_actor ON {schema}leads_audit (actor, id);
CREATE INDEX leads_audit_action ON {schema}leads_audit (action, id);

-- Who a change's author says to act for.
ALTER TABLE {schema}lead_events ADD COLUMN claimed text;
