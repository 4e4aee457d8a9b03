"""List requests as they were kept, by their state, or show one with its headers and body.

examples:
  leadcrm raw list --state invalid --state failed
  leadcrm raw list --state spooled --json
  leadcrm raw list --source google-ads --state stored
  leadcrm raw show 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import Crm, open_crm, parse_id, parse_limit
from leadcrm.cli.who import record_reading
from leadcrm.crm.audit import Action
from leadcrm.crm.documents import raw_document, raw_page_document
from leadcrm.crm.leads import MAX_ROWS
from leadcrm.crm.raw import get_raw, list_raw
from leadcrm.crm.states import INBOX_STATES, RAW_STATES
from leadcrm.errors import EXIT_DONE, EXIT_FAILED

_COLUMNS = ("id", "receivedAt", "source", "state", "error", "duplicateOf", "bodyBytes", "remoteAddr", "idempotencyKey")
"""Of the table for people."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show")
    listing = actions.add_parser("list", help="the newest first", allow_abbrev=False)
    states = "; repeatable (default: all that are no leads)"
    listing.add_argument("--state", action="append", choices=RAW_STATES, help=f"what became of them{states}")
    listing.add_argument("--source", metavar="NAME", help="of this source alone; api is /api/lead")
    listing.add_argument(
        "--archived",
        choices=("hide", "only", "include"),
        default="hide",
        help="those that were put out of the inbox (default: hide)",
    )
    listing.add_argument("--limit", type=parse_limit, default=50, metavar="N", help=f"1 to {MAX_ROWS} (default: 50)")
    listing.add_argument("--cursor", type=parse_id, metavar="ID", help="go on where a page of --json ended")
    show = actions.add_parser("show", help="one request with its headers and body", allow_abbrev=False)
    show.add_argument("id", type=parse_id)
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="print JSON for programs")
        configuration.add_flags(action)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """List or show requests."""
    with open_crm(arguments, environ, directory, reads_alone=True) as crm:
        return (_list if arguments.action == "list" else _show)(crm, arguments)


def _list(crm: Crm, arguments: argparse.Namespace) -> int:
    record_reading(crm, Action.LIST_RAW, arguments)
    states = arguments.state or INBOX_STATES
    page = list_raw(
        crm.entities,
        crm.spool,
        states,
        limit=arguments.limit,
        after=arguments.cursor,
        source=arguments.source,
        archived=arguments.archived,
    )
    document = raw_page_document(page)
    if arguments.json:
        printing.print_json(document)
    else:
        printing.print_table(_COLUMNS, ([row[name] for name in _COLUMNS] for row in document["rows"]))
    return EXIT_DONE


def _show(crm: Crm, arguments: argparse.Namespace) -> int:
    kept = get_raw(crm.entities, crm.spool, arguments.id)
    if kept is None:
        print(f"leadcrm: no request was kept under {arguments.id}, as far as this node knows", file=sys.stderr)
        return EXIT_FAILED
    record_reading(crm, Action.READ_RAW, lead_id=arguments.id)
    document = raw_document(kept)
    if arguments.json:
        printing.print_json(document)
        return EXIT_DONE
    body = document.pop("body")
    printing.print_record(document)
    if body is not None:
        print()
        # The body's line breaks stay, but no other character that a terminal obeys.
        print("\n".join(map(printing.harmless, body.splitlines())))
    return EXIT_DONE
