"""Who runs a command, and its entries in the audit trail."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from datetime import datetime
from typing import Any
from uuid import UUID

from leadcrm.cli.crm import Crm
from leadcrm.configuration.time_zone import TimeZone
from leadcrm.crm.audit import Action, Actor, Via, describe_filter, record
from leadcrm.crm.changes import MAX_VALUE_CHARS
from leadcrm.crm.events import check_person
from leadcrm.crm.leads import FILTER_COLUMNS
from leadcrm.database.sessions import session
from leadcrm.errors import StoreError

_FILTER_FLAGS = {
    **{column: column for column in FILTER_COLUMNS},
    "assigned_to": "assignedTo",
    "since": "from",
    "until": "to",
    **{name: name for name in ("contains", "email", "tests", "phone", "due", "q", "state", "format", "sink")},
}
"""The flags of filters, by the names that their parameters have over HTTP."""


def add_actor(parser: argparse.ArgumentParser) -> None:
    """Declare the flag that names the person for whom the command is run."""
    parser.add_argument("--actor", metavar="NAME", type=_parse_actor, help="who does it (default: your user's name)")


def _parse_actor(text: str) -> str:
    if not text or len(text) > MAX_VALUE_CHARS or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a name of up to {MAX_VALUE_CHARS} printable characters is accepted")
    try:
        return check_person(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def find_actor(claimed: str | None = None) -> Actor:
    """Return the user of this machine, or who became root by sudo; `claimed` is the person that they act for."""
    user = os.environ.get("SUDO_USER") if os.getuid() == 0 else None
    return Actor(user or _user_name(), Via.COMMAND, claimed)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # The user of a container may have no name.
        return f"uid {os.getuid()}"


def record_reading(
    crm: Crm, action: Action, arguments: argparse.Namespace | None = None, lead_id: UUID | None = None
) -> None:
    """Record what is read. A database that takes no writes does not keep the machine's people from reading."""
    detail: dict[str, Any] = {} if arguments is None else _describe(arguments, crm.zone)
    try:
        with session(crm.entities, writes=True):
            record(crm.entities, find_actor(), action, lead_id, detail)
    except StoreError as error:
        print(f"leadcrm: this is not in the audit trail: {error}", file=sys.stderr)


def _describe(arguments: argparse.Namespace, zone: TimeZone) -> dict[str, Any]:
    given = {name: value for flag, name in _FILTER_FLAGS.items() if (value := getattr(arguments, flag, None))}
    return describe_filter(
        {
            name: [_text_of(each, zone) for each in (value if isinstance(value, list) else [value])]
            for name, value in given.items()
        }
    )


def _text_of(value: Any, zone: TimeZone) -> str:
    moment = value(zone) if callable(value) else value
    return f"{moment.isoformat()}Z" if isinstance(moment, datetime) else str(moment)
