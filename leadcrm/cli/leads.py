"""List leads, show one with its request, history and deliveries, change or note something, or take the next one.

An id may be any that a sender was answered: the id of a repeat or a conflict leads to the first lead.

examples:
  leadcrm leads list --status new --country LV --limit 20
  leadcrm leads list -q john --json
  leadcrm leads list --sort callAt --columns id,callAt,lastName,phone
  leadcrm leads show 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e
  leadcrm leads set 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e --status called --assigned-to anna
  leadcrm leads set 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e --call-at 2026-11-27T09:00:00Z
  leadcrm leads set 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e --phone "+371 26 123 456"
  leadcrm leads note 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e "Asked for a call after six"
  leadcrm leads next --actor anna
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import Crm, add_filter, open_crm, parse_filter, parse_id, parse_limit, sinks_of
from leadcrm.cli.who import add_actor, find_actor, record_reading
from leadcrm.configuration.time_zone import TimeZone
from leadcrm.crm.audit import Action
from leadcrm.crm.changes import (
    CORRECTABLE,
    MAX_CORRECTION_CHARS,
    MAX_NOTE_CHARS,
    MAX_VALUE_CHARS,
    ChangeOutcome,
    add_note,
    change_followed_leads,
)
from leadcrm.crm.documents import LEAD_NAMES, event_document, history_document, lead_document, lead_page_document
from leadcrm.crm.leads import MAX_ROWS, Cursor
from leadcrm.crm.lookup import get_history
from leadcrm.crm.sorting import NEWEST_FIRST, SORTS, SortCursor, decode_cursor, list_sorted, sort_of
from leadcrm.crm.times import local_text, parse_moment
from leadcrm.crm.work import take_next
from leadcrm.delivery.whereabouts import lead_deliveries
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE

_COLUMNS = (
    "id",
    "phone",
    "country",
    "offer",
    "status",
    "createdAt",
    "lastName",
    "firstName",
    "assignedTo",
    "email",
    "source",
)
"""Of the table for people: as many of the first of them as a screen has room for."""

_DELIVERY_COLUMNS = ("sink", "type", "state", "at", "since", "nextAt", "attempts", "status", "answer")

_UNSET = object()
"""Of --call-at where it is not given, since none is a value."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|set|note|next")
    listing = actions.add_parser("list", help="the newest leads first", allow_abbrev=False)
    add_filter(listing)
    listing.add_argument("--limit", type=parse_limit, default=50, metavar="N", help=f"1 to {MAX_ROWS} (default: 50)")
    shown = listing.add_mutually_exclusive_group()
    shown.add_argument(
        "--columns",
        type=_parse_columns,
        metavar="NAME,…",
        help="of the table, such as id,phone,click_id (default: what fits)",
    )
    shown.add_argument("--wide", action="store_true", help="every column, however wide the table is")
    listing.add_argument(
        "--sort",
        choices=SORTS,
        metavar="KEY",
        help=f"one of {', '.join(SORTS)}; with a hyphen the latest first, as in --sort=-status (default: -arrived)",
    )
    listing.add_argument("--cursor", type=_parse_cursor, help="go on where a page of --json ended")
    show = actions.add_parser("show", help="one lead with its raw request and history", allow_abbrev=False)
    show.add_argument("id", type=parse_id)
    change = actions.add_parser("set", help="change status, assignment, call or the person", allow_abbrev=False)
    change.add_argument("ids", type=parse_id, nargs="+", metavar="id")
    change.add_argument("--status", type=_parse_status)
    change.add_argument("--assigned-to", type=_parse_value, metavar="NAME", help="'' for nobody")
    change.add_argument(
        "--call-at", type=_parse_call, default=_UNSET, metavar="TIME", help="the next call (UTC), '' for none"
    )
    for column in CORRECTABLE:
        flag = f"--{column.replace('_', '-')}"
        change.add_argument(flag, type=_parse_correction, metavar="TEXT", help="correct it, of one lead; '' for none")
    note = actions.add_parser("note", help="add a note to a lead's history", allow_abbrev=False)
    note.add_argument("id", type=parse_id)
    note.add_argument("text", type=_parse_note)
    following = actions.add_parser("next", help="take the oldest lead that nobody has", allow_abbrev=False)
    for action in (change, note, following):
        add_actor(action)
    for action in (listing, show, change, note, following):
        action.add_argument("--json", action="store_true", help="print JSON for programs")
        configuration.add_flags(action)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """List, show or change leads."""
    if arguments.action == "set" and (fault := _fault(arguments)):
        print(f"leadcrm: {fault}", file=sys.stderr)
        return EXIT_USAGE
    with open_crm(arguments, environ, directory, reads_alone=arguments.action in ("list", "show")) as crm:
        return {"list": _list, "show": _show, "set": _set, "note": _note, "next": _next}[arguments.action](
            crm, arguments
        )


def _parse_cursor(text: str) -> Cursor | SortCursor:
    try:
        return decode_cursor(text)
    except ValueError:
        raise argparse.ArgumentTypeError("the `next` of another page is accepted") from None


def _parse_columns(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in LEAD_NAMES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no column; accepted: {', '.join(LEAD_NAMES)}")
    return names


def _parse_value(text: str) -> str:
    if len(text) > MAX_VALUE_CHARS or not text.isprintable():
        raise argparse.ArgumentTypeError(f"up to {MAX_VALUE_CHARS} printable characters are accepted")
    return text


def _parse_status(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("a lead has a status, such as new")
    return _parse_value(text)


def _parse_correction(text: str) -> str:
    if len(text) > MAX_CORRECTION_CHARS or not text.isprintable():
        raise argparse.ArgumentTypeError(f"up to {MAX_CORRECTION_CHARS} printable characters are accepted")
    return text


def _parse_call(text: str) -> datetime | None:
    try:
        return parse_moment(text) if text else None
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}") from None


def _parse_note(text: str) -> str:
    if not text.strip() or len(text) > MAX_NOTE_CHARS:
        raise argparse.ArgumentTypeError(f"1 to {MAX_NOTE_CHARS} characters are accepted")
    return text


def _fault(arguments: argparse.Namespace) -> str | None:
    changes = _changes(arguments)
    if not changes:
        return "nothing to set; give --status, --assigned-to, --call-at or a field to correct"
    if len(arguments.ids) > 1 and not changes.keys().isdisjoint(CORRECTABLE):
        return "a correction is of one lead; give one id"
    return None


def _changes(arguments: argparse.Namespace) -> dict[str, str | datetime | None]:
    changes: dict[str, str | datetime | None] = {}
    if arguments.status is not None:
        changes["status"] = arguments.status
    if arguments.assigned_to is not None:
        changes["assigned_to"] = arguments.assigned_to or None
    if arguments.call_at is not _UNSET:
        changes["call_at"] = arguments.call_at
    for column in CORRECTABLE:
        if (text := getattr(arguments, column)) is not None:
            changes[column] = text or None
    return changes


def _list(crm: Crm, arguments: argparse.Namespace) -> int:
    cursor, lead_filter = arguments.cursor, parse_filter(arguments, crm.zone)
    sort = arguments.sort or NEWEST_FIRST
    if (lead_filter.q and sort != NEWEST_FIRST) or (cursor and sort_of(cursor) != sort):
        print("leadcrm: -q and --cursor go with the order that they have", file=sys.stderr)
        return EXIT_USAGE
    record_reading(crm, Action.LIST, arguments)
    statuses = [status.name for status in crm.config.statuses]
    page = list_sorted(crm.entities, lead_filter, sort, statuses, limit=arguments.limit, after=cursor)
    if arguments.json:
        printing.print_json(lead_page_document(page))
    else:
        columns = LEAD_NAMES if arguments.wide else arguments.columns
        columns = columns or printing.columns_that_fit(_COLUMNS)
        found = lead_page_document(page)["leads"]
        # A page ends where so many leads were looked at.
        while isinstance(page.next, (Cursor, SortCursor)) and len(found) < arguments.limit:
            limit = arguments.limit - len(found)
            page = list_sorted(crm.entities, lead_filter, sort, statuses, limit=limit, after=page.next)
            found += lead_page_document(page)["leads"]
        leads = [lead | _local_times(lead, crm.zone) for lead in found]
        printing.print_table(columns, ([lead[name] for name in columns] for lead in leads), are_whole=arguments.wide)
    return EXIT_DONE


def _local_times(lead: dict[str, Any], zone: TimeZone) -> dict[str, str]:
    """Return the times of a lead as people of a zone read them."""
    return {
        name: local_text(value, zone)[: len("2024-01-15T10:30")].replace("T", " ")
        for name, value in lead.items()
        if isinstance(value, datetime)
    }


def _show(crm: Crm, arguments: argparse.Namespace) -> int:
    history = get_history(crm.entities, crm.spool, arguments.id)
    if history is None:
        print(f"leadcrm: nobody was given the id {arguments.id}, as far as this node knows", file=sys.stderr)
        return EXIT_FAILED
    destination = history.destination
    record_reading(crm, Action.READ, lead_id=destination.id)
    deliveries = lead_deliveries(crm.entities, sinks_of(crm.config), destination.id, destination.lead)
    document = history_document(history, deliveries)
    if arguments.json:
        printing.print_json(document)
        return EXIT_DONE
    if document["way"]:
        print(f"{arguments.id} leads on to {history.destination.id}\n")
    if document["lead"] is None and document["raw"]["erased"]:
        print("erased: this is what is left\n")
    elif document["lead"] is None:
        print("not a lead yet: this is the request as it is kept\n")
    for part in ("lead", "raw", "duplicates"):
        if document[part]:
            printing.print_record(document[part])
            print()
    columns = ("at", "field", "from", "to", "by")
    printing.print_table(columns, ([event[name] for name in columns] for event in document["events"]))
    if deliveries:
        print()
        printing.print_table(
            _DELIVERY_COLUMNS, ([delivery[name] for name in _DELIVERY_COLUMNS] for delivery in deliveries)
        )
    return EXIT_DONE


def _set(crm: Crm, arguments: argparse.Namespace) -> int:
    actor = find_actor(arguments.actor)
    changed = change_followed_leads(crm.entities, crm.spool, arguments.ids, _changes(arguments), actor=actor)
    outcomes = {str(id): outcome.value for id, outcome in changed.items()}
    if arguments.json:
        printing.print_json(outcomes)
    else:
        printing.print_table(("id", "outcome"), outcomes.items())
    return EXIT_FAILED if ChangeOutcome.MISSING in changed.values() else EXIT_DONE


def _note(crm: Crm, arguments: argparse.Namespace) -> int:
    note = add_note(crm.entities, crm.spool, arguments.id, arguments.text, actor=find_actor(arguments.actor))
    if note is None:
        print(f"leadcrm: there is no lead under the id {arguments.id}", file=sys.stderr)
        return EXIT_FAILED
    document = event_document(note)
    if arguments.json:
        printing.print_json(document)
    else:
        printing.print_record(document)
    return EXIT_DONE


def _next(crm: Crm, arguments: argparse.Namespace) -> int:
    closed = [status.name for status in crm.config.statuses if status.meaning != "open"]
    lead = take_next(crm.entities, find_actor(arguments.actor), closed)
    document = lead and lead_document(lead)
    if arguments.json:
        printing.print_json({"lead": document})
    elif document is None:
        print("leadcrm: every lead has somebody", file=sys.stderr)
    else:
        printing.print_record(document)
    return EXIT_DONE if document else EXIT_FAILED
