-- serves_from: 0.1.0
-- The order by the time of the last change: an entry for each lead that was changed, and none for a new one. All others
-- stand in the order of their arrival.
CREATE INDEX leads_changed ON leads (updated_at, id) WHERE updated_at > created_at;

-- Requests that people have put out of the inbox. The rows themselves stay as they are.
CREATE TABLE leads_archived (
    raw_id BLOB NOT NULL PRIMARY KEY REFERENCES leads_raw (id) ON DELETE CASCADE,
    at TEXT NOT NULL,
    actor TEXT NOT NULL
);
