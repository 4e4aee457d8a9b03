"""TOML, by the standard library where it has a parser (Python 3.11 and later)."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class TomlFault(ValueError):  # noqa: N818 - named by the condition
    """A text is no TOML that can be read; the message names the line where the parser does."""


def read_toml(text: str) -> dict[str, Any]:
    """Return the tables of a text. Raises `TomlFault`."""
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TomlFault(str(error)) from None
    except ValueError:
        # Python makes no number of more than 4,300 digits.
        raise TomlFault("a number has too many digits") from None
    except RecursionError:
        raise TomlFault("it is nested too deeply") from None
    return tables
