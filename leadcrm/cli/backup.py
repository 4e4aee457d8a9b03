"""Copy the embedded database into one file, online, consistent and verified, with what waits in the spool.

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
    """Back up."""
    config = configuration.read(arguments, environ, directory)
    with progress("copying") as on_progress:
        done = back_up(config, (directory / arguments.file).absolute(), on_progress)
    if arguments.json:
        print_json(
            {
                "file": str(done.path),
                "rows": done.rows,
                "from_spool": done.from_spool,
                "refused_beside": done.refused_beside and str(done.refused_beside),
            }
        )
        return EXIT_DONE
    if done.refused_beside is not None:
        print(f"{done.refused_beside}: a copy of the spool, for rows in it that the database refuses")
    print(f"{done.path}: {done.rows} raw rows, {done.from_spool} of them from the spool; verified")
    return EXIT_DONE
