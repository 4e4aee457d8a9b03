-- How many raw rows arrived, by day: counted with the rows' own commit, so that a row that vanishes later shows.
CREATE TABLE leads_ledger (
    day TEXT NOT NULL,
    entry BLOB NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (day, entry)
);

INSERT INTO leads_ledger (day, entry, received)
    SELECT substr(received_at, 1, 10), zeroblob(16), count(*) FROM leads_raw GROUP BY 1;
