-- serves_from: 0.1.0
-- Every text of SINKS_FILE that was in force: its sinks as JSON, without their URLs and secrets. Rows are added, never changed.
CREATE TABLE sink_versions (
    version INTEGER NOT NULL PRIMARY KEY,
    taken_at TEXT NOT NULL,
    sha256 BLOB NOT NULL UNIQUE,
    text TEXT NOT NULL
);
