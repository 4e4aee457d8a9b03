"""The command line: arguments and printing, nothing else.

One file a command, imported only when that command runs, so that `leadcrm version` does not wait for a web
framework. A command's module has a docstring (its help, examples included), `add_arguments` and `run`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from leadcrm.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, LeadcrmError

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "serve": "run the server",
        "migrate": "apply, list or reset the database's schema",
        "leads": "list leads, show one, change its status or assignment",
        "export": "write leads as CSV or NDJSON",
        "raw": "list and show requests as they were kept",
        "replay": "make leads of what was kept but is none",
        "check": "configuration, database, spool, disk and clock, and what to do where they fail",
        "verify": "prove that every lead that was acknowledged is there",
        "spool": "what waits on local disk for the database, and draining it",
        "backup": "copy the embedded database, online",
        "restore": "put a backup in the place of the embedded database",
        "version": "version, Python, libraries",
    }
)
"""Every command and what it does, in the order of the help."""

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return EXIT_DONE if words else EXIT_USAGE
    name = "version" if words[0] == "--version" else words[0]
    if name not in COMMANDS:
        print(f"leadcrm: there is no command {name!r}; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return EXIT_USAGE
    command = import_module(f"leadcrm.cli.{name}")
    parser = argparse.ArgumentParser(
        prog=f"leadcrm {name}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    try:
        return int(command.run(parser.parse_args(words[1:]), os.environ, Path.cwd()))
    except LeadcrmError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"leadcrm: {error}{hint}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader of a listing has seen enough; without this the interpreter complains once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [
        "usage: leadcrm COMMAND [--flag …]",
        "",
        "Sales leads arrive over HTTP and are never lost.",
        "",
        *(f"  {name:<{width}}{text}" for name, text in COMMANDS.items()),
        "",
        "leadcrm COMMAND --help says more, with examples.",
    ]
    return "\n".join(lines)
