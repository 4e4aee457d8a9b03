"""List leads, show one with all that is known of it, or change status and assignment.

An id may be any that a sender was ever answered: that of a repeat or a conflict leads to the first lead.

examples:
  leadcrm leads list --status new --country LV --limit 20
  leadcrm leads list -q john --json
  leadcrm leads show 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e
  leadcrm leads set 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e --status called --assigned-to anna
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import Crm, add_filter, filter_of, id_of, limit_of, open_crm
from leadcrm.cli.raw import raw_record
from leadcrm.crm.changes import LONGEST_VALUE, Outcome, change_leads, events_of
from leadcrm.crm.leads import MAX_ROWS, Cursor, as_record
from leadcrm.crm.lookup import find
from leadcrm.crm.raw import duplicates_of
from leadcrm.crm.search import list_leads
from leadcrm.database.sessions import session
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE

_SHOWN = ("id", "createdAt", "status", "assignedTo", "firstName", "lastName", "email", "phone", "country", "offer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|set")
    listing = actions.add_parser("list", help="the newest leads first", allow_abbrev=False)
    add_filter(listing)
    listing.add_argument("--limit", type=limit_of, default=50, metavar="N", help=f"1 to {MAX_ROWS} (default: 50)")
    listing.add_argument("--cursor", type=_cursor, help="go on where a page of --json ended")
    show = actions.add_parser("show", help="one lead with its raw request and history", allow_abbrev=False)
    show.add_argument("id", type=id_of)
    change = actions.add_parser("set", help="change status or assignment", allow_abbrev=False)
    change.add_argument("ids", type=id_of, nargs="+", metavar="id")
    change.add_argument("--status", type=_value)
    change.add_argument("--assigned-to", type=_value, metavar="NAME", help="'' for nobody")
    for action in (listing, show, change):
        action.add_argument("--json", action="store_true", help="print JSON for programs")
        configuration.add_flags(action)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """List, show or change."""
    if arguments.action == "set" and arguments.status is None and arguments.assigned_to is None:
        print("leadcrm: nothing to set; give --status or --assigned-to", file=sys.stderr)
        return EXIT_USAGE
    with open_crm(arguments, environ, directory) as crm:
        return {"list": _list, "show": _show, "set": _set}[arguments.action](crm, arguments)


def _cursor(text: str) -> Cursor:
    try:
        return Cursor.decode(text)
    except ValueError:
        raise argparse.ArgumentTypeError("the `next` of another page is accepted") from None


def _value(text: str) -> str:
    if len(text) > LONGEST_VALUE or not text.isprintable():
        raise argparse.ArgumentTypeError(f"up to {LONGEST_VALUE} printable characters are accepted")
    return text


def _list(crm: Crm, arguments: argparse.Namespace) -> int:
    wanted = filter_of(arguments)
    limit = arguments.limit
    page = list_leads(crm.entities, wanted, limit=limit, after=arguments.cursor)
    records = [as_record(lead) for lead in page.leads]
    if arguments.json:
        printing.print_json({"leads": records, "next": page.next and page.next.encode()})
    else:
        printing.print_table(_SHOWN, ([record[name] for name in _SHOWN] for record in records))
    return EXIT_DONE


def _show(crm: Crm, arguments: argparse.Namespace) -> int:
    found = find(crm.entities, crm.spool, arguments.id)
    if found is None:
        print(f"leadcrm: nobody was given the id {arguments.id}, as far as this node knows", file=sys.stderr)
        return EXIT_FAILED
    lead = found.lead
    with session(crm.entities):
        events = events_of(crm.entities, lead.id) if lead else []
        duplicates = duplicates_of(crm.entities, lead.id) if lead else {}
    record = as_record(lead) if lead else None
    raw = raw_record(found.raw) if found.raw else None
    history = [event._asdict() for event in events]
    if arguments.json:
        way = [str(id) for id in found.way]
        printing.print_json({"lead": record, "raw": raw, "events": history, "duplicates": duplicates, "way": way})
        return EXIT_DONE
    if found.way:
        print(f"{arguments.id} leads on to {lead.id if lead else found.raw and found.raw.row.id}\n")
    if record is None:
        print("not a lead yet: this is the request as it is kept\n")
    for part in (record, raw, duplicates):
        if part:
            printing.print_record(part)
            print()
    printing.print_table(
        ("at", "what", "from", "to", "by"), ([e.at, e.field, e.from_value, e.to_value, e.actor] for e in events)
    )
    return EXIT_DONE


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        return f"uid {os.getuid()}"


def _set(crm: Crm, arguments: argparse.Namespace) -> int:
    changes: dict[str, str | None] = {}
    if arguments.status is not None:
        changes["status"] = arguments.status
    if arguments.assigned_to is not None:
        changes["assigned_to"] = arguments.assigned_to or None
    leads = {}
    for id in arguments.ids:
        found = find(crm.entities, crm.spool, id)
        leads[id] = found.lead.id if found and found.lead else id
    done = change_leads(crm.entities, list(leads.values()), changes, actor=_person())
    outcomes = {str(id): done[lead_id].value for id, lead_id in leads.items()}
    if arguments.json:
        printing.print_json(outcomes)
    else:
        printing.print_table(("id", "outcome"), outcomes.items())
    return EXIT_FAILED if Outcome.MISSING.value in outcomes.values() else EXIT_DONE
