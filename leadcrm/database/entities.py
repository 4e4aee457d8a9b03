"""The schema as Pony entities, defined on a database that the caller passes in.

This module owns the names and types of tables and columns. The DDL is in `leadcrm.database.migrations`; a test compares
the two. Ids are UUIDs of version 7, minted when the request arrived. Columns hold naive UTC times.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from pony.orm import Database, Json, Optional, PrimaryKey, Required

COLUMN_OF_FIELD = {
    "click_id": "click_id",
    "country": "country",
    "creo": "creo",
    "description": "description",
    "domain": "domain",
    "email": "email",
    "firstName": "first_name",
    "ip": "ip",
    "lang": "lang",
    "lastName": "last_name",
    "marker": "marker",
    "offer": "offer",
    "phone": "phone",
    "sourcetype": "sourcetype",
}
"""The only list of the payload fields that become columns of a lead, in the columns' order."""

FIELDS = tuple(COLUMN_OF_FIELD)
FIELD_COLUMNS = tuple(COLUMN_OF_FIELD.values())


@dataclass(frozen=True, slots=True)
class SpoolEntities:
    """The entities of one bound spool, which holds raw rows only: `raw_lead` maps `leads_raw`."""

    database: Database
    raw_lead: Any


@dataclass(frozen=True, slots=True)
class Entities(SpoolEntities):
    """The entities of one bound database: rows, leads, changes, ledger, days, sources, feed, sinks, tokens, audit.

    `lead` maps `leads`, `lead_event` maps `lead_events`, `ledger_entry` maps `leads_ledger`, `source_version` maps
    `source_versions`, `sink_version` maps `sink_versions`, `feed_event` maps `leads_feed`, `feed_start` maps
    `leads_feed_start`, `sink` maps `leads_sinks`, `delivery` maps `leads_deliveries`, `delivered` maps
    `leads_delivered`, `token` maps `leads_tokens`, `browser_session` maps `leads_sessions`, `audit_entry` maps
    `leads_audit`, `archived` maps `leads_archived`, `counted_day` maps `leads_days`, `day_fault` maps
    `leads_days_faults`, `days_until` maps `leads_days_until`.
    """

    lead: Any
    lead_event: Any
    ledger_entry: Any
    source_version: Any
    sink_version: Any
    feed_event: Any
    feed_start: Any
    sink: Any
    delivery: Any
    delivered: Any
    token: Any
    browser_session: Any
    audit_entry: Any
    archived: Any
    counted_day: Any
    day_fault: Any
    days_until: Any


def _text() -> Any:
    """Return a nullable text column that keeps blanks and distinguishes '' from NULL."""
    return Optional(str, nullable=True, autostrip=False)


def _required_text() -> Any:
    # Pony's Required rejects '', but a sender may send an empty request id or target.
    return Optional(str, autostrip=False)


def _raw_lead_attributes() -> dict[str, Any]:
    return {
        "id": PrimaryKey(UUID),
        "received_at": Required(datetime),
        "request_id": _required_text(),
        "idempotency_key": _text(),
        "method": _required_text(),
        "target": _required_text(),
        "remote_addr": _required_text(),
        "content_type": _text(),
        "headers": Required(Json),
        "body": Optional(bytes, nullable=True),
        "body_sha256": Required(bytes),
        "state": Required(str),
        "key_sha256": Optional(bytes, nullable=True),
        "error": _text(),
        "duplicate_of": Optional(UUID),
        "node": _required_text(),
        "source": _required_text(),
        "mapping_version": Optional(int),
        "part_of": Optional(UUID),
    }


def _lead_attributes() -> dict[str, Any]:
    return {
        "raw": PrimaryKey("RawLead", column="id"),
        **{column: _text() for column in FIELD_COLUMNS},
        "status": _required_text(),
        "assigned_to": _text(),
        "created_at": Required(datetime),
        "updated_at": Required(datetime),
        "normalizer_version": Required(int),
        "source": _required_text(),
        "is_test": Required(bool),
        "call_at": Optional(datetime),
    }


def _lead_event_attributes() -> dict[str, Any]:
    return {
        "id": PrimaryKey(UUID),
        "lead_id": Required(UUID),
        "at": Required(datetime),
        "field": Required(str),
        "from_value": _text(),
        "to_value": _text(),
        "actor": _required_text(),
        "claimed": _text(),
    }


def _sink_attributes() -> dict[str, Any]:
    return {
        "name": PrimaryKey(str),
        **{name: Required(int, size=64) for name in ("start_seq", "cursor_seq")},
        **{name: Required(int, size=64) for name in ("taken", "delivered", "skipped", "dropped")},
        "holder": _required_text(),
        "lease_until": Required(datetime),
        "failing_since": Optional(datetime),
        "disabled": _text(),
        "last_at": Optional(datetime),
        "last_answer": _text(),
    }


def _delivery_attributes() -> dict[str, Any]:
    return {
        "id": PrimaryKey(UUID),
        "sink": Required(str),
        "seq": Required(int, size=64),
        "lead_id": Required(UUID),
        "change_id": Optional(UUID),
        "type": Required(str),
        "event_at": Required(datetime),
        "state": Required(str),
        "attempts": Required(int),
        "last_at": Required(datetime),
        "next_at": Required(datetime),
        "status": Optional(int),
        "answer": _text(),
    }


def _token_attributes() -> dict[str, Any]:
    return {
        "id": PrimaryKey(UUID),
        "name": Required(str, autostrip=False),
        "role": Required(str),
        "sha256": Required(bytes),
        "created_at": Required(datetime),
        "created_by": _required_text(),
        "expires_at": Optional(datetime),
        "revoked_at": Optional(datetime),
        "used_at": Optional(datetime),
    }


def _browser_session_attributes() -> dict[str, Any]:
    return {
        "sha256": PrimaryKey(bytes),
        "token_id": Optional(UUID),
        "admin_proof": Optional(bytes, nullable=True),
        "created_at": Required(datetime),
        "expires_at": Required(datetime),
    }


def _audit_entry_attributes() -> dict[str, Any]:
    return {
        "id": PrimaryKey(UUID),
        "at": Required(datetime),
        "actor": _required_text(),
        "via": Required(str),
        "claimed": _text(),
        "action": Required(str),
        "lead_id": Optional(UUID),
        "detail": Required(Json),
    }


RAW_COLUMNS = tuple(_raw_lead_attributes())
"""The columns of `leads_raw`, in the order of their declaration."""

LEAD_COLUMNS = ("id", *tuple(_lead_attributes())[1:])
"""The columns of `leads`."""

ARRIVAL_COLUMNS = tuple(column for column in LEAD_COLUMNS if column != "call_at")
"""The columns of `leads` that have a value when a lead arrives."""


def define_entities(database: Database, schema: str | None) -> Entities:
    """Define the tables on an unmapped database, qualified with `schema` if that is set."""

    def table(name: str) -> str | tuple[str, str]:
        return (schema, name) if schema else name

    raw_lead = type(
        "RawLead",
        (database.Entity,),
        {"_table_": table("leads_raw"), **_raw_lead_attributes(), "lead": Optional("Lead")},
    )
    lead = type("Lead", (database.Entity,), {"_table_": table("leads"), **_lead_attributes()})
    lead_event = type("LeadEvent", (database.Entity,), {"_table_": table("lead_events"), **_lead_event_attributes()})

    class LedgerEntry(database.Entity):  # type: ignore[misc]
        _table_ = table("leads_ledger")
        day = Required(date)
        entry = Required(UUID)
        received = Required(int, size=64)
        PrimaryKey(day, entry)

    class SourceVersion(database.Entity):  # type: ignore[misc]
        _table_ = table("source_versions")
        version = PrimaryKey(int)
        taken_at = Required(datetime)
        sha256 = Required(bytes)
        text = _required_text()

    class SinkVersion(database.Entity):  # type: ignore[misc]
        _table_ = table("sink_versions")
        version = PrimaryKey(int)
        taken_at = Required(datetime)
        sha256 = Required(bytes)
        text = _required_text()

    class FeedEvent(database.Entity):  # type: ignore[misc]
        _table_ = table("leads_feed")
        seq = PrimaryKey(int, size=64, auto=True)
        at = Required(datetime)
        lead_id = Required(UUID)
        change_id = Optional(UUID)
        type = Required(str)

    class FeedStart(database.Entity):  # type: ignore[misc]
        _table_ = table("leads_feed_start")
        id = PrimaryKey(int)
        after_seq = Required(int, size=64)
        since = Required(datetime)

    class Delivered(database.Entity):  # type: ignore[misc]
        _table_ = table("leads_delivered")
        seq = Required(int, size=64)
        sink = Required(str)
        lead_id = Required(UUID)
        type = Required(str)
        outcome = Required(str)
        at = Required(datetime)
        PrimaryKey(seq, sink)

    class Archived(database.Entity):  # type: ignore[misc]
        _table_ = table("leads_archived")
        raw_id = PrimaryKey(UUID)
        at = Required(datetime)
        actor = _required_text()

    class CountedDay(database.Entity):  # type: ignore[misc]
        _table_ = table("leads_days")
        day = PrimaryKey(date)
        counts = Required(bytes)
        columns = Optional(bytes, nullable=True)
        click_ids = Optional(bytes, nullable=True)
        touches = Optional(bytes, nullable=True)

    class DayFault(database.Entity):  # type: ignore[misc]
        _table_ = table("leads_days_faults")
        day = PrimaryKey(date)
        at = Required(datetime)
        error = _required_text()

    class DaysUntil(database.Entity):  # type: ignore[misc]
        _table_ = table("leads_days_until")
        id = PrimaryKey(int)
        seq = Required(int, size=64)

    sink = type("Sink", (database.Entity,), {"_table_": table("leads_sinks"), **_sink_attributes()})
    delivery = type("Delivery", (database.Entity,), {"_table_": table("leads_deliveries"), **_delivery_attributes()})
    token = type("Token", (database.Entity,), {"_table_": table("leads_tokens"), **_token_attributes()})
    browser_session = type(
        "BrowserSession", (database.Entity,), {"_table_": table("leads_sessions"), **_browser_session_attributes()}
    )
    audit_entry = type("AuditEntry", (database.Entity,), {"_table_": table("leads_audit"), **_audit_entry_attributes()})
    return Entities(
        database=database,
        raw_lead=raw_lead,
        lead=lead,
        lead_event=lead_event,
        ledger_entry=LedgerEntry,
        source_version=SourceVersion,
        sink_version=SinkVersion,
        feed_event=FeedEvent,
        feed_start=FeedStart,
        sink=sink,
        delivery=delivery,
        delivered=Delivered,
        token=token,
        browser_session=browser_session,
        audit_entry=audit_entry,
        archived=Archived,
        counted_day=CountedDay,
        day_fault=DayFault,
        days_until=DaysUntil,
    )


def define_spool_entities(database: Database) -> SpoolEntities:
    """Define the spool's `leads_raw`: the columns of the database's and `refusal`, why the database refused the row."""
    raw_lead = type(
        "RawLead",
        (database.Entity,),
        {"_table_": "leads_raw", **_raw_lead_attributes(), "refusal": _text()},
    )
    return SpoolEntities(database, raw_lead)


def quoted_table(entity: Any, suffix: str = "") -> str:
    """Return the name of an entity's table, or of what is called after it, as Pony takes it in SQL."""
    table = entity._table_
    *schema, name = [table] if isinstance(table, str) else table
    return ".".join('"{}"'.format(part.replace('"', '""').replace("$", "$$")) for part in (*schema, name + suffix))
