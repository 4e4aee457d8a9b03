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

from leadcrm.errors import SourcesFault
from leadcrm.sources.definition import DefinitionFault, compile_source
from leadcrm.sources.source import Source
from leadcrm.sources.toml import TomlFault, read_toml

MAX_BYTES = 1024 * 1024
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
RESERVED = frozenset(("api",))
"""`api` is the source of `/api/lead`."""

DEFAULT_PRESET = "generic"

_VALUE = r"""(?:\[[^\]]*\]|\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_SECRET = re.compile(rf'((?:^|[{{,.])[ \t]*"?secret"?[ \t]*=[ \t]*){_VALUE}', re.MULTILINE | re.DOTALL)


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


def read_catalogue(path: Path) -> Catalogue:
    """Read and check a file.

    Raises:
        SourcesFault: It cannot be used.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SourcesFault(str(path), [f"it cannot be read: {reason}"]) from None
    if len(data) > MAX_BYTES:
        raise SourcesFault(str(path), [f"it is longer than {MAX_BYTES} bytes"])
    return parse_catalogue(text, path)


def parse_catalogue(text: str, path: Path) -> Catalogue:
    """Check a text and compile its sources.

    Args:
        text: The text.
        path: Its file, from whose folder a relative `secret_file` starts.

    Raises:
        SourcesFault: It cannot be used.
    """
    try:
        tables = read_toml(text)
    except TomlFault as fault:
        end = f"at line {max(1, len(text.splitlines()))}, the end"
        raise SourcesFault(str(path), [str(fault).replace("at end of document", end)]) from None
    except RecursionError:
        raise SourcesFault(str(path), ["it is nested too deeply"]) from None
    faults = [f"line {_line(text, '', key)}: there is no table [{key}]" for key in tables if key != "source"]
    sources: dict[str, Source] = {}
    named = tables.get("source", {})
    if not isinstance(named, dict):
        raise SourcesFault(str(path), ["source is no table: write [source.NAME]"])
    for name, table in named.items():
        try:
            sources[name] = _source(name, table, path.parent)
        except DefinitionFault as fault:
            place = f"{fault.key}: " if fault.key else ""
            faults.append(f"line {_line(text, name, fault.key)}: source {name}: {place}{fault.fault}")
    if faults:
        raise SourcesFault(str(path), faults)
    return Catalogue(sources, without_secrets(text), sha256(text.encode()).digest())


def retired_source(name: str, table: Mapping[str, Any]) -> Source:
    """Return a source that was taken out of the file: it keeps requests and answers as before."""
    kept = {key: value for key, value in table.items() if key in ("preset", "respond")}
    for own in (kept, {"preset": kept.get("preset", DEFAULT_PRESET)}, {}):
        try:
            return _source(name, {**own, "enabled": False}, Path())
        except DefinitionFault:
            continue
    raise AssertionError("an empty table is a source")


def without_secrets(text: str) -> str:
    """Return a text of SOURCES_FILE with its secrets replaced."""
    return _SECRET.sub(r'\1"***"', text)


def _source(name: str, table: Any, directory: Path) -> Source:
    if not NAME.fullmatch(name) or name in RESERVED:
        fault = "a source's name has small letters, digits and -, at most 63, and is not 'api'"
        raise DefinitionFault("", fault)
    if not isinstance(table, dict):
        raise DefinitionFault("", "it is no table")
    preset = table.get("preset", DEFAULT_PRESET)
    known = presets()
    if not isinstance(preset, str) or preset not in known:
        raise DefinitionFault("preset", f"there is no preset {preset!r}; `leadcrm sources list --presets` lists them")
    try:
        return compile_source(name, table, known[preset], directory)
    except (TypeError, AttributeError) as error:
        raise DefinitionFault("", f"a value has the wrong type: {error}") from None


def _line(text: str, name: str, key: str) -> int:
    """Return the line on which a source's key stands, or where its table begins; 1 if that cannot be told."""
    lines = text.splitlines()
    head = re.compile(rf"\s*\[\[?\s*\"?source\"?\s*\.\s*\"?{re.escape(name)}\"?\s*[\].]" if name else r"\s*$^")
    start = next((number for number, line in enumerate(lines) if head.match(line)), None)
    first = key.partition(".")[0]
    if not name:
        place = re.compile(rf"\s*\[*\s*\"?{re.escape(key)}\b")
        return next((number for number, line in enumerate(lines, 1) if place.match(line)), 1)
    if start is None:
        dotted = re.compile(rf"\s*(?:source\s*\.\s*)?\"?{re.escape(name)}\"?\s*[.=]")
        return next((number for number, line in enumerate(lines, 1) if dotted.match(line)), 1)
    last = key.rpartition(".")[2]
    best = start + 1
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if re.match(r"\s*\[", line) and not head.match(line) and not re.match(r"\s*\[[\"{]|\s*\[\]", line):
            break
        if key and re.match(rf"\s*\"?{re.escape(first)}\"?\s*[.=]", line):
            if best == start + 1:
                best = number
            if last in line:
                return number
        elif key != first and (
            re.match(rf"\s*\"?{re.escape(last)}\"?\s*=", line) or (head.match(line) and first in line)
        ):
            best = number
            if not head.match(line):
                return number
    return best
