-- Where each sink is in the feed, and which events have not arrived there. `taken` counts the events between start and
-- cursor: those that were delivered, skipped or dropped, and the rows of `leads_deliveries`. The lease makes one node deliver.
CREATE TABLE {schema}leads_sinks (
    name text NOT NULL PRIMARY KEY,
    start_seq bigint NOT NULL,
    cursor_seq bigint NOT NULL,
    taken bigint NOT NULL,
    delivered bigint NOT NULL,
    skipped bigint NOT NULL,
    dropped bigint NOT NULL,
    holder text NOT NULL,
    lease_until timestamp NOT NULL,
    failing_since timestamp,
    disabled text,
    last_at timestamp,
    last_answer text
);

CREATE TABLE {schema}leads_deliveries (
    id uuid NOT NULL PRIMARY KEY,
    sink text NOT NULL,
    seq bigint NOT NULL,
    lead_id uuid NOT NULL,
    change_id uuid,
    type text NOT NULL,
    event_at timestamp NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'dead')),
    attempts integer NOT NULL,
    last_at timestamp NOT NULL,
    next_at timestamp NOT NULL,
    status integer,
    answer text,
    UNIQUE (sink, seq)
);

CREATE INDEX leads_deliveries_due ON {schema}leads_deliveries (sink, state, next_at);
CREATE INDEX leads_deliveries_lead ON {schema}leads_deliveries (lead_id);
