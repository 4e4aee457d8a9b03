-- The source that the request arrived at. It decides how the body is read, also by a drain or a replay. All earlier rows
-- came from /api/lead.
ALTER TABLE leads_raw ADD COLUMN source TEXT NOT NULL DEFAULT 'api';
