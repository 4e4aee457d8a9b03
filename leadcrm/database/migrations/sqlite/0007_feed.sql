-- The feed: a numbered row for everything that becomes true of a lead, in the transaction of what it tells of. Triggers write
-- it, so that no writer can forget it. `kept` is a request that became no lead; it gives the requests an order too.
-- AUTOINCREMENT never gives a number twice, even when all rows are pruned.
CREATE TABLE leads_feed (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')),
    lead_id BLOB NOT NULL,
    change_id BLOB,
    type TEXT NOT NULL CHECK (type IN ('created', 'changed', 'noted', 'erased', 'kept'))
);

CREATE TRIGGER leads_feed_created AFTER INSERT ON leads BEGIN
    INSERT INTO leads_feed (type, lead_id) VALUES ('created', NEW.id);
END;

CREATE TRIGGER leads_feed_changed AFTER INSERT ON lead_events BEGIN
    INSERT INTO leads_feed (type, lead_id, change_id) VALUES ('changed', NEW.lead_id, NEW.id);
END;

CREATE TRIGGER leads_feed_kept AFTER INSERT ON leads_raw WHEN NEW.state <> 'stored' BEGIN
    INSERT INTO leads_feed (type, lead_id) VALUES ('kept', NEW.id);
END;

-- Where the feed begins: events up to `after_seq` are pruned, and every lead that arrived later than `since` has its event.
-- The clock may have been ahead when a lead was stored.
CREATE TABLE leads_feed_start (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    after_seq INTEGER NOT NULL,
    since TEXT NOT NULL
);

INSERT INTO leads_feed_start (id, after_seq, since) SELECT 1, 0, max(
    strftime('%Y-%m-%d %H:%M:%f000', 'now'),
    min(
        max(
            coalesce((SELECT max(created_at) FROM leads), ''),
            coalesce((SELECT max(at) FROM lead_events), '')
        ),
        strftime('%Y-%m-%d %H:%M:%f000', 'now', '+1 hour')
    )
);
