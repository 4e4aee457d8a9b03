"""Print what became true of leads, in the order of commit: an event a line, as JSON, for people who look for one.

Programs read GET /api/feed. Without --after the oldest event that is kept comes first. With --follow the command goes
on until it is interrupted, and prints each event as soon as it can be read.

examples:
  leadcrm feed --after 1764170000000
  leadcrm feed --follow --thin
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from time import sleep

from leadcrm.cli import configuration
from leadcrm.cli.crm import open_crm
from leadcrm.cli.printing import print_json
from leadcrm.cli.who import record_reading
from leadcrm.crm.audit import Action
from leadcrm.crm.documents import feed_event_document
from leadcrm.crm.feed import Feed
from leadcrm.errors import EXIT_DONE

PAGE_EVENTS = 500

POLL_S = 0.25
"""How often --follow looks for more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--after", type=_parse_seq, metavar="N", help="the events after this number")
    parser.add_argument("--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--thin", action="store_true", help="without lead and change")
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Print the events."""
    feed, after = Feed(), arguments.after
    with open_crm(arguments, environ, directory) as crm:
        record_reading(crm, Action.FEED)
        while True:
            page = feed.read(crm.entities, after, limit=PAGE_EVENTS, thin=arguments.thin)
            for event in page.events:
                print_json(feed_event_document(event, thin=arguments.thin))
            sys.stdout.flush()
            after = page.next
            if len(page.events) == PAGE_EVENTS:
                continue
            if not arguments.follow:
                return EXIT_DONE
            sleep(POLL_S)


def _parse_seq(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise argparse.ArgumentTypeError("the number of an event is accepted")
    return int(text)
