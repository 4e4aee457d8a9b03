"""TOML, by the standard library where it has a parser (Python 3.11 and later)."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TomlFault: type[ValueError] = tomllib.TOMLDecodeError
"""A text is no TOML; its message names the line."""


def read_toml(text: str) -> dict[str, Any]:
    """Return the tables of a text. Raises `TomlFault`."""
    tables: dict[str, Any] = tomllib.loads(text)
    return tables
