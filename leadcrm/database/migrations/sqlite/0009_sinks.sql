-- Where each sink is in the feed, and which events have not arrived there. `taken` counts the events between start and
-- cursor: those that were delivered, skipped or dropped, and the rows of `leads_deliveries`. The lease makes one node deliver.
CREATE TABLE leads_sinks (
    name TEXT NOT NULL PRIMARY KEY,
    start_seq INTEGER NOT NULL,
    cursor_seq INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    holder TEXT NOT NULL,
    lease_until TEXT NOT NULL,
    failing_since TEXT,
    disabled TEXT,
    last_at TEXT,
    last_answer TEXT
);

CREATE TABLE leads_deliveries (
    id BLOB NOT NULL PRIMARY KEY,
    sink TEXT NOT NULL,
    seq INTEGER NOT NULL,
    lead_id BLOB NOT NULL,
    change_id BLOB,
    type TEXT NOT NULL,
    event_at TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'dead')),
    attempts INTEGER NOT NULL,
    last_at TEXT NOT NULL,
    next_at TEXT NOT NULL,
    status INTEGER,
    answer TEXT,
    UNIQUE (sink, seq)
);

CREATE INDEX leads_deliveries_due ON leads_deliveries (sink, state, next_at);
CREATE INDEX leads_deliveries_lead ON leads_deliveries (lead_id);
