-- Sources: which text of SOURCES_FILE mapped a request, the parts of a body with several leads, and the states of requests
-- that a source keeps without a lead.
ALTER TABLE leads_raw ADD COLUMN mapping_version INTEGER;

ALTER TABLE leads_raw ADD COLUMN part_of BLOB;

CREATE INDEX leads_raw_parts ON leads_raw (part_of, id) WHERE part_of IS NOT NULL;

ALTER TABLE leads ADD COLUMN source TEXT NOT NULL DEFAULT 'api';

ALTER TABLE leads ADD COLUMN is_test BOOLEAN NOT NULL DEFAULT 0;

-- A lead from /api/lead has no entry in it, so it costs that path nothing.
CREATE INDEX leads_source ON leads (source, created_at, id) WHERE source <> 'api';

-- The index that serves the filters holds the new columns too.
DROP INDEX leads_created;

CREATE INDEX leads_created ON leads (
    created_at, id, status, assigned_to, country, offer, marker, domain, sourcetype, lang, source, is_test
);

-- Every text of SOURCES_FILE that took effect, without its secrets. Rows are added, never changed.
CREATE TABLE source_versions (
    version INTEGER NOT NULL PRIMARY KEY,
    taken_at TEXT NOT NULL,
    sha256 BLOB NOT NULL UNIQUE,
    text TEXT NOT NULL
);

-- SQLite cannot alter a CHECK, and copying the table would copy every body. Its documentation names this way for a change
-- that no stored row can violate (https://www.sqlite.org/lang_altertable.html#otheralter). It must follow the other
-- changes, which find their places in the text by the schema that this connection has read.
PRAGMA writable_schema = ON;

UPDATE sqlite_master SET sql = replace(
    sql,
    '(state IN (''stored'', ''failed'', ''invalid'', ''conflict'', ''repeat''))',
    '(state IN (''stored'', ''failed'', ''invalid'', ''conflict'', ''repeat'', ''batch'', ''event'', ''unrouted'', ''unverified''))'
) WHERE type = 'table' AND name = 'leads_raw';

PRAGMA writable_schema = RESET;
