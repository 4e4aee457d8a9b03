"""Erase leads and requests by id, or everything of a person, from database, spool and files, and print a receipt.

What is left of a row is a tombstone: id, time, hashes of key and body, state, source, node and links. So its key is
answered as before, and every id leads to it. With a lead go its history, its repeats and conflicts, the body of the
batch that it came in, and what waits to be delivered of it; every sink is told by lead.erased.

A person is found by --email, in any case, or by --phone, however it is written: leads by their columns, requests that
are no leads by looking through all that can be read. Leads of others that only mention them stay, and are named.

examples:
  leadcrm erase 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e
  leadcrm erase --email anna@example.com --dry-run
  leadcrm erase --email anna@example.com --phone '+371 26 123 456' --yes --json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from leadcrm.cli import configuration, confirming, printing
from leadcrm.cli.crm import Crm, add_person, open_crm, parse_id, parse_person
from leadcrm.cli.who import find_actor
from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.crm.accounts import keep_account
from leadcrm.crm.audit import Action
from leadcrm.crm.erasing import Erasing, Receipt
from leadcrm.crm.person import Person
from leadcrm.crm.person_search import Search
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE
from leadcrm.ingest.opening import open_sources, prepare_spool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("ids", nargs="*", type=parse_id, metavar="ID", help="any id that a sender was answered")
    add_person(parser)
    confirming.add_arguments(parser)
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Erase, and print the receipt."""
    person = parse_person(arguments)
    names_person = arguments.email is not None or arguments.phone is not None
    if bool(arguments.ids) == names_person or (names_person and person is None):
        print("leadcrm: name ids; or an --email, a --phone of seven digits or more, or both", file=sys.stderr)
        return EXIT_USAGE
    if not confirming.may_ask(arguments):
        return EXIT_USAGE
    with open_crm(arguments, environ, directory, reads_all=True) as crm:
        prepare_spool(crm.config)
        erasing = Erasing(crm.config, crm.entities, crm.spool)
        if person is None:
            erasing.find_ids(arguments.ids)
        else:
            find_person(crm, erasing, person)
        receipt = _erase(crm, erasing, arguments)
    return EXIT_FAILED if receipt is None or receipt.unknown else EXIT_DONE


def find_person(crm: Crm, erasing: Erasing, person: Person) -> None:
    """Look for a person, with a progress bar."""
    with printing.progress("looking") as on_progress:
        erasing.find_person(Search(person, open_sources(crm.config), crm.config.max_body_bytes, on_progress))


def _erase(crm: Crm, erasing: Erasing, arguments: argparse.Namespace) -> Receipt | None:
    actor = find_actor(arguments.actor)
    receipt = erasing.plan(actor.name)
    if not arguments.dry_run and receipt.ids:
        if not confirming.is_sure(arguments, _summary(receipt, crm.config.database)):
            print("nothing was erased", file=sys.stderr)
            return None
        receipt = erasing.erase(actor.name)
        keep_account(crm.entities, Action.ERASE, actor, len(receipt.ids), sorted(receipt.ids))
    if arguments.json:
        printing.print_json({"dryRun": arguments.dry_run, **_document(receipt)})
    else:
        _print(receipt, crm.config.database, is_dry_run=arguments.dry_run)
    return receipt


def _summary(receipt: Receipt, database: DatabaseURL) -> str:
    counts = receipt.counts
    return (
        f"{len(receipt.ids)} raw rows, {receipt.spooled} of them in the spool, with {counts.leads} leads, "
        f"{counts.notes} notes, {counts.changes} changes and {counts.deliveries} deliveries, "
        f"in {database.redacted}."
    )


def _document(receipt: Receipt) -> dict[str, object]:
    return {
        "rows": len(receipt.ids),
        "spooled": receipt.spooled,
        "leads": receipt.counts.leads,
        "notes": receipt.counts.notes,
        "changes": receipt.counts.changes,
        "deliveries": receipt.counts.deliveries,
        "ids": sorted(receipt.ids),
        "files": receipt.files,
        "unknown": receipt.unknown,
        "erasedBefore": receipt.erased_before,
        "mentions": sorted(receipt.mentions),
        "stays": sorted(receipt.stays),
        "left": receipt.left,
        "trace": receipt.trace,
    }


def _print(receipt: Receipt, database: DatabaseURL, *, is_dry_run: bool) -> None:
    print(f"{'would be erased' if is_dry_run else receipt.trace}: {_summary(receipt, database)}")
    for title, values in (
        ("erased" if not is_dry_run else "would be erased", sorted(receipt.ids)),
        ("deleted file", receipt.files),
        ("nobody was given this id, as far as this node knows", receipt.unknown),
        ("erased before", receipt.erased_before),
        ("names them, but is of others: erase it by its id if it is theirs", sorted(receipt.mentions)),
        ("a lead of its own under the same key, which stays", sorted(receipt.stays)),
        ("not erased", receipt.left),
    ):
        for value in values:
            print(f"{title}: {printing.readable(value)}")
