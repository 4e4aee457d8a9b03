-- serves_from: 0.1.0
-- Counts of the leads of each day (UTC) that is past, so that nobody counts them again. `counts` is by value;
-- `columns` has what filters need, null where the day has too many leads. A row may be deleted at any time.
CREATE TABLE leads_days (
    day TEXT NOT NULL PRIMARY KEY,
    counts BLOB NOT NULL,
    columns BLOB
);

-- The rows of leads_days are right up to this number of the feed: later events tell of days that have changed since.
CREATE TABLE leads_days_until (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL
);

INSERT INTO leads_days_until (id, seq) VALUES (1, 0);
