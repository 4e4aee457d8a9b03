"""TOML files of named tables, such as [source.NAME]: checked whole, or refused with every line and reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from leadcrm.configuration.toml import TomlFault, read_toml
from leadcrm.errors import TablesFault

Compiled = TypeVar("Compiled")
MAX_BYTES = 1024 * 1024

_STRING = r"""(?:\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_VALUE = rf"""(?:\[(?:[^\]"'#]|\#[^\n]*|{_STRING})*\]|{_STRING})"""
_SECRET = re.compile(
    rf"""((?:^|[{{,.])[ \t]*["']?secret["']?[ \t]*=[ \t]*){_VALUE}""",
    re.MULTILINE | re.DOTALL,
)


class DefinitionFault(ValueError):  # noqa: N818 - named by the condition
    """A table cannot be used.

    Args:
        key: The place in the table, such as `map.phone`.
        fault: What is wrong there.
        may_pass: A file could not be read, which may be over though no file changes.
    """

    def __init__(self, key: str, fault: str, *, may_pass: bool = False) -> None:
        super().__init__(fault)
        self.key = key
        self.fault = fault
        self.may_pass = may_pass


def read_text(path: Path, fault: type[TablesFault], *, may_be_empty: bool = True) -> str:
    """Read a file. Raises `fault` if it cannot be read, or is empty as a file is that is being written."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        may_pass = isinstance(error, OSError)
        raise fault(str(path), [f"it cannot be read: {reason}"], may_pass=may_pass) from None
    if len(data) > MAX_BYTES:
        raise fault(str(path), [f"it is longer than {MAX_BYTES} bytes"])
    if not text.strip() and not may_be_empty:
        raise fault(str(path), ["it is empty; a comment takes everything in it out of force"])
    return text


def compile_tables(
    text: str, path: Path, kind: str, compile: Callable[[str, dict[str, Any]], Compiled], fault: type[TablesFault]
) -> dict[str, Compiled]:
    """Check a text and compile its tables.

    Args:
        text: The text.
        path: Its file.
        kind: The tables are called [KIND.NAME], and there are no others.
        compile: Makes what a table describes from its name and content, or raises `DefinitionFault`.
        fault: What is raised where the text cannot be used.
    """
    try:
        tables = read_toml(text)
    except TomlFault as error:
        end = f"at line {max(1, len(text.splitlines()))}, the end"
        raise fault(str(path), [str(error).replace("at end of document", end)]) from None
    faults = [f"line {_line(text, kind, '', key)}: there is no table [{key}]" for key in tables if key != kind]
    named = tables.get(kind, {})
    if not isinstance(named, dict):
        raise fault(str(path), [f"{kind} is no table: write [{kind}.NAME]"])
    compiled: dict[str, Compiled] = {}
    may_pass = False
    for name, table in named.items():
        try:
            compiled[name] = _compile(name, table, compile)
        except DefinitionFault as error:
            place = f"{error.key}: " if error.key else ""
            faults.append(f"line {_line(text, kind, name, error.key)}: {kind} {name}: {place}{error.fault}")
            may_pass |= error.may_pass
    if faults:
        raise fault(str(path), faults, may_pass=may_pass)
    return compiled


def _compile(name: str, table: Any, compile: Callable[[str, dict[str, Any]], Compiled]) -> Compiled:
    if not isinstance(table, dict):
        raise DefinitionFault("", "it is no table")
    try:
        return compile(name, table)
    except DefinitionFault:
        raise
    except RecursionError:
        raise DefinitionFault("", "it is nested too deeply") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise DefinitionFault("", f"a value cannot be used: {error}") from None


def without_secrets(text: str) -> str:
    """Return a text with the values of `secret` replaced."""
    return _SECRET.sub(r'\1"***"', text)


UNREAD_SECRET = b"***"
"""Stands for those of a file that is not read."""


def read_secrets(table: Mapping[str, Any], directory: Path | None) -> tuple[bytes, ...]:
    """Return the secrets of a table, which stand in `secret` or, one a line, in `secret_file`.

    Args:
        table: The table.
        directory: Where a relative `secret_file` starts; None where no file may be read.
    """
    if "secret" in table and "secret_file" in table:
        raise DefinitionFault("secret_file", "it has a secret already")
    if "secret_file" in table:
        if not isinstance(table["secret_file"], str):
            raise DefinitionFault("secret_file", "it is a text")
        if directory is None:
            return (UNREAD_SECRET,)
        path = directory / table["secret_file"]
        try:
            lines = path.read_bytes().decode().splitlines()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            may_pass = isinstance(error, OSError)
            raise DefinitionFault("secret_file", f"{path} cannot be read: {reason}", may_pass=may_pass) from None
        secrets = [line for line in lines if line]
        if not secrets:
            # An empty secret would open the door that it was meant to lock.
            raise DefinitionFault("secret_file", f"{path} is empty")
    else:
        secret = table.get("secret", [])
        secrets = secret if isinstance(secret, list) else [secret]
        if "secret" in table and not secrets:
            raise DefinitionFault("secret", "it is empty")
    for secret in secrets:
        if not isinstance(secret, str) or not secret.strip():
            raise DefinitionFault("secret" if "secret" in table else "secret_file", "a secret is a text, not empty")
    return tuple(secret.encode() for secret in secrets)


def tables_in(text: str, kind: str) -> dict[str, Mapping[str, Any]]:
    """Return the tables [KIND.NAME] of a text by name; none if it has no such tables, or is no TOML."""
    try:
        named = read_toml(text).get(kind)
    except TomlFault:
        return {}
    return {name: table for name, table in named.items() if isinstance(table, dict)} if isinstance(named, dict) else {}


def lines_of(text: str, kind: str, name: str) -> str:
    """Return the lines of a table [KIND.NAME] and of those within it; empty where it is written in another way."""
    own, any_head = _head(kind, name), re.compile(rf"\s*\[\[?\s*\"?{kind}\"?\s*[\].]")
    lines: list[str] = []
    is_own = False
    for line in text.splitlines():
        if any_head.match(line):
            is_own = own.match(line) is not None
        if is_own:
            lines.append(line)
    return "\n".join(lines).strip()


def files_of(path: Path | None, kind: str) -> tuple[Path, ...]:
    """Return the file and those of secrets that it names."""
    if path is None:
        return ()
    names: list[str] = []
    with suppress(OSError, UnicodeDecodeError):
        tables = tables_in(path.read_text(encoding="utf-8-sig"), kind).values()
        names = [name for table in tables if isinstance(name := table.get("secret_file"), str)]
    return (path, *(path.parent / name for name in names))


def signature_of(files: Iterable[Path]) -> tuple[tuple[int, ...], ...]:
    """Return what changes with the files."""
    return tuple(map(_file_signature, files))


def _file_signature(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ()
    # The last one changes with owner and permissions: a file that could not be read may be readable now.
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)


def _head(kind: str, name: str) -> re.Pattern[str]:
    return re.compile(rf"\s*\[\[?\s*\"?{kind}\"?\s*\.\s*\"?{re.escape(name)}\"?\s*[\].]")


def _line(text: str, kind: str, name: str, key: str) -> int:
    """Return the line on which a table's key stands, or where its table begins; 1 if that cannot be told."""
    lines = text.splitlines()
    head = _head(kind, name) if name else re.compile(r"\s*$^")
    start = next((number for number, line in enumerate(lines) if head.match(line)), None)
    first = key.partition(".")[0]
    if not name:
        place = re.compile(rf"\s*\[*\s*\"?{re.escape(key)}\b")
        return next((number for number, line in enumerate(lines, 1) if place.match(line)), 1)
    if start is None:
        dotted = re.compile(rf"\s*(?:{kind}\s*\.\s*)?\"?{re.escape(name)}\"?\s*[.=]")
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
