"""Copy the embedded database and the rows of the spool into one file: online, consistent and verified.

For PostgreSQL there is pg_dump.

examples:
  leadcrm backup /var/backups/leadcrm-$(date +%F).db
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from leadcrm.cli import configuration
from leadcrm.cli.printing import print_json, progress
from leadcrm.errors import EXIT_DONE
from leadcrm.operations.backup import back_up


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="where to; must not exist")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Write the backup."""
    config = configuration.read(arguments, environ, directory)
    with progress("copying") as on_progress:
        backup = back_up(config, (directory / arguments.file).absolute(), on_progress)
    if arguments.json:
        print_json(
            {
                "file": str(backup.path),
                "rows": backup.rows,
                "from_spool": backup.from_spool,
                "refused_beside": backup.refused_beside and str(backup.refused_beside),
            }
        )
        return EXIT_DONE
    if backup.refused_beside is not None:
        print(f"{backup.refused_beside}: a copy of the spool, for rows in it that the database refuses; keep both")
    print(f"{backup.path}: {backup.rows} raw rows, {backup.from_spool} of them from the spool; verified")
    return EXIT_DONE
