-- serves_from: 0.1.0
-- What has arrived at sinks, or was given up by a person, so that a lead can tell where it went and when. What delivers writes
-- it, in the transaction that counts the event; it is pruned with the feed.
CREATE TABLE leads_delivered (
    seq INTEGER NOT NULL,
    sink TEXT NOT NULL,
    lead_id BLOB NOT NULL,
    type TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('delivered', 'dropped')),
    at TEXT NOT NULL,
    PRIMARY KEY (seq, sink)
) WITHOUT ROWID;

CREATE INDEX leads_delivered_lead ON leads_delivered (lead_id);
