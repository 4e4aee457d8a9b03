-- The changes of a lead, with actor and time, kept as long as the lead.
CREATE TABLE lead_events (
    id BLOB NOT NULL PRIMARY KEY,
    lead_id BLOB NOT NULL REFERENCES leads (id) ON DELETE CASCADE,
    at TEXT NOT NULL,
    field TEXT NOT NULL,
    from_value TEXT,
    to_value TEXT,
    actor TEXT NOT NULL
);

CREATE INDEX lead_events_lead ON lead_events (lead_id, id);
