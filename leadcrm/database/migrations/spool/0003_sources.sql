-- Which text of SOURCES_FILE mapped a request, the parts of a body with several leads, and the states of requests that a
-- source keeps without a lead.
ALTER TABLE leads_raw ADD COLUMN mapping_version INTEGER;

ALTER TABLE leads_raw ADD COLUMN part_of BLOB;

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
