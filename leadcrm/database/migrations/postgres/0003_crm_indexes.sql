-- Indexes for the CRM. The first grows at its end, in order of time. The next three serve the prefix search; they hold
-- the first 64 characters, because an index entry has a maximum size. The others have no entry for a new lead, so they
-- cost ingestion nothing.
CREATE INDEX leads_created ON {schema}leads (created_at, id);

CREATE INDEX leads_email ON {schema}leads (lower(substr(email, 1, 64)) COLLATE "C");

CREATE INDEX leads_last_name ON {schema}leads (lower(substr(last_name, 1, 64)) COLLATE "C");

CREATE INDEX leads_phone ON {schema}leads (substr(phone, 1, 64) COLLATE "C");

CREATE INDEX leads_assigned_to ON {schema}leads (assigned_to, created_at, id) WHERE assigned_to IS NOT NULL;

CREATE INDEX leads_status ON {schema}leads (status, created_at, id) WHERE status <> 'new';

CREATE INDEX leads_raw_duplicates ON {schema}leads_raw (duplicate_of, id) WHERE duplicate_of IS NOT NULL;
