-- serves_from: 0.1.0
-- The order by the time of the last change: an entry for each lead that was changed, and none for a new one. All others
-- stand in the order of their arrival.
CREATE INDEX leads_changed ON {schema}leads (updated_at, id) WHERE updated_at > created_at;

-- Requests that people have put out of the inbox. The rows themselves stay as they are.
CREATE TABLE {schema}leads_archived (
    raw_id uuid NOT NULL PRIMARY KEY REFERENCES {schema}leads_raw (id) ON DELETE CASCADE,
    at timestamp NOT NULL,
    actor text NOT NULL
);
