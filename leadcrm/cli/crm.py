"""The open database and the flags of the filter, for all commands of the CRM."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from leadcrm.cli import configuration
from leadcrm.configuration.config import Config
from leadcrm.configuration.time_zone import UTC, TimeZone
from leadcrm.crm.documents import COLUMN_OF_NAME
from leadcrm.crm.leads import CONTAINED_COLUMNS, FILTER_COLUMNS, MAX_ROWS, LeadFilter, texts_by_column
from leadcrm.crm.person import Person
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.times import AskedTime, now, parse_asked
from leadcrm.database.entities import Entities
from leadcrm.database.migrations import status
from leadcrm.database.sessions import WHOLE_TIMEOUT_S, bind
from leadcrm.database.standby import bind_for_reading
from leadcrm.delivery.definition import read_sinks
from leadcrm.delivery.sink import Sink
from leadcrm.errors import SchemaTooOld, SinksFault


@dataclass(frozen=True, slots=True)
class Crm:
    """The open database and this node's spool."""

    config: Config
    entities: Entities
    spool: SpoolReader

    @property
    def zone(self) -> TimeZone:
        """Return whose days and times people mean."""
        return self.config.time_zone or UTC


@contextmanager
def open_crm(
    arguments: argparse.Namespace,
    environ: Mapping[str, str],
    directory: Path,
    *,
    reads_alone: bool = False,
    reads_all: bool = False,
) -> Iterator[Crm]:
    """Open the configured database, or the standby for a command that only reads.

    With `reads_all` a statement may take as long as one that goes through whole tables.

    Raises:
        ConfigError: The configuration is wrong.
        SchemaTooOld: Migrations are pending.
        StoreUnavailable: The database cannot be reached.
    """
    config = configuration.read(arguments, environ, directory)
    if reads_all:
        entities, url = bind(config.database, timeout_s=WHOLE_TIMEOUT_S), config.database
    else:
        entities, url = bind_for_reading(config.standby if reads_alone else None, config.database)
    try:
        _, pending = status(url)
        if any(step.is_required for step in pending):
            raise SchemaTooOld("the database's schema is older than this program needs", hint="leadcrm migrate")
        yield Crm(config, entities, SpoolReader(config.data_dir))
    finally:
        entities.database.disconnect()


def sinks_of(config: Config) -> Mapping[str, Sink]:
    """Return the sinks; none while the file has a fault, which `leadcrm sinks check` names."""
    try:
        return {} if config.sinks_file is None else read_sinks(config.sinks_file)
    except SinksFault:
        return {}


def parse_id(text: str) -> UUID:
    """Read an id from the command line."""
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no id, such as 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e") from None


def parse_limit(text: str) -> int:
    """Read the number of rows of a page."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_ROWS:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {MAX_ROWS} is accepted")
    return int(text)


def add_person(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that name a person."""
    parser.add_argument("--email", metavar="TEXT", help="everything with this address, in any case")
    parser.add_argument("--phone", metavar="TEXT", help="everything with this number, however it is written")


def parse_person(arguments: argparse.Namespace) -> Person | None:
    """Return the person that the flags name; None if that is nobody who can be looked for."""
    person = Person(arguments.email, arguments.phone)
    return person if person.is_known else None


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of the filter."""
    group = parser.add_argument_group(
        "which leads (every flag narrows; a repeated one widens; dates are days of TIME_ZONE)"
    )
    for column in FILTER_COLUMNS:
        flag = f"--{column.replace('_', '-')}"
        group.add_argument(flag, action="append", default=[], metavar="TEXT", help="exactly this; '' for none")
    group.add_argument(
        "--contains",
        action="append",
        default=[],
        type=_parse_contains,
        metavar="COLUMN:TEXT",
        help="a part of a column's text, in any case, as in offer:gold",
    )
    group.add_argument("--from", dest="since", type=parse_asked_since, metavar="TIME", help="since this date or time")
    group.add_argument(
        "--to", dest="until", type=_parse_until, metavar="TIME", help="until the end of this date, or a time"
    )
    group.add_argument("--email", metavar="TEXT", help="this address, in any case")
    group.add_argument("--tests", choices=("include", "only"), help="the senders' test leads too, or alone")
    group.add_argument("--phone", metavar="TEXT", help="this number, however it is written")
    group.add_argument("--due", type=_parse_due, metavar="TIME", help="the next call is due by then; or: now")
    group.add_argument("-q", metavar="TEXT", help="how an email or a last name begins, or a phone by its digits")


def parse_filter(arguments: argparse.Namespace, zone: TimeZone) -> LeadFilter:
    """Return the filter that the flags describe; dates are those of a zone."""
    values = ((column, tuple(getattr(arguments, column))) for column in FILTER_COLUMNS)
    return LeadFilter(
        values=tuple((column, texts) for column, texts in values if texts),
        contains=texts_by_column(arguments.contains),
        since=arguments.since and arguments.since(zone),
        until=arguments.until and arguments.until(zone),
        email=arguments.email,
        phone=arguments.phone,
        tests=arguments.tests,
        due=arguments.due and arguments.due(zone),
        q=arguments.q or None,
    )


def _parse_contains(text: str) -> tuple[str, str]:
    name, _, part = text.partition(":")
    column = COLUMN_OF_NAME.get(name, name)
    if column not in CONTAINED_COLUMNS or not part:
        raise argparse.ArgumentTypeError(f"{text!r} is no column with a part of its text, such as offer:gold")
    return column, part


def parse_asked_since(text: str) -> AskedTime:
    """Read the beginning of a period."""
    return _parse_asked(text, is_end=False)


def _parse_until(text: str) -> AskedTime:
    return _parse_asked(text, is_end=True)


def _parse_due(text: str) -> AskedTime:
    return (lambda _zone: now()) if text == "now" else _parse_asked(text, is_end=True)


def _parse_asked(text: str, *, is_end: bool) -> AskedTime:
    try:
        return parse_asked(text, is_end=is_end)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}") from None
