"""Takes over leads and keys from the tables of the original Node service, so that an old key still gets 409.

One transaction renames the original's tables to `original_leads_raw` and `original_leads`, keeps their rows unchanged
and copies them into ours. Each installation's schema file chose its own column names, so they are read from the
database: `idempotencyKey` and `idempotency_key` count as the same name.

A raw row's body is the JSON that the original kept, as PostgreSQL prints it, because the original never kept the bytes.
A lead keeps the id that its sender got.
"""

from __future__ import annotations

from dataclasses import dataclass

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.database.entities import FIELD_COLUMNS
from leadcrm.database.migrations import MIGRATION_TIMEOUT_S, SchemaConnection, apply, schema_transaction
from leadcrm.errors import ForeignTables

_TAKEN_OVER = "taken over from the original service"


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The number of rows taken over: leads, and raw rows without a lead, which become `failed` and are replayed."""

    leads: int
    without_lead: int


def take_over(url: DatabaseURL) -> TakenOver:
    """Rename the original's tables, create ours and fill them; durable on return.

    Raises:
        StoreUnavailable: The database cannot be used now.
        ForeignTables: The tables are not the original service's, or a lead has no raw row.
    """
    if url.path is not None:
        raise ForeignTables(
            "the original service kept its leads in PostgreSQL", hint="set DATABASE_URL to its database"
        )
    with schema_transaction(url, MIGRATION_TIMEOUT_S) as schema:
        if schema.has_table("leadcrm_migrations") or not schema.has_table("_prisma_migrations"):
            raise ForeignTables(
                f"{url.redacted} does not hold the original service's tables alone",
                hint="leadcrm migrate status shows its state",
            )
        for table in ("leads", "leads_raw"):
            schema.execute(f"ALTER TABLE {schema.prefix}{table} RENAME TO original_{table}")
        apply(schema, "postgres")
        return _copy(schema)


def _copy(schema: SchemaConnection) -> TakenOver:
    raw = _columns(schema, "original_leads_raw")
    lead = _columns(schema, "original_leads")
    join = _join(raw, lead)
    prefix = schema.prefix
    key = _first(raw, "r", ("idempotencykey",), "NULL", "text")
    moment = _first(raw, "r", ("receivedat", "createdat", "timestamp"), "now() AT TIME ZONE 'UTC'", "timestamp")
    body = _first(raw, "r", ("payload", "rawpayload", "body", "data"), "'{}'", "text")
    schema.execute(
        f"""
        INSERT INTO {prefix}leads_raw (id, received_at, request_id, idempotency_key, method, target, remote_addr,
            content_type, headers, body, body_sha256, state, key_sha256, error, node)
        SELECT COALESCE(l.id::text, r.id::text)::uuid, {moment}, {_first(raw, "r", ("requestid",), "''", "text")},
            {key}, 'POST', '/api/lead', {_first(raw, "r", ("remoteaddr", "ipaddress", "ip"), "''", "text")},
            'application/json', {_first(raw, "r", ("headers",), "'{}'", "json")},
            convert_to({body}, 'UTF8'), sha256(convert_to({body}, 'UTF8')),
            CASE WHEN l.id IS NULL THEN 'failed' ELSE 'stored' END, sha256(convert_to(NULLIF({key}, ''), 'UTF8')),
            CASE WHEN l.id IS NULL THEN '{_TAKEN_OVER}' END, '{_TAKEN_OVER}'
        FROM {prefix}original_leads_raw r LEFT JOIN {prefix}original_leads l ON {join}
        """  # noqa: S608 - names of the database's own catalogue, quoted
    )
    created = _first(lead, "l", ("createdat",), "w.received_at", "timestamp")
    fields = ", ".join(_first(lead, "l", (column.replace("_", ""),), "NULL", "text") for column in FIELD_COLUMNS)
    schema.execute(
        f"""
        INSERT INTO {prefix}leads (id, {", ".join(FIELD_COLUMNS)}, status, assigned_to, created_at, updated_at,
            normalizer_version)
        SELECT w.id, {fields}, {_first(lead, "l", ("status",), "'new'", "text")},
            {_first(lead, "l", ("assignedto",), "NULL", "text")}, {created},
            {_first(lead, "l", ("updatedat",), created, "timestamp")}, 0
        FROM {prefix}original_leads l JOIN {prefix}leads_raw w ON w.id = l.id::text::uuid
        """  # noqa: S608
    )
    schema.execute(
        f"INSERT INTO {prefix}leads_ledger (day, entry, received) "  # noqa: S608
        f"SELECT received_at::date, '00000000-0000-0000-0000-000000000000'::uuid, count(*) "
        f"FROM {prefix}leads_raw GROUP BY 1"
    )
    # They are old leads, which no reader of the feed waits for.
    schema.execute(f"DELETE FROM {prefix}leads_feed")  # noqa: S608
    schema.execute(
        f"UPDATE {prefix}leads_feed_start SET since = "  # noqa: S608
        f"(SELECT greatest(since, least(max(created_at), since + interval '1 hour')) FROM {prefix}leads) "
        f"WHERE EXISTS (SELECT 1 FROM {prefix}leads)"
    )
    counts = schema.execute(
        f"SELECT (SELECT count(*) FROM {prefix}leads), (SELECT count(*) FROM {prefix}leads_raw), "  # noqa: S608
        f"(SELECT count(*) FROM {prefix}original_leads)"
    )[0]
    leads, raws, originals = (int(count) for count in counts)
    if leads != originals:
        raise ForeignTables(
            f"{originals - leads} of the original's {originals} leads have no raw row; nothing was changed",
            hint="give them one, or take them out of the table leads, and try again",
        )
    return TakenOver(leads, raws - leads)


def _columns(schema: SchemaConnection, table: str) -> dict[str, str]:
    """Map each column's name in lower case without underscores to its quoted name."""
    rows = schema.execute(
        "SELECT column_name FROM information_schema.columns "
        "WHERE table_schema = COALESCE(%s, current_schema()) AND table_name = %s",
        (schema.name, table),
    )
    return {row[0].replace("_", "").lower(): '"{}"'.format(row[0].replace('"', '""')) for row in rows}


def _first(columns: dict[str, str], alias: str, names: tuple[str, ...], otherwise: str, kind: str) -> str:
    """Return the expression of the first column that exists; it falls back to `otherwise` if none does or for NULL."""
    expression = next((f"{alias}.{columns[name]}::{kind}" for name in names if name in columns), "NULL")
    return f"COALESCE({expression}, ({otherwise})::{kind})"


def _join(raw: dict[str, str], lead: dict[str, str]) -> str:
    """Return the condition that joins leads and raw rows: by a reference, else by the key, else by the id."""
    for columns, one, other in ((lead, "l", "r"), (raw, "r", "l")):
        for name in ("rawid", "leadrawid", "leadsrawid", "rawleadid", "leadid"):
            if name in columns:
                return f"{one}.{columns[name]}::text = {other}.id::text"
    if "idempotencykey" in raw and "idempotencykey" in lead:
        return f"r.{raw['idempotencykey']} = l.{lead['idempotencykey']}"
    return "l.id::text = r.id::text"
