-- serves_from: 0.1.0
-- Counts of the leads of each day (UTC) that is past, so that nobody counts them again. `counts` is by value;
-- `columns` has what filters need, null where the day has too many leads. A row may be deleted at any time.
CREATE TABLE {schema}leads_days (
    day date NOT NULL PRIMARY KEY,
    counts bytea NOT NULL,
    columns bytea
);

-- They come compressed.
ALTER TABLE {schema}leads_days ALTER COLUMN counts SET STORAGE EXTERNAL, ALTER COLUMN columns SET STORAGE EXTERNAL;

-- The rows of leads_days are right up to this number of the feed: later events tell of days that have changed since.
CREATE TABLE {schema}leads_days_until (
    id integer NOT NULL PRIMARY KEY CHECK (id = 1),
    seq bigint NOT NULL
);

INSERT INTO {schema}leads_days_until (id, seq) VALUES (1, 0);
