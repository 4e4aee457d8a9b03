-- Where a request came in, which says how its body is read, also when it is drained or replayed. Until now: /api/lead.
ALTER TABLE leads_raw ADD COLUMN source TEXT NOT NULL DEFAULT 'api';
