"""What commands that erase have in common: whether to go on."""

from __future__ import annotations

import argparse
import sys

from leadcrm.cli.who import add_actor

ANSWERS = ("y", "yes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would be erased")
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    add_actor(parser)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def may_ask(arguments: argparse.Namespace) -> bool:
    """Say whether the command may go on at all: it is a dry run, is sure, or can ask."""
    if arguments.dry_run or arguments.yes or sys.stdin.isatty():
        return True
    print("leadcrm: this erases for good, and there is no terminal to ask: --dry-run or --yes", file=sys.stderr)
    return False


def is_sure(arguments: argparse.Namespace, what: str) -> bool:
    """Say whether to erase, after asking if need be. On stderr: stdout is for the receipt."""
    if arguments.yes:
        return True
    print(f"{what} Backups keep it. Erase it for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ANSWERS
