"""Show who read, exported, changed, replayed or erased what, and who gave whom a token.

The newest entry comes first. An entry quotes no lead: of a search it says that there was one. The same reading again
within an hour is one entry. Entries are kept for AUDIT_DAYS.

examples:
  leadcrm audit
  leadcrm audit --actor anna --since 2026-11-01
  leadcrm audit --action export --json
  leadcrm audit --lead 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import open_crm, parse_asked_since, parse_id, parse_limit
from leadcrm.cli.who import record_reading
from leadcrm.crm.audit import Action, AuditFilter, entry_document, list_entries
from leadcrm.errors import EXIT_DONE

_COLUMNS = ("at", "actor", "via", "claimed", "action", "leadId", "detail")
"""Of the table for people."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--actor", metavar="NAME", help="of this person, program or user of the machine")
    parser.add_argument("--action", choices=[action.value for action in Action], metavar="ACTION", help=_ACTIONS)
    parser.add_argument("--lead", type=parse_id, metavar="ID", help="about this lead or request")
    parser.add_argument("--since", type=parse_asked_since, metavar="TIME", help="since this date or time")
    parser.add_argument("--limit", type=parse_limit, default=100, metavar="N", help="(default: 100)")
    parser.add_argument("--cursor", type=parse_id, metavar="ID", help="go on where a page of --json ended")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    configuration.add_flags(parser)


_ACTIONS = f"one of: {', '.join(action.value for action in Action)}"


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Print the entries."""
    with open_crm(arguments, environ, directory) as crm:
        since = arguments.since and arguments.since(crm.zone)
        narrowing = AuditFilter(arguments.actor, arguments.action, arguments.lead, since)
        record_reading(crm, Action.AUDIT)
        entries, following = list_entries(crm.entities, narrowing, limit=arguments.limit, before=arguments.cursor)
    documents = [entry_document(entry) for entry in entries]
    if arguments.json:
        printing.print_json({"entries": documents, "next": following})
        return EXIT_DONE
    rows = ({**document, "detail": _short(document["detail"])} for document in documents)
    printing.print_table(_COLUMNS, ([row[name] for name in _COLUMNS] for row in rows))
    return EXIT_DONE


def _short(detail: Mapping[str, object]) -> str:
    return json.dumps(dict(detail), ensure_ascii=False) if detail else ""
