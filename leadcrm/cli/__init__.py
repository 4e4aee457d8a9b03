"""The command line: it parses arguments, calls the other rooms and prints.

Each command is one file, imported only when that command runs, so that `leadcrm version` does not wait for a web
framework. Its module has a docstring (the help, with examples), `add_arguments` and `run`.
"""

from __future__ import annotations

import argparse
import gc
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
        "leads": "list leads, show, change or note one, or take the next",
        "feed": "print what became true of leads, in order, as JSON lines",
        "export": "write leads as CSV or NDJSON",
        "raw": "list requests as they were kept, or show one",
        "replay": "make leads of requests that are none",
        "sources": "list sources and presets, check SOURCES_FILE, try what a source makes of a body",
        "renormalize": "read old leads again by the mapping and the rules of now",
        "person": "print everything kept of a person",
        "erase": "erase leads and requests by id, or everything of a person",
        "prune": "erase what arrived long ago",
        "sinks": "list sinks, show one, check SINKS_FILE, or send a sink a test",
        "deliveries": "list what has not arrived at a sink, try it again, or drop it",
        "token": "give people and programs tokens for the CRM, list them, or take them back",
        "audit": "show who read, exported, changed or erased what",
        "check": "check configuration, database, spool, disk and clock, with a hint for each fault",
        "verify": "verify that every acknowledged lead is there",
        "spool": "show the rows that wait on local disk for the database, or drain them",
        "backup": "copy the embedded database, online",
        "restore": "put a backup in the place of the embedded database",
        "version": "print the versions of leadcrm, Python and the libraries",
    }
)
"""Every command and what it does, in the order of the help."""

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    _open_standard_streams()
    # Every file that is made holds leads, or lies beside such files.
    os.umask(0o077)
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(words)
        # Flush here, where a full disk can be reported; at its end the interpreter would print a traceback.
        sys.stdout.flush()
    except LeadcrmError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"leadcrm: {error}{hint}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed the pipe: it has what it wanted.
        _discard_output()
        return EXIT_DONE
    except OSError as error:
        _discard_output()
        where = f"{error.filename}: " if error.filename else ""
        print(f"leadcrm: {where}{error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def _run(words: list[str]) -> int:
    for word in words:
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            # Neither a database nor an answer as JSON could hold it.
            print(f"leadcrm: the argument {word!a} is no UTF-8 text", file=sys.stderr)
            return EXIT_USAGE
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return EXIT_DONE if words else EXIT_USAGE
    name = "version" if words[0] == "--version" else words[0]
    if name not in COMMANDS:
        print(f"leadcrm: there is no command {name!r}; {_suggest(name)}", file=sys.stderr)
        return EXIT_USAGE
    command = import_module(f"leadcrm.cli.{name}")
    # The entry point has switched both off for the imports.
    gc.enable()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
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


def _suggest(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

    close = get_close_matches(name, COMMANDS, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the commands are {', '.join(COMMANDS)}"


def _open_standard_streams() -> None:
    """Open those that are closed: otherwise the next file opened gets fd 1 or 2 and receives our output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # `open` takes the lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)
    # Python sets a stream to None where its descriptor was closed at the start.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_orderly() -> None:
    """Exit on SIGTERM and SIGHUP as on an interrupt, so that `finally` blocks run and remove unfinished files."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda received, _: sys.exit(128 + received))


def _discard_output() -> None:
    """Drop the output that could not be written: the interpreter would try again at its end, and fail loudly."""
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
