-- The number of raw rows that arrived each day, counted in the rows' own commit. A row that is deleted later leaves a
-- difference between the ledger and the table.
CREATE TABLE {schema}leads_ledger (
    day date NOT NULL,
    entry uuid NOT NULL,
    received bigint NOT NULL,
    PRIMARY KEY (day, entry)
);

INSERT INTO {schema}leads_ledger (day, entry, received)
    SELECT received_at::date, '00000000-0000-0000-0000-000000000000', count(*) FROM {schema}leads_raw GROUP BY 1;
