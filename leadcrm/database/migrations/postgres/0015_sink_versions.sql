-- serves_from: 0.1.0
-- Every text of SINKS_FILE that was in force: its sinks as JSON, without their URLs and secrets. Rows are added, never changed.
CREATE TABLE {schema}sink_versions (
    version integer PRIMARY KEY,
    taken_at timestamp NOT NULL,
    sha256 bytea NOT NULL UNIQUE,
    text text NOT NULL
);
