"""Give people and programs tokens for the CRM, list them, and take them back.

The token is shown once, and only its hash is stored. Its name is the author of what its holder changes. A token that is
taken back opens nothing within seconds, without a restart.

roles:
  reader      reads
  agent       reads, and works leads one by one: status, assignment, notes, next call
  lead        leads a team: also changes many at once, exports, replays, gives tokens, reads the audit trail
  integrator  a program that reads leads, feed and exports

examples:
  leadcrm token add anna --role agent
  leadcrm token add warehouse --role integrator --expires 90d
  leadcrm token list
  leadcrm token revoke anna
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from leadcrm.cli import configuration, printing
from leadcrm.cli.crm import Crm, open_crm
from leadcrm.cli.who import find_actor
from leadcrm.crm.times import now, parse_moment
from leadcrm.crm.tokens import Role, add_token, check_name, list_tokens, revoke_token, token_document
from leadcrm.errors import EXIT_DONE, EXIT_FAILED

_COLUMNS = ("name", "role", "state", "createdAt", "createdBy", "expiresAt", "usedAt")
"""Of the table for people."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|revoke")
    add = actions.add_parser("add", help="make a token and print it", allow_abbrev=False)
    add.add_argument("name", type=_parse_name, metavar="NAME")
    add.add_argument("--role", choices=[role.value for role in Role], required=True)
    add.add_argument(
        "--expires", type=_parse_expiry, metavar="TIME", help="days from now, such as 90d, or a time (default: never)"
    )
    listing = actions.add_parser("list", help="who has one, and when it was used last", allow_abbrev=False)
    listing.add_argument("--all", action="store_true", help="revoked ones too")
    revoke = actions.add_parser("revoke", help="take a token back", allow_abbrev=False)
    revoke.add_argument("name", metavar="NAME")
    for action in (add, listing, revoke):
        action.add_argument("--json", action="store_true", help="print JSON for programs")
        configuration.add_flags(action)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Add, list or revoke."""
    with open_crm(arguments, environ, directory) as crm:
        return {"add": _add, "list": _list, "revoke": _revoke}[arguments.action](crm, arguments)


def _parse_name(text: str) -> str:
    try:
        return check_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parse_expiry(text: str) -> datetime:
    try:
        days = re.fullmatch("([1-9][0-9]{0,4})d", text)
        expires_at = now() + timedelta(days=int(days[1])) if days else parse_moment(text, is_end=True)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}, nor days as in 90d") from None
    if expires_at <= now():
        raise argparse.ArgumentTypeError(f"{text!r} is over")
    return expires_at


def _add(crm: Crm, arguments: argparse.Namespace) -> int:
    token, secret = add_token(crm.entities, arguments.name, Role(arguments.role), arguments.expires, actor=find_actor())
    if arguments.json:
        printing.print_json({**token_document(token, now()), "token": secret})
    else:
        print(secret)
        print("It is shown this once: pass it on by a safe way.", file=sys.stderr)
    if crm.config.admin_token is None:
        print("leadcrm: it opens nothing until ADMIN_TOKEN is set, which opens the CRM", file=sys.stderr)
    return EXIT_DONE


def _list(crm: Crm, arguments: argparse.Namespace) -> int:
    at = now()
    documents = [token_document(token, at) for token in list_tokens(crm.entities)]
    shown = [document for document in documents if arguments.all or document["state"] != "revoked"]
    if arguments.json:
        printing.print_json(shown)
    elif shown:
        printing.print_table(_COLUMNS, ([document[name] for name in _COLUMNS] for document in shown))
    else:
        print("nobody has a token; leadcrm token add NAME --role agent makes one", file=sys.stderr)
    return EXIT_DONE


def _revoke(crm: Crm, arguments: argparse.Namespace) -> int:
    token = revoke_token(crm.entities, name=arguments.name, actor=find_actor())
    if token is None:
        print(
            f"leadcrm: {printing.harmless(arguments.name)} has no token in force: leadcrm token list", file=sys.stderr
        )
        return EXIT_FAILED
    if arguments.json:
        printing.print_json(token_document(token, now()))
    else:
        print(f"the token of {printing.harmless(token.name)} is revoked")
    return EXIT_DONE
