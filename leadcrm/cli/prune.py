"""Erase what arrived long ago, the oldest first, beside a running server, and print a receipt.

The same tombstones as those of `leadcrm erase` are left. The age counts from arrival, whatever people have done with a
lead since; --dry-run says how many were worked on within that time. Without --state everything is erased that is old
enough. With the states of leads, stored and failed, go repeats, conflicts and the bodies of batches of that age.

It works in small batches, and rests in between while requests arrive. Interrupted, it has erased whole rows: run it
again.

examples:
  leadcrm prune --older-than 400d --dry-run
  leadcrm prune --older-than 400d --yes
  leadcrm prune --older-than 30d --state invalid --state unverified --yes
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from leadcrm.cli import configuration, confirming, printing
from leadcrm.cli.crm import open_crm
from leadcrm.cli.who import find_actor
from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.crm.accounts import keep_account
from leadcrm.crm.audit import Action, Actor
from leadcrm.crm.prune import Due, count_due, prune, states_with
from leadcrm.crm.scrubbing import scrub_log
from leadcrm.crm.times import now
from leadcrm.crm.tombstones import Counts, forget_answers, trace_of
from leadcrm.database.clock import earlier_time
from leadcrm.database.entities import Entities
from leadcrm.database.states import State
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE

_NICENESS = 10

_BACKUPS = "backups that were made before still have it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--older-than", type=_parse_age, required=True, metavar="DAYS", help="such as 400d")
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        choices=[state.value for state in State],
        help="only rows in this state; repeatable (default: all)",
    )
    confirming.add_arguments(parser)
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Prune, and print the receipt."""
    if not confirming.may_ask(arguments):
        return EXIT_USAGE
    states = [State(state) for state in arguments.state]
    os.nice(_NICENESS)
    with open_crm(arguments, environ, directory, reads_all=True) as crm:
        before = earlier_time(crm.entities) - arguments.older_than
        due = count_due(crm.entities, states, before)
        if arguments.dry_run:
            _print(arguments, crm.config.database, states, before, due)
            return EXIT_DONE
        if due.rows and not confirming.is_sure(arguments, _summary(crm.config.database, before, due)):
            print("nothing was erased", file=sys.stderr)
            return EXIT_FAILED
        actor = find_actor(arguments.actor)
        erased = _prune(crm.entities, states, before, due, actor)
        left = [_BACKUPS, *scrub_log(crm.config.database.path)]
    _print(arguments, crm.config.database, states, before, due, erased, left)
    return EXIT_DONE


def _parse_age(text: str) -> timedelta:
    if re.fullmatch(r"[1-9][0-9]{0,5}d", text, re.ASCII):
        try:
            age = timedelta(days=int(text[:-1]))
            now() - age
        except OverflowError:
            pass
        else:
            return age
    raise argparse.ArgumentTypeError(f"{text!r} is no number of days, such as 400d")


def _prune(entities: Entities, states: list[State], before: datetime, due: Due, actor: Actor) -> Counts:
    """Prune with a progress bar; what was erased is told even if it is interrupted, perhaps without the last batch."""
    erased = Counts()
    try:
        with printing.progress("erasing") as on_progress:

            def on_batch(counts: Counts) -> None:
                nonlocal erased
                erased = counts
                on_progress(counts.rows, max(due.rows, counts.rows))

            prune(entities, states, before, trace_of(actor.name), on_batch)
    except BaseException:
        print(f"at least {erased.rows} of {due.rows} raw rows were erased: run it again for the rest", file=sys.stderr)
        raise
    finally:
        keep_account(entities, Action.PRUNE, actor, erased.rows)
    if erased.leads:
        forget_answers(entities)
    return erased


def _summary(database: DatabaseURL, before: datetime, due: Due) -> str:
    worked = f", {due.worked} of which were worked on since" if due.worked else ""
    arrived = f"{due.rows} raw rows that arrived before {before:%Y-%m-%d %H:%M} UTC"
    return f"{arrived}, with {due.leads} leads{worked}, in {database.redacted}."


def _print(
    arguments: argparse.Namespace,
    database: DatabaseURL,
    states: list[State],
    before: datetime,
    due: Due,
    erased: Counts | None = None,
    left: list[str] | None = None,
) -> None:
    if arguments.json:
        counts = Counts(due.rows, due.leads) if erased is None else erased
        document = {
            "dryRun": erased is None,
            "before": before,
            "states": [state.value for state in states_with(states)],
            "worked": due.worked,
            **counts._asdict(),
            "left": left or [],
        }
        printing.print_json(document)
    elif erased is None:
        print(f"would be erased: {_summary(database, before, due)}")
    else:
        print(
            f"erased: {erased.rows} raw rows that arrived before {before:%Y-%m-%d %H:%M} UTC, "
            f"with {erased.leads} leads, {erased.notes} notes, {erased.changes} changes "
            f"and {erased.deliveries} deliveries, in {database.redacted}"
        )
        for sentence in left or ():
            print(f"not erased: {sentence}")
