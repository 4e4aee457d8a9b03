"""Print everything kept of a person, by --email in any case or by --phone however it is written, as JSON.

For the right of access (GDPR, article 15): leads with their requests as received, decoded, their history and notes, the
sinks that they went to and what waits there, and requests that are no leads. Leads of others that only mention the
person are named by their ids alone. It reads the whole database and this node's spool.

examples:
  leadcrm person --email anna@example.com
  leadcrm person --phone '+371 26 123 456' > anna.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import add_person, open_crm, parse_person, sinks_of
from leadcrm.cli.who import find_actor
from leadcrm.crm.accounts import keep_account
from leadcrm.crm.audit import Action
from leadcrm.crm.person_document import PersonDocument
from leadcrm.crm.person_search import Search
from leadcrm.delivery.whereabouts import lead_deliveries
from leadcrm.errors import EXIT_DONE, EXIT_USAGE
from leadcrm.ingest.opening import open_sources, prepare_spool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_person(parser)
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Print the document."""
    person = parse_person(arguments)
    if person is None:
        print("leadcrm: name an --email, a --phone of seven digits or more, or both", file=sys.stderr)
        return EXIT_USAGE
    with open_crm(arguments, environ, directory, reads_all=True) as crm:
        prepare_spool(crm.config)
        limit = crm.config.max_body_bytes
        with printing.progress("looking") as on_progress:
            search = Search(person, open_sources(crm.config), limit, on_progress)
            found = search.everywhere(crm.entities, crm.spool)
        deliveries_of = partial(lead_deliveries, crm.entities, sinks_of(crm.config))
        document = PersonDocument(crm.entities, crm.spool, limit, deliveries_of).read(person, found)
        keep_account(crm.entities, Action.PERSON, find_actor(), len(found.own))
    printing.print_json(document)
    return EXIT_DONE
