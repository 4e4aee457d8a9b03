"""Prove the promise: every raw row's bytes against its hash, every stored row its lead, every count.

Prints a ledger a day (UTC): received = created + repeats + conflicts + invalid + failed + spooled, where "received" is
what each commit counted and the rest is what is there. A server may run meanwhile. Exit status 1 if anything is off,
with the rows named.

examples:
  leadcrm verify
  leadcrm verify --json
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from leadcrm.cli import configuration
from leadcrm.cli.printing import print_json, print_table, progress
from leadcrm.database.migrations import status
from leadcrm.database.sessions import bind
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, SchemaTooOld
from leadcrm.ingest.ingestion import open_spool, prepare_spool
from leadcrm.operations.verification import OUTCOMES, Verification, verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Verify."""
    config = configuration.read(arguments, environ, directory)
    prepare_spool(config)
    entities = bind(config.database)
    try:
        if status(config.database)[1]:
            raise SchemaTooOld("the database's schema is older than this program needs", hint="leadcrm migrate")
        with progress("verifying") as on_progress:
            found = verify(entities, open_spool(config), on_progress)
    finally:
        entities.database.disconnect()
    if arguments.json:
        print_json(_document(found))
    else:
        _print(found)
    return EXIT_FAILED if found.problems else EXIT_DONE


def _document(found: Verification) -> dict[str, object]:
    return {
        "ok": not found.problems,
        "rows": found.rows,
        "days": [
            {"day": day, "received": entry.received, **{name: entry.outcomes[name] for name in OUTCOMES}}
            for day, entry in found.days.items()
        ],
        "problems": [{"where": problem.where, "what": problem.what} for problem in found.problems],
    }


def _print(found: Verification) -> None:
    rows = [
        (day, entry.received, *(entry.outcomes[name] for name in OUTCOMES), "" if entry.adds_up else "DOES NOT ADD UP")
        for day, entry in found.days.items()
    ]
    print_table(("day", "received", *OUTCOMES, ""), rows)
    for problem in found.problems:
        print(f"{problem.where}  {problem.what}")
    if found.problems:
        print(f"{found.rows} rows, {len(found.problems)} problems")
    else:
        print(f"{found.rows} rows: every hash, every lead and every count is right")
