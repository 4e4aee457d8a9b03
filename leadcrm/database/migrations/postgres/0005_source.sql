-- Where a request came in, which says how its body is read, also when it is drained or replayed. Until now: /api/lead.
ALTER TABLE {schema}leads_raw ADD COLUMN source text NOT NULL DEFAULT 'api';
