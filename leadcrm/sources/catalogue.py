"""All sources of a text of `SOURCES_FILE`: checked whole, or refused with every line and reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from leadcrm.configuration.tables import DefinitionFault, compile_tables, read_text, without_secrets
from leadcrm.configuration.toml import read_toml
from leadcrm.errors import SourcesFault
from leadcrm.sources.definition import compile_source
from leadcrm.sources.labels import read_names
from leadcrm.sources.source import Source

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
RESERVED = frozenset(("api",))
"""`api` is the source of `/api/lead`."""

DEFAULT_PRESET = "generic"

KEPT_OF_RETIRED = ("preset", "respond", "verify")
"""Of a source that was taken out: what it answers, and where its secret stands, which is not stored."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The sources of a text.

    Attributes:
        sources: By name.
        text: Without its secrets.
        sha256: The hash of the text with its secrets.
    """

    sources: Mapping[str, Source] = field(default_factory=dict)
    text: str = ""
    sha256: bytes = b""


@cache
def presets() -> Mapping[str, Mapping[str, Any]]:
    """Return the presets' tables by name, each with its page. They are read once."""
    tables: dict[str, dict[str, Any]] = {}
    folder = files(__package__).joinpath("presets")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            for name, table in read_toml(file.read_text(encoding="utf-8"))["preset"].items():
                tables.setdefault(name, {}).update(table)
    return tables


def read_catalogue(path: Path, *, may_be_empty: bool = True) -> Catalogue:
    """Read and check a file.

    Raises:
        SourcesFault: It cannot be used.
    """
    catalogue = parse_catalogue(read_text(path, SourcesFault, may_be_empty=may_be_empty), path)
    if catalogue.sources:
        read_names()
    return catalogue


def parse_catalogue(text: str, path: Path) -> Catalogue:
    """Check a text and compile its sources.

    Args:
        text: The text.
        path: Its file, from whose folder a relative `secret_file` starts.

    Raises:
        SourcesFault: It cannot be used.
    """
    sources = compile_tables(text, path, "source", lambda name, table: _source(name, table, path.parent), SourcesFault)
    return Catalogue(sources, without_secrets(text), sha256(text.encode()).digest())


MAX_PROPOSAL_CHARS = 32_768
MAX_PROPOSAL_LINE = 500
"""What the parser of TOML takes grows with the square of a key's parts: within these bounds it is a third of a second
at worst."""


def parse_proposal(text: str) -> Catalogue:
    """Check a text that somebody proposes and compile its sources; no file is read for it.

    Raises:
        SourcesFault: It cannot be used.
    """
    if len(text) > MAX_PROPOSAL_CHARS:
        raise SourcesFault("the text", [f"it is longer than {MAX_PROPOSAL_CHARS} characters"])
    long = next((number for number, line in enumerate(text.splitlines(), 1) if len(line) > MAX_PROPOSAL_LINE), None)
    if long is not None:
        raise SourcesFault("the text", [f"line {long}: it is longer than {MAX_PROPOSAL_LINE} characters"])
    sources = compile_tables(text, Path(), "source", lambda name, table: _source(name, table, None), SourcesFault)
    return Catalogue(sources, without_secrets(text))


def retired_source(name: str, table: Mapping[str, Any]) -> Source:
    """Return a source that was taken out of the file: it keeps requests and answers as before."""
    kept = {key: value for key, value in table.items() if key in KEPT_OF_RETIRED}
    for own in (kept, {"preset": kept.get("preset", DEFAULT_PRESET)}, {}):
        try:
            return _source(name, {**own, "enabled": False}, Path())
        except DefinitionFault:
            continue
    raise AssertionError("an empty table is a source")


def _source(name: str, table: Any, directory: Path | None) -> Source:
    if not NAME.fullmatch(name) or name in RESERVED:
        fault = "a source's name has small letters, digits and -, at most 63, and is not 'api'"
        raise DefinitionFault("", fault)
    preset = table.get("preset", DEFAULT_PRESET)
    known = presets()
    if not isinstance(preset, str) or preset not in known:
        raise DefinitionFault("preset", f"there is no preset {preset!r}; `leadcrm sources list --presets` lists them")
    return compile_source(name, table, known[preset], directory)
