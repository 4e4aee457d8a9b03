"""List sources, show one or a preset, check a text of SOURCES_FILE, or try what a source makes of a body.

`list` and `show` say what came in at each source in the last thirty days, and warn where one has fallen silent.

`try` reads a body from standard input, or a kept request with --raw, and prints its leads; nothing is stored.

examples:
  leadcrm sources list
  leadcrm sources list --presets
  leadcrm sources show google-ads
  leadcrm sources check ./sources.toml
  leadcrm sources try typeform-baltic < body.json
  leadcrm sources try landing --content-type application/x-www-form-urlencoded --query 'gclid=1' < body
  leadcrm sources try landing --raw 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import open_crm, parse_id
from leadcrm.configuration.config import Config
from leadcrm.crm.raw import get_raw
from leadcrm.crm.source_activity import Activity, activity_document, source_activities
from leadcrm.crm.source_pages import preset_document
from leadcrm.crm.sources import source_document, source_documents, try_body, try_kept
from leadcrm.database.sessions import bind
from leadcrm.errors import EXIT_CONFIG, EXIT_DONE, EXIT_FAILED, EXIT_USAGE, LeadcrmError, SourcesFault
from leadcrm.sources.catalogue import Catalogue, presets, read_catalogue

_COLUMNS = (
    "source",
    "preset",
    "title",
    "url",
    "enabled",
    "verify",
    "hasKey",
    "lastRequest",
    "lastLead",
    "leads",
    "warning",
)
"""Of the table for people."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|check|try")
    listing = actions.add_parser("list", help="the sources of SOURCES_FILE", allow_abbrev=False)
    listing.add_argument("--presets", action="store_true", help="what a source can begin with")
    show = actions.add_parser("show", help="a source, or a preset with what to do at the sender's", allow_abbrev=False)
    show.add_argument("name")
    check = actions.add_parser("check", help="every fault of a text, with its line", allow_abbrev=False)
    check.add_argument("file", nargs="?", type=Path, help="the text (default: SOURCES_FILE)")
    trial = actions.add_parser("try", help="what a source makes of a body", allow_abbrev=False)
    trial.add_argument("name")
    trial.add_argument("--raw", type=parse_id, metavar="ID", help="of a kept request, not of standard input")
    trial.add_argument("--content-type", default="", metavar="TEXT")
    trial.add_argument("--query", default="", metavar="TEXT", help="the query string")
    trial.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    for action in (listing, show, check, trial):
        action.add_argument("--json", action="store_true", help="print JSON for programs")
        configuration.add_flags(action)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """List, show, check or try."""
    actions = {"list": _list, "show": _show, "check": _check}
    if arguments.action in actions:
        return actions[arguments.action](configuration.read(arguments, environ, directory), arguments)
    if arguments.raw is not None:
        return _try_kept(arguments, environ, directory)
    return _try_input(configuration.read(arguments, environ, directory), arguments)


def _list(config: Config, arguments: argparse.Namespace) -> int:
    if arguments.presets:
        documents = [preset_document(name) for name in presets()]
    else:
        documents = _with_activities(config, source_documents(_catalogue(config)), arguments)
    if arguments.json:
        printing.print_json(documents)
    elif documents:
        columns = [name for name in documents[0] if name in _COLUMNS]
        printing.print_table(columns, ([document[name] for name in columns] for document in documents))
    return EXIT_DONE


def _with_activities(
    config: Config, documents: list[dict[str, Any]], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return the sources with what came in at them, as far as the database can be read."""
    try:
        entities = bind(config.database)
        try:
            activities = source_activities(entities)
        finally:
            entities.database.disconnect()
    except LeadcrmError as error:
        if not arguments.json:
            print(f"leadcrm: what came in at the sources cannot be shown: {error}", file=sys.stderr)
        return documents
    return [
        {
            **document,
            **activity_document(activities.get(document["source"], Activity()), is_enabled=document["enabled"]),
        }
        for document in documents
    ]


def _show(config: Config, arguments: argparse.Namespace) -> int:
    source = _catalogue(config).sources.get(arguments.name)
    if source is None and arguments.name not in presets():
        return _unknown(arguments.name)
    if source is None:
        document = preset_document(arguments.name)
    else:
        (document,) = _with_activities(config, [source_document(source)], arguments)
    if arguments.json:
        printing.print_json(document)
    else:
        printing.print_record({name: value for name, value in document.items() if name not in ("steps", "test")})
        if source is None:
            _print_steps(document)
    return EXIT_DONE


def _print_steps(page: Mapping[str, Any]) -> None:
    print()
    for number, step in enumerate(page["steps"], 1):
        print(f"{number}. {step}")
    print(f"\ntry it, with your server, NAME and secret:\n{page['test']}")


def _check(config: Config, arguments: argparse.Namespace) -> int:
    path = arguments.file or config.sources_file
    if path is None:
        print("leadcrm: name a file, or set SOURCES_FILE", file=sys.stderr)
        return EXIT_USAGE
    faults: tuple[str, ...] = ()
    documents: list[dict[str, Any]] = []
    try:
        # As a server takes a text that is changed.
        documents = source_documents(read_catalogue(path.absolute(), may_be_empty=False))
    except SourcesFault as fault:
        faults = fault.faults
    open_sources = [document["source"] for document in documents if document["verify"] == "open"]
    if arguments.json:
        printing.print_json({"ok": not faults, "faults": faults, "sources": len(documents), "open": open_sources})
    else:
        for text in faults:
            print(f"{path}: {printing.harmless(text)}")
        for name in open_sources:
            print(f"{path}: source {name} is open: it has no secret, so anybody can send leads to it")
        if not faults:
            print(f"{path}: {len(documents)} sources can be used")
    return EXIT_CONFIG if faults else EXIT_DONE


def _try_input(config: Config, arguments: argparse.Namespace) -> int:
    source = _catalogue(config).sources.get(arguments.name)
    if source is None:
        return _unknown(arguments.name)
    headers = dict(header.split(":", 1) for header in arguments.header if ":" in header)
    body = sys.stdin.buffer.read(config.max_body_bytes)
    document = try_body(
        source,
        body,
        content_type=arguments.content_type,
        query=arguments.query,
        headers={name.strip().lower(): value.strip() for name, value in headers.items()},
        max_decoded_bytes=config.max_body_bytes,
    )
    return _print_trial(document, arguments)


def _try_kept(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    with open_crm(arguments, environ, directory) as crm:
        source = _catalogue(crm.config).sources.get(arguments.name)
        if source is None:
            return _unknown(arguments.name)
        kept = get_raw(crm.entities, crm.spool, arguments.raw)
        if kept is None or kept.row.body is None:
            print(f"leadcrm: no request with a body was kept under {arguments.raw}", file=sys.stderr)
            return EXIT_FAILED
        return _print_trial(try_kept(source, kept.row, max_decoded_bytes=crm.config.max_body_bytes), arguments)


def _print_trial(document: dict[str, Any], arguments: argparse.Namespace) -> int:
    if arguments.json:
        printing.print_json(document)
        return EXIT_DONE
    printing.print_record({"state": document["state"], "error": document["error"]})
    for lead in document["leads"]:
        print()
        printing.print_record({"key": lead["key"], "isTest": lead["isTest"], **lead["fields"]})
    return EXIT_DONE


def _catalogue(config: Config) -> Catalogue:
    return Catalogue() if config.sources_file is None else read_catalogue(config.sources_file)


def _unknown(name: str) -> int:
    print(f"leadcrm: SOURCES_FILE has no source {name!r}", file=sys.stderr)
    return EXIT_FAILED
