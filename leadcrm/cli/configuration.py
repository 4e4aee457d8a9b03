"""The flags that all commands share: one for each variable, over the environment and `.env`.

They are several times as many as a command's own, so the help of most commands lists them only where it is asked to.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadcrm.configuration.config import VARIABLES, Config, load

_TITLE = "configuration (a flag stands over the environment and .env)"

_LIST_FLAG = "--help-configuration"


def add_flags(parser: argparse.ArgumentParser, *, are_listed: bool = False) -> None:
    """Add a flag for every variable.

    Args:
        parser: Of the command.
        are_listed: The command's help lists them; else it says how to have them listed.
    """
    group = parser.add_argument_group(_TITLE)
    if not are_listed:
        group.add_argument(
            _LIST_FLAG, action=_ListFlags, help="list a flag for each variable, such as --database-url, and exit"
        )
    for variable in VARIABLES:
        group.add_argument(
            variable.flag,
            dest=variable.flag_key,
            metavar="FILE" if variable.flag_names_file else "VALUE",
            help=f"{variable.help} (default: {variable.default})".replace("%", "%%")
            if are_listed
            else argparse.SUPPRESS,
        )


class _ListFlags(argparse.Action):
    """Prints the flags as the help of a command would list them."""

    def __init__(self, option_strings: list[str], dest: str, **properties: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **properties)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        listing = argparse.ArgumentParser(prog=parser.prog, usage="%(prog)s [--flag VALUE …]", add_help=False)
        add_flags(listing, are_listed=True)
        listing.print_help()
        parser.exit()


def read(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> Config:
    """Return the configuration.

    Raises:
        ConfigError: A value is wrong; the message names the variable and its source.
    """
    flags = vars(arguments)
    return load({variable.flag_key: flags.get(variable.flag_key) for variable in VARIABLES}, environ, directory)
