"""Write leads to stdout or a file, newest first, as they were at one moment.

CSV is for spreadsheets: UTF-8 with its mark, and an apostrophe in front of texts that would run as formulas. XLSX is a
workbook of text cells, up to 32,767 characters each. NDJSON is one JSON object a line, with every text as it
is stored and times in UTC, which in the others are those of TIME_ZONE.

examples:
  leadcrm export --format xlsx --output leads.xlsx
  leadcrm export --format csv --separator semicolon --output leads.csv
  leadcrm export --format ndjson --status new --from 2024-01-01 | jq .email
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import add_filter, open_crm, parse_filter
from leadcrm.cli.who import record_reading
from leadcrm.crm.audit import Action
from leadcrm.crm.export import export_leads
from leadcrm.crm.files import FORMATS, SEPARATORS, new_file
from leadcrm.errors import EXIT_DONE, EXIT_USAGE, LeadcrmError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--format", choices=tuple(FORMATS), required=True)
    parser.add_argument(
        "--separator",
        type=_separator,
        default="comma",
        metavar="|".join(SEPARATORS),
        help="of a CSV, as the spreadsheet expects it; the character itself will do (default: comma)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="a file to write (default: stdout)")
    add_filter(parser)
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Write the export."""
    is_for_people = arguments.output is None and sys.stdout.isatty()
    if is_for_people and arguments.format == "xlsx":
        print("leadcrm: a workbook is no text: name an --output", file=sys.stderr)
        return EXIT_USAGE
    with (
        open_crm(arguments, environ, directory, reads_alone=True) as crm,
        closing(
            export_leads(
                crm.entities,
                parse_filter(arguments, crm.zone),
                new_file(arguments.format, arguments.separator, crm.zone),
            )
        ) as pieces,
        _target(arguments.output) as target,
    ):
        record_reading(crm, Action.EXPORT, arguments)
        for piece in pieces if is_for_people else _with_progress(pieces):
            target.write(_harmless(piece) if is_for_people else piece)
    return EXIT_DONE


def _separator(word: str) -> str:
    names = {character: name for name, character in SEPARATORS.items()} | {name: name for name in SEPARATORS}
    if word not in names:
        raise argparse.ArgumentTypeError(f"{', '.join(SEPARATORS)} or the character itself is accepted")
    return names[word]


@contextmanager
def _target(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as device:
                yield device
            return
        # The name always has a whole file: the new one, or the one from before.
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            # Whatever the umask is, no other user may read leads.
            with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                yield file
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise LeadcrmError(f"{path} cannot be written: {error.strerror}") from error


def _harmless(piece: bytes) -> bytes:
    return "\n".join(map(printing.harmless, piece.decode("utf-8-sig").split("\n"))).encode()


def _with_progress(pieces: Iterator[bytes]) -> Iterator[bytes]:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} bytes"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("export", total=None)
        for piece in pieces:
            yield piece
            progress.advance(task, len(piece))
