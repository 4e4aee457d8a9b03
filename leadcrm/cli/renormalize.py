"""Read old leads again by the mapping and the rules of now, and change the columns that differ.

What people set stays. Each changed column is an event in the lead's history. Pages are committed one by one: if the
command is interrupted, run it again. Without --source, all leads are read, but for those of sources that were taken
out of SOURCES_FILE: their mapping is gone.

examples:
  leadcrm renormalize --source typeform-baltic --dry-run
  leadcrm renormalize --source typeform-baltic --since 2026-11-01
  leadcrm renormalize --source api --dry-run --json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from rich.console import Console

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import open_crm
from leadcrm.cli.who import find_actor
from leadcrm.crm.audit import Action, record
from leadcrm.crm.renormalize import Report, renormalize
from leadcrm.crm.times import parse_moment
from leadcrm.database.sessions import session
from leadcrm.errors import EXIT_DONE, EXIT_FAILED
from leadcrm.ingest.opening import open_sources
from leadcrm.ingest.submission import API_SOURCE

_SAMPLE_CHARACTERS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--source", metavar="NAME", help="leads of this source; api for /api/lead")
    parser.add_argument("--since", type=_parse_since, metavar="TIME", help="that arrived since this date or time (UTC)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Renormalize, and print what became of each column."""
    console = Console(stderr=True)
    with open_crm(arguments, environ, directory) as crm, console.status("reading leads") as shown:
        if not console.is_terminal:
            shown.stop()
        sources = open_sources(crm.config)
        names = [API_SOURCE, *sources.names]
        if arguments.source is not None and arguments.source not in names:
            print(
                f"leadcrm: SOURCES_FILE has no source {arguments.source!r}; there are: {', '.join(names)}",
                file=sys.stderr,
            )
            return EXIT_FAILED
        if not arguments.dry_run:
            with session(crm.entities, writes=True):
                detail = {"command": "renormalize", "source": arguments.source}
                record(crm.entities, find_actor(), Action.CHANGE, detail=detail)
        report = renormalize(
            crm.entities,
            sources,
            source=arguments.source,
            since=arguments.since,
            max_decoded_bytes=crm.config.max_body_bytes,
            is_dry_run=arguments.dry_run,
            on_page=lambda leads: shown.update(f"{leads} leads read"),
        )
    if arguments.json:
        printing.print_json({"dryRun": arguments.dry_run, **_document(report)})
    else:
        _print(report, is_dry_run=arguments.dry_run)
    return EXIT_DONE


def _document(report: Report) -> dict[str, object]:
    return {
        "leads": report.leads,
        "changed": report.changed,
        "noLeads": report.no_leads,
        "columns": {
            column: {
                "filled": counts.filled,
                "changed": counts.changed,
                "emptied": counts.emptied,
                "kept": counts.kept,
                "samples": [
                    {"id": sample.id, "from": sample.from_value, "to": sample.to_value} for sample in counts.samples
                ],
            }
            for column, counts in report.columns.items()
        },
    }


def _print(report: Report, *, is_dry_run: bool) -> None:
    verb = "would change" if is_dry_run else "changed"
    print(f"{report.leads} leads read, {report.changed} {verb}")
    if report.no_leads:
        print(f"{report.no_leads} would be no leads now, and stay as they are")
    if not report.columns:
        return
    print()
    printing.print_table(
        ("column", "NULL to value", "value to other", "value to NULL", "kept: people set it"),
        [(name, each.filled, each.changed, each.emptied, each.kept) for name, each in report.columns.items()],
    )
    samples = [
        (name, sample.id, _short(sample.from_value), _short(sample.to_value))
        for name, counts in report.columns.items()
        for sample in counts.samples
    ]
    if samples:
        print()
        printing.print_table(("column", "id", "from", "to"), samples)


def _short(value: str | None) -> str:
    return "NULL" if value is None else repr(value[:_SAMPLE_CHARACTERS])


def _parse_since(text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}") from None
