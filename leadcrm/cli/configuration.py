"""The flags that all commands share: one for each variable, over the environment and `.env`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from leadcrm.configuration.config import VARIABLES, Config, load


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every variable."""
    group = parser.add_argument_group("configuration (a flag stands over the environment and .env)")
    for variable in VARIABLES:
        group.add_argument(
            variable.flag,
            dest=variable.flag_key,
            metavar="FILE" if variable.flag_names_file else "VALUE",
            help=f"{variable.help} (default: {variable.default})".replace("%", "%%"),
        )


def read(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> Config:
    """Return the configuration.

    Raises:
        ConfigError: A value is wrong; the message names the variable and its source.
    """
    flags = vars(arguments)
    return load({variable.flag_key: flags.get(variable.flag_key) for variable in VARIABLES}, environ, directory)
