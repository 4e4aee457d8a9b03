"""Run the server until SIGTERM or SIGINT.

Applies pending migrations first. Starts even while the database is away: leads then go to the spool.

examples:
  leadcrm serve
  leadcrm serve --port 8080 --workers 2
  DATABASE_URL=postgresql://leadcrm@localhost/leadcrm leadcrm serve
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from leadcrm.cli import configuration
from leadcrm.logs import setup as logs
from leadcrm.process.service import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--no-migrate", action="store_true", help="do not apply pending migrations")
    configuration.add_flags(parser, are_listed=True)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Serve until a signal stops it."""
    config = configuration.read(arguments, environ, directory)
    log = logs.configure(config.log_level, config.environment == "development")
    try:
        return serve(config, log, environ, may_migrate=not arguments.no_migrate)
    finally:
        log.close()
