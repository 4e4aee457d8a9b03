"""Apply pending migrations, list all migrations, or drop and recreate every table.

--from-original takes over the database of the original Node service: its tables are renamed to original_leads_raw and
original_leads, and its leads and keys are copied, so that an old Idempotency-Key still gets 409 with the old id.
Stop the original service first.

examples:
  leadcrm migrate
  leadcrm migrate status
  leadcrm migrate reset --yes
  leadcrm migrate --from-original
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from leadcrm.cli import configuration
from leadcrm.configuration.config import Config
from leadcrm.database import migrations
from leadcrm.database.data_dir import make_data_dir
from leadcrm.database.migrations.original import take_over
from leadcrm.database.used_databases import note_renewal
from leadcrm.errors import EXIT_DONE, EXIT_USAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("action", nargs="?", default="apply", choices=("apply", "status", "reset"))
    parser.add_argument("--yes", action="store_true", help="with reset: yes, delete every lead")
    parser.add_argument("--from-original", action="store_true", help="take over the original service's database")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Apply, list or reset."""
    if arguments.from_original and arguments.action != "apply":
        print(f"leadcrm: --from-original does not go with {arguments.action}", file=sys.stderr)
        return EXIT_USAGE
    config = configuration.read(arguments, environ, directory)
    if config.uses_data_dir:
        make_data_dir(config.data_dir)
    if arguments.action == "status":
        return _status(config, as_json=arguments.json)
    if arguments.action == "reset":
        return _reset(config, is_sure=arguments.yes)
    if arguments.from_original:
        return _take_over(config, as_json=arguments.json)
    applied = migrations.migrate(config.database)
    if arguments.json:
        print(json.dumps([{"version": step.version, "name": step.name} for step in applied]))
        return EXIT_DONE
    for step in applied:
        print(f"applied {step.version:04} {step.name}")
    print(f"{'migrated' if applied else 'nothing to apply'}: {config.database.redacted}")
    return EXIT_DONE


def _take_over(config: Config, *, as_json: bool) -> int:
    taken = take_over(config.database)
    if as_json:
        print(json.dumps({"leads": taken.leads, "without_lead": taken.without_lead}))
    else:
        told = f"took over {taken.leads} leads, and {taken.without_lead} requests that had none"
        print(f"{told}, into {config.database.redacted}")
    return EXIT_DONE


def _reset(config: Config, *, is_sure: bool) -> int:
    if not is_sure:
        print(f"This deletes every lead in {config.database.redacted}. To do it: leadcrm migrate reset --yes")
        return EXIT_USAGE
    migrations.reset(config.database)
    note_renewal(config.data_dir, config.database.place)
    print(f"dropped and made anew: {config.database.redacted}")
    return EXIT_DONE


def _status(config: Config, *, as_json: bool) -> int:
    applied, pending = migrations.status(config.database)
    if as_json:
        finished = [{"version": row.version, "name": row.name, "applied_at": row.applied_at} for row in applied]
        waiting = [{"version": step.version, "name": step.name} for step in pending]
        print(json.dumps({"applied": finished, "pending": waiting}))
        return EXIT_DONE
    for row in applied:
        print(f"{row.version:04} {row.name}  applied {row.applied_at}")
    for step in pending:
        print(f"{step.version:04} {step.name}  pending")
    return EXIT_DONE
