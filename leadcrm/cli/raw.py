"""List requests as they were kept, by what became of them, or show one with its headers and body.

examples:
  leadcrm raw list --state invalid --state failed
  leadcrm raw list --state spooled --json
  leadcrm raw show 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Mapping
from pathlib import Path

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import Crm, id_of, limit_of, open_crm
from leadcrm.crm.leads import MAX_ROWS
from leadcrm.crm.raw import INBOX_STATES, RAW_STATES, SPOOLED, Kept, get_raw, list_raw
from leadcrm.database.sessions import session
from leadcrm.errors import EXIT_DONE, EXIT_FAILED

_SHOWN = ("id", "received_at", "state", "error", "duplicate_of", "body_bytes", "remote_addr", "idempotency_key")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show")
    listing = actions.add_parser("list", help="the newest first", allow_abbrev=False)
    states = "; repeatable (default: all that are no leads)"
    listing.add_argument("--state", action="append", choices=RAW_STATES, help=f"what became of them{states}")
    listing.add_argument("--limit", type=limit_of, default=50, metavar="N", help=f"1 to {MAX_ROWS} (default: 50)")
    listing.add_argument("--cursor", type=id_of, metavar="ID", help="go on after this id")
    show = actions.add_parser("show", help="one request with its headers and body", allow_abbrev=False)
    show.add_argument("id", type=id_of)
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="print JSON for programs")
        configuration.add_flags(action)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """List or show."""
    with open_crm(arguments, environ, directory) as crm:
        return (_list if arguments.action == "list" else _show)(crm, arguments)


def _list(crm: Crm, arguments: argparse.Namespace) -> int:
    states = arguments.state or INBOX_STATES
    limit = arguments.limit
    stored = tuple(state for state in states if state != SPOOLED)
    rows = []
    if stored:
        with session(crm.entities):
            rows = list_raw(crm.entities, stored, limit=limit, after=arguments.cursor).rows
    if SPOOLED in states:
        rows = [*rows, *crm.spool.list(limit=limit, after=arguments.cursor).rows]
    rows = sorted(rows, key=lambda row: row.id, reverse=True)[:limit]
    if arguments.json:
        printing.print_json([row._asdict() for row in rows])
        return EXIT_DONE
    printing.print_table(
        _SHOWN,
        (
            [SPOOLED if name == "state" and row.stored == "spool" else getattr(row, name) for name in _SHOWN]
            for row in rows
        ),
    )
    return EXIT_DONE


def _show(crm: Crm, arguments: argparse.Namespace) -> int:
    with session(crm.entities):
        kept = get_raw(crm.entities, arguments.id)
    kept = kept or crm.spool.get(arguments.id)
    if kept is None:
        print(f"leadcrm: no request was kept under {arguments.id}, as far as this node knows", file=sys.stderr)
        return EXIT_FAILED
    record = raw_record(kept)
    if arguments.json:
        printing.print_json(record)
        return EXIT_DONE
    body = record.pop("body")
    printing.print_record(record)
    if isinstance(body, str):
        print()
        # Its lines as lines, but nothing else that a terminal obeys.
        print("\n".join(map(printing.harmless, body.splitlines())))
    return EXIT_DONE


def raw_record(kept: Kept) -> dict[str, object]:
    """Return a raw row for printing: bytes as text where they are UTF-8, else in base64."""
    row = kept.row
    record: dict[str, object] = {
        "id": row.id,
        "received_at": row.received_at.replace(tzinfo=None),
        "state": row.state,
        "stored": kept.stored,
        "error": row.error or kept.refusal,
        "duplicate_of": row.duplicate_of,
        "request_id": row.request_id,
        "idempotency_key": row.idempotency_key,
        "method": row.method,
        "target": row.target,
        "remote_addr": row.remote_addr,
        "content_type": row.content_type,
        "node": row.node,
        "headers": row.headers,
        "body_sha256": row.body_sha256.hex(),
    }
    if row.body is not None:
        try:
            return {**record, "body_encoding": "text", "body": row.body.decode()}
        except UnicodeDecodeError:
            return {**record, "body_encoding": "base64", "body": base64.b64encode(row.body).decode()}
    return {**record, "body_encoding": None, "body": None}
