"""Make leads of requests that are none, under the ids they were given, once the fault behind it is mended.

A request that is a lead already stays as it is, so replaying again is safe. A request whose Idempotency-Key another
lead has taken meanwhile becomes a repeat or conflict of that lead. A conflict becomes a lead of its own, beside the
first lead under its key. With --body or --field you say what a request means: its bytes stay as they came, and the
correction is the first event of its lead.

examples:
  leadcrm replay 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e
  leadcrm replay --state failed
  leadcrm replay --state failed --state invalid --json
  leadcrm replay --state conflict
  leadcrm replay 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e --body mended.json
  leadcrm replay 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e --field phone=+37126123456 --field firstName=Anna
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from uuid import UUID

from rich.console import Console
from rich.progress import track

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import Crm, open_crm, parse_id
from leadcrm.cli.who import find_actor
from leadcrm.crm.correction import Correction, correct, parse_correction
from leadcrm.crm.documents import replay_document
from leadcrm.crm.replay import replay_raw
from leadcrm.database.entities import FIELDS
from leadcrm.database.states import REPLAYABLE_STATES
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE
from leadcrm.ingest.opening import open_sources
from leadcrm.ingest.replay import Replay, replayable_ids


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("ids", type=parse_id, nargs="*", metavar="ID")
    parser.add_argument("--state", action="append", choices=REPLAYABLE_STATES, help="all in this state; repeatable")
    corrected = parser.add_mutually_exclusive_group()
    corrected.add_argument("--body", type=Path, metavar="FILE", help="what one request should have been; - for stdin")
    corrected.add_argument(
        "--field", action="append", type=_parse_field, metavar="NAME=VALUE", help="a field of its lead; repeatable"
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Replay requests; the exit status says whether each of them leads to a lead now."""
    if bool(arguments.ids) == bool(arguments.state):
        print("leadcrm: name ids, or a --state whose requests to replay", file=sys.stderr)
        return EXIT_USAGE
    try:
        correction = _correction(arguments)
    except ValueError as error:
        print(f"leadcrm: the correction: {error}", file=sys.stderr)
        return EXIT_USAGE
    if correction is not None and len(arguments.ids) != 1:
        print("leadcrm: a correction is of one request: name its id", file=sys.stderr)
        return EXIT_USAGE
    with open_crm(arguments, environ, directory) as crm:
        ids = arguments.ids or list(replayable_ids(crm.entities, tuple(arguments.state)))
        results = list(_replay(crm, ids, correction))
    if arguments.json:
        printing.print_json(results)
    elif results:
        printing.print_table(tuple(results[0]), ([result[name] for name in result] for result in results))
    else:
        print("nothing to replay")
    return EXIT_DONE if all(result["leadId"] for result in results) else EXIT_FAILED


def _parse_field(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or name not in FIELDS:
        raise argparse.ArgumentTypeError(f"NAME=VALUE is accepted, with one of: {', '.join(FIELDS)}")
    return name, value


def _correction(arguments: argparse.Namespace) -> Correction | None:
    if arguments.field:
        return parse_correction({"fields": dict(arguments.field)})
    if arguments.body is None:
        return None
    content = sys.stdin.buffer.read() if str(arguments.body) == "-" else arguments.body.read_bytes()
    return parse_correction({"body": content.decode("utf-8", "surrogateescape")})


def _replay(crm: Crm, ids: list[UUID], correction: Correction | None) -> Iterator[dict[str, object]]:
    console = Console(stderr=True)
    sources, actor, max_decoded_bytes = open_sources(crm.config), find_actor(), crm.config.max_body_bytes
    # One at a time: each is a transaction of its own, and a fault in the middle leaves the others done.
    for id in track(ids, "replaying", console=console, disable=not console.is_terminal or len(ids) < 2):
        make = replay_raw if correction is None else partial(correct, correction=correction)
        result = make(crm.entities, crm.spool, id, actor=actor, max_decoded_bytes=max_decoded_bytes, sources=sources)
        unknown = Replay(str(id), "unknown", False, None, "no request was kept under this id")
        yield replay_document(result or unknown)
