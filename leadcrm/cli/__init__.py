"""The command line: arguments and printing, nothing else.

One file a command, imported only when that command runs, so that `leadcrm version` does not wait for a web
framework. A command's module has a docstring (its help, examples included), `add_arguments` and `run`.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
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
    _open_standard_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(words)
        # Here, where a full disk can be told; at its end the interpreter would only complain.
        sys.stdout.flush()
    except LeadcrmError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"leadcrm: {error}{hint}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader of a listing has seen enough.
        _discard_output()
        return EXIT_FAILED
    except OSError as error:
        _discard_output()
        where = f"{error.filename}: " if error.filename else ""
        print(f"leadcrm: {where}{error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def _run(words: list[str]) -> int:
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
    parsed = parser.parse_args(words[1:])
    if name != "serve":
        _end_orderly()
    return int(command.run(parsed, os.environ, Path.cwd()))


def _open_standard_streams() -> None:
    """See that all three are open: what is opened first would else get the number of one that is not, and its text."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free is this one.
            os.open(os.devnull, os.O_RDWR)
    # Python has none where it found none.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_orderly() -> None:
    """Let a command that is told to end clear away what it has begun; Python does so for an interrupt alone."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda received, _: sys.exit(128 + received))


def _discard_output() -> None:
    """Let what could not be written go: the interpreter would try once more, and complain, at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


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
