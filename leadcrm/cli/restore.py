"""Put a backup in the place of the embedded database. The old one is kept beside it.

Stop the server first. Refused while the spool has rows, which belong to the database that is there now; unless that is
damaged: then they go to the restored one, and rows that can still be read in the damaged one are added to it. Rows of
FILE.spool, which the database refused when the backup was made, go to the spool.

examples:
  leadcrm restore /var/backups/leadcrm-2026-01-31.db
  leadcrm restore /var/backups/leadcrm-2026-01-31.db --yes
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from leadcrm.cli import configuration
from leadcrm.cli.printing import progress
from leadcrm.errors import EXIT_DONE
from leadcrm.operations.backup import restore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a backup")
    parser.add_argument("--yes", action="store_true", help="yes, in the place of the leads that are there")
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Restore the backup."""
    config = configuration.read(arguments, environ, directory)
    with progress("copying") as on_progress:
        restored = restore(config, (directory / arguments.file).absolute(), on_progress, may_replace=arguments.yes)
    print(f"{config.database.redacted} is restored and verified")
    if restored.salvaged:
        print(f"{restored.salvaged} rows that the backup lacked were salvaged from the damaged one")
    if restored.kept is not None:
        print(f"the old one is kept as {restored.kept}")
    if restored.to_spool:
        print(f"{restored.to_spool} rows of {arguments.file}.spool are in the spool: the server tries them again")
    print("what was erased after the backup is back, and tokens that were revoked: erase and revoke them again")
    return EXIT_DONE
