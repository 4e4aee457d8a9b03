"""List what has not arrived at a sink, have it tried again, or drop it.

A delivery waits while it is tried again by the schedule; after the last attempt it is dead, and stays until it is
retried or dropped here. `retry --since` takes all of the events from a time on. `drop --sink` alone also gives up what
a sink had not read that SINKS_FILE does not have any more.

examples:
  leadcrm deliveries list --sink crm --state dead
  leadcrm deliveries retry 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e
  leadcrm deliveries retry --sink crm --since 2026-01-15
  leadcrm deliveries drop --sink crm --state dead
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import open_crm, parse_asked_since, parse_id, parse_limit, sinks_of
from leadcrm.cli.who import record_reading
from leadcrm.crm.audit import Action
from leadcrm.delivery.ledger import DEAD, WAITING
from leadcrm.delivery.people import Chosen, drop_deliveries, hindrances, list_deliveries, retry_deliveries
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE

_COLUMNS = ("id", "sink", "state", "type", "leadId", "at", "attempts", "nextAt", "status", "answer")
"""Of the table for people."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|retry|drop")
    listing = actions.add_parser("list", help="the newest that have not arrived", allow_abbrev=False)
    listing.add_argument("--limit", type=parse_limit, default=100, metavar="N", help="(default: 100)")
    retry = actions.add_parser("retry", help="try again at once", allow_abbrev=False)
    drop = actions.add_parser("drop", help="give up", allow_abbrev=False)
    for action in (listing, retry, drop):
        action.add_argument("--state", choices=(WAITING, DEAD))
    for action in (retry, drop):
        action.add_argument("ids", nargs="*", type=parse_id, metavar="ID")
        action.add_argument("--since", type=parse_asked_since, metavar="TIME", help="of events from this time on")
    for action in (listing, retry, drop):
        action.add_argument("--sink", metavar="NAME")
        action.add_argument("--json", action="store_true", help="print JSON for programs")
        configuration.add_flags(action)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """List, retry or drop."""
    if arguments.action != "list" and not (arguments.ids or arguments.sink or arguments.state or arguments.since):
        print("leadcrm: name deliveries, or --sink, --state or --since", file=sys.stderr)
        return EXIT_USAGE
    with open_crm(arguments, environ, directory) as crm:
        if arguments.action == "list":
            chosen = Chosen(sink=arguments.sink, state=arguments.state)
            documents = list_deliveries(crm.entities, chosen, limit=arguments.limit)
            if arguments.json:
                printing.print_json(documents)
            elif documents:
                printing.print_table(_COLUMNS, ([document[name] for name in _COLUMNS] for document in documents))
            return EXIT_DONE
        sinks = sinks_of(crm.config)
        change = retry_deliveries if arguments.action == "retry" else partial(drop_deliveries, sinks=sinks)
        since = arguments.since and arguments.since(crm.zone)
        chosen = Chosen(arguments.ids, arguments.sink, arguments.state, since)
        record_reading(crm, Action.RETRY if arguments.action == "retry" else Action.DROP, arguments)
        changed = change(crm.entities, chosen).number
        hindered = hindrances(crm.entities, sinks, chosen) if arguments.action == "retry" else {}
    if arguments.json:
        printing.print_json({"changed": changed})
    else:
        print(f"{changed} deliveries {'are tried again' if arguments.action == 'retry' else 'were dropped'}")
    for name, why in hindered.items():
        print(f"leadcrm: nothing is sent to {name}: {why}", file=sys.stderr)
    return EXIT_FAILED if arguments.ids and changed < len(set(arguments.ids)) else EXIT_DONE
