"""Print the versions of leadcrm, Python and the libraries.

examples:
  leadcrm version
  leadcrm version --json
"""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from leadcrm import __version__
from leadcrm.errors import EXIT_DONE

_LIBRARIES = ("sanic", "pony", "psycopg2-binary", "uvloop", "orjson")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Print the versions."""
    versions = {"leadcrm": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "unknown"
    if arguments.json:
        print(json.dumps(versions))
    else:
        for name, number in versions.items():
            print(f"{name} {number}")
    return EXIT_DONE
