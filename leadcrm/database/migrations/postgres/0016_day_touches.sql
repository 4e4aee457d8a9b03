-- serves_from: 0.1.0
-- More of the leads of each past day: `click_ids` tells which of them none has, `touches` how soon people touched each. Null where
-- `columns` is, and until the day is counted again.
ALTER TABLE {schema}leads_days ADD COLUMN click_ids bytea;
ALTER TABLE {schema}leads_days ADD COLUMN touches bytea;

-- They do not compress, or come compressed.
ALTER TABLE {schema}leads_days ALTER COLUMN click_ids SET STORAGE EXTERNAL, ALTER COLUMN touches SET STORAGE EXTERNAL;
