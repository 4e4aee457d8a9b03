"""Verify that every raw row has its bytes, every stored row its lead, every lead its event, and that all counts add up.

Prints the ledger of each day (UTC): received = created + repeats + conflicts + invalid + failed + spooled and what
sources keep besides, where "received" was counted by each commit and the rest are the rows that are there. A server may
run meanwhile. Exit status 1 if anything is wrong, with the rows named.

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
from leadcrm.database.sessions import WHOLE_TIMEOUT_S, bind
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, SchemaTooOld
from leadcrm.ingest.opening import open_spool, prepare_spool
from leadcrm.operations.verification import OUTCOMES, Verification, verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Verify, and print the ledger and every problem."""
    config = configuration.read(arguments, environ, directory)
    prepare_spool(config)
    entities = bind(config.database, timeout_s=WHOLE_TIMEOUT_S)
    try:
        if any(step.is_required for step in status(config.database)[1]):
            raise SchemaTooOld("the database's schema is older than this program needs", hint="leadcrm migrate")
        with progress("verifying") as on_progress:
            verification = verify(entities, open_spool(config), on_progress, database=config.database.path)
    finally:
        entities.database.disconnect()
    if arguments.json:
        print_json(_document(verification))
    else:
        _print(verification)
    return EXIT_FAILED if verification.problems else EXIT_DONE


def _document(verification: Verification) -> dict[str, object]:
    return {
        "ok": not verification.problems,
        "rows": verification.rows,
        "refused": verification.refused,
        "days": [
            {"day": day, "received": entry.received, **{name: entry.outcomes[name] for name in OUTCOMES}}
            for day, entry in verification.days.items()
        ],
        "problems": [{"where": problem.where, "what": problem.what} for problem in verification.problems],
    }


def _print(verification: Verification) -> None:
    rows = [
        (day, entry.received, *(entry.outcomes[name] for name in OUTCOMES), "" if entry.adds_up else "DOES NOT ADD UP")
        for day, entry in verification.days.items()
    ]
    print_table(("day", "received", *OUTCOMES, ""), rows)
    for problem in verification.problems:
        print(f"{problem.where}  {problem.what}")
    if verification.problems:
        print(f"{verification.rows} rows, {len(verification.problems)} problems")
    else:
        print(f"{verification.rows} rows: every hash, every lead, every event and every count is right")
    if verification.refused:
        print(f"{verification.refused} rows wait in the spool because the database refuses them: leadcrm spool status")
    if failed := sum(day.outcomes["failed"] for day in verification.days.values()):
        print(f"{failed} rows are kept but are no lead yet: leadcrm raw list --state failed, then leadcrm replay")
