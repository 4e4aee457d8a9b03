-- serves_from: 0.1.0
-- What has arrived at sinks, or was given up by a person, so that a lead can tell where it went and when. What delivers writes
-- it, in the transaction that counts the event; it is pruned with the feed.
CREATE TABLE {schema}leads_delivered (
    seq bigint NOT NULL,
    sink text NOT NULL,
    lead_id uuid NOT NULL,
    type text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('delivered', 'dropped')),
    at timestamp NOT NULL,
    PRIMARY KEY (seq, sink)
);

CREATE INDEX leads_delivered_lead ON {schema}leads_delivered (lead_id);
