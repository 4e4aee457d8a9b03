-- The changes of a lead, with actor and time, kept as long as the lead.
CREATE TABLE {schema}lead_events (
    id uuid PRIMARY KEY,
    lead_id uuid NOT NULL REFERENCES {schema}leads (id) ON DELETE CASCADE,
    at timestamp NOT NULL,
    field text NOT NULL,
    from_value text,
    to_value text,
    actor text NOT NULL
);

CREATE INDEX lead_events_lead ON {schema}lead_events (lead_id, id);
