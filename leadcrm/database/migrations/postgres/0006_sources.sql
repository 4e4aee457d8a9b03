-- Sources: which text of SOURCES_FILE mapped a request, the parts of a body with several leads, and the states of requests
-- that a source keeps without a lead. The constraint only grows, so that no row needs to be read again.
ALTER TABLE {schema}leads_raw ADD COLUMN mapping_version integer;

ALTER TABLE {schema}leads_raw ADD COLUMN part_of uuid;

ALTER TABLE {schema}leads_raw DROP CONSTRAINT leads_raw_state_check;

ALTER TABLE {schema}leads_raw ADD CONSTRAINT leads_raw_state_check CHECK (state IN (
    'stored', 'failed', 'invalid', 'conflict', 'repeat', 'batch', 'event', 'unrouted', 'unverified'
)) NOT VALID;

CREATE INDEX leads_raw_parts ON {schema}leads_raw (part_of, id) WHERE part_of IS NOT NULL;

ALTER TABLE {schema}leads ADD COLUMN source text NOT NULL DEFAULT 'api';

ALTER TABLE {schema}leads ADD COLUMN is_test boolean NOT NULL DEFAULT false;

-- A lead from /api/lead has no entry in it, so it costs that path nothing.
CREATE INDEX leads_source ON {schema}leads (source, created_at, id) WHERE source <> 'api';

-- Every text of SOURCES_FILE that took effect, without its secrets. Rows are added, never changed.
CREATE TABLE {schema}source_versions (
    version integer PRIMARY KEY,
    taken_at timestamp NOT NULL,
    sha256 bytea NOT NULL UNIQUE,
    text text NOT NULL
);
