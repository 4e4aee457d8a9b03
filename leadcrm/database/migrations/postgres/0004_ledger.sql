-- How many raw rows arrived, by day: counted with the rows' own commit, so that a row that vanishes later shows.
CREATE TABLE {schema}leads_ledger (
    day date NOT NULL,
    entry uuid NOT NULL,
    received bigint NOT NULL,
    PRIMARY KEY (day, entry)
);

INSERT INTO {schema}leads_ledger (day, entry, received)
    SELECT received_at::date, '00000000-0000-0000-0000-000000000000', count(*) FROM {schema}leads_raw GROUP BY 1;
