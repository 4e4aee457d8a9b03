-- The number of raw rows that arrived each day, counted in the rows' own commit. A row that is deleted later leaves a
-- difference between the ledger and the table.
CREATE TABLE leads_ledger (
    day TEXT NOT NULL,
    entry BLOB NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (day, entry)
);

INSERT INTO leads_ledger (day, entry, received)
    SELECT substr(received_at, 1, 10), zeroblob(16), count(*) FROM leads_raw GROUP BY 1;
