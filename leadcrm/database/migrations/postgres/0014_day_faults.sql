-- serves_from: 0.1.0
-- Past days whose leads could not be counted for leads_days, as where that takes longer than a statement may, and why.
CREATE TABLE {schema}leads_days_faults (
    day date NOT NULL PRIMARY KEY,
    at timestamp NOT NULL,
    error text NOT NULL
);
