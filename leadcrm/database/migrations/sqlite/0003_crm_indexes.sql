-- Indexes for the CRM. The first grows at its end, in order of time, and holds the columns of the filters, so that a
-- rare value is found without reading every lead. The next three serve the prefix search; they hold the first 64
-- characters, as on PostgreSQL. The others have no entry for a new lead, so they cost ingestion nothing.
CREATE INDEX leads_created ON leads (
    created_at, id, status, assigned_to, country, offer, marker, domain, sourcetype, lang
);

CREATE INDEX leads_email ON leads (lower(substr(email, 1, 64)));

CREATE INDEX leads_last_name ON leads (lower(substr(last_name, 1, 64)));

CREATE INDEX leads_phone ON leads (substr(phone, 1, 64));

CREATE INDEX leads_assigned_to ON leads (assigned_to, created_at, id) WHERE assigned_to IS NOT NULL;

CREATE INDEX leads_status ON leads (status, created_at, id) WHERE status <> 'new';

CREATE INDEX leads_raw_duplicates ON leads_raw (duplicate_of, id) WHERE duplicate_of IS NOT NULL;
