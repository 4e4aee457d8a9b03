"""List sinks, show one, check a text of SINKS_FILE, or send a sink a test.

`test` sends a lead of nobody and prints the receiver's answer; exit status 1 if it refuses. Where its receiver takes
the test, a sink that was disabled is enabled again, and one that rests is tried at once.

examples:
  leadcrm sinks list
  leadcrm sinks show crm
  leadcrm sinks check ./sinks.toml
  leadcrm sinks test crm
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from leadcrm.cli import configuration, printing
from leadcrm.configuration.config import Config
from leadcrm.database.entities import Entities
from leadcrm.database.migrations import status
from leadcrm.database.sessions import bind
from leadcrm.delivery.attempt import Attempt
from leadcrm.delivery.definition import read_sinks, unsigned_of
from leadcrm.delivery.ledger import enable
from leadcrm.delivery.people import example_event, read_sink_documents, sink_document
from leadcrm.delivery.sending import deliver
from leadcrm.delivery.sink import Sink
from leadcrm.delivery.versions import read_version
from leadcrm.errors import EXIT_CONFIG, EXIT_DONE, EXIT_FAILED, EXIT_USAGE, LeadcrmError, SinksFault

_COLUMNS = ("sink", "kind", "host", "state", "unread", "delivered", "waiting", "dead", "oldest", "lastAnswer")
"""Of the table for people."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|check|test")
    listing = actions.add_parser("list", help="the sinks of SINKS_FILE and how far they are", allow_abbrev=False)
    show = actions.add_parser("show", help="a sink, with its last answer", allow_abbrev=False)
    check = actions.add_parser("check", help="every fault of a text, with its line", allow_abbrev=False)
    check.add_argument("file", nargs="?", type=Path, help="the text (default: SINKS_FILE)")
    test = actions.add_parser("test", help="send a lead of nobody and print the answer", allow_abbrev=False)
    for action in (show, test):
        action.add_argument("name")
    for action in (listing, show, check, test):
        action.add_argument("--json", action="store_true", help="print JSON for programs")
        configuration.add_flags(action)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """List, show, check or test."""
    config = configuration.read(arguments, environ, directory)
    if arguments.action == "check":
        return _check(config, arguments)
    sinks = {} if config.sinks_file is None else read_sinks(config.sinks_file)
    if arguments.action == "list":
        return _list(config, sinks, arguments)
    sink = sinks.get(arguments.name)
    if sink is None:
        print(f"leadcrm: SINKS_FILE has no sink {arguments.name!r}", file=sys.stderr)
        return EXIT_FAILED
    return {"show": _show, "test": _test}[arguments.action](config, sink, arguments)


def _list(config: Config, sinks: Mapping[str, Sink], arguments: argparse.Namespace) -> int:
    documents = _documents(config, sinks)
    if arguments.json:
        printing.print_json(documents)
    elif documents:
        printing.print_table(_COLUMNS, ([document.get(name) for name in _COLUMNS] for document in documents))
        if told := _told_version(config, sinks):
            print(told)
    return EXIT_DONE


def _show(config: Config, sink: Sink, arguments: argparse.Namespace) -> int:
    (document,) = _documents(config, {sink.name: sink})
    (printing.print_json if arguments.json else printing.print_record)(document)
    return EXIT_DONE


@contextmanager
def _database(config: Config) -> Iterator[Entities | None]:
    """Hold the database; None where its schema is older than this program."""
    entities = bind(config.database)
    try:
        yield None if status(config.database)[1] else entities
    finally:
        entities.database.disconnect()


def _documents(config: Config, sinks: Mapping[str, Sink]) -> list[dict[str, Any]]:
    """Return the sinks with what the database knows of them; without that while it is away."""
    try:
        with _database(config) as entities:
            if entities is not None:
                return read_sink_documents(entities, sinks)
    except LeadcrmError as error:
        print(f"leadcrm: {error}", file=sys.stderr)
    return [sink_document(sink) for sink in sinks.values()]


def _told_version(config: Config, sinks: Mapping[str, Sink]) -> str:
    """Return a sentence on whether a server has taken these sinks; nothing while the database is away."""
    with suppress(LeadcrmError), _database(config) as entities:
        if entities is not None:
            version = read_version(entities, sinks)
            if version is None:
                return "no server has taken these sinks yet"
            return f"version {version.number}, first in force at {version.taken_at:%Y-%m-%d %H:%M} UTC"
    return ""


def _check(config: Config, arguments: argparse.Namespace) -> int:
    path = arguments.file or config.sinks_file
    if path is None:
        print("leadcrm: name a file, or set SINKS_FILE", file=sys.stderr)
        return EXIT_USAGE
    faults: tuple[str, ...] = ()
    sinks: Mapping[str, Sink] = {}
    try:
        # As a server takes a text that is changed.
        sinks = read_sinks(path.absolute(), may_be_empty=False)
    except SinksFault as fault:
        faults = fault.faults
    unsigned = unsigned_of(sinks)
    if arguments.json:
        printing.print_json({"ok": not faults, "faults": faults, "sinks": len(sinks), "unsigned": unsigned})
    else:
        for text in faults:
            print(f"{path}: {printing.harmless(text)}")
        for name in unsigned:
            print(f"{path}: sink {name} signs nothing: without a secret its receiver cannot tell who sends")
        if not faults:
            print(f"{path}: {len(sinks)} sinks can be used")
    return EXIT_CONFIG if faults else EXIT_DONE


def _test(config: Config, sink: Sink, arguments: argparse.Namespace) -> int:
    attempt = deliver(sink, example_event())
    enabled = attempt.is_success and _enable(config, sink, attempt)
    document = {
        "sink": sink.name,
        "ok": attempt.is_success,
        "status": attempt.status,
        "answer": attempt.answer,
        "enabled": enabled,
    }
    if arguments.json:
        printing.print_json(document)
    else:
        printing.print_record(document)
    return EXIT_DONE if attempt.is_success else EXIT_FAILED


def _enable(config: Config, sink: Sink, attempt: Attempt) -> bool:
    """Enable a sink again if it was disabled; the database may be away, or not made yet."""
    with suppress(LeadcrmError), _database(config) as entities:
        return entities is not None and enable(entities, sink.name, attempt)
    return False
