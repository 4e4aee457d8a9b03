"""Where the values of variables come from: flags, environment, credentials, `.env`, and files that hold a secret.

A flag takes precedence over the environment, then a systemd credential, then `.env` in the working directory, then the
default. An empty string counts as unset, because service managers pass unset variables on as empty ones; but an empty
DATABASE_URL is a fault. A secret never stands in an error, in a `repr` or on the command line, where every user of the
machine can read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream

from leadcrm.configuration.database_url import DatabaseURL
from leadcrm.errors import ConfigError

_READ_ELSEWHERE = frozenset(("NODE_ENV", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"))
_CLOSE = 0.85
"""How much of a name is a variable's, where that may be meant: a letter too few or too many in a short one."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One thing that can be set.

    Args:
        name: its name in the environment and in `.env`.
        default: the text people read. It is parsed unless `default_value` is given.
        help: what it is for, in a few words.
        accepted: the values it takes, as an error says them.
        parse: turns a text and the working directory into the value; raises `ValueError` with the fault.
        default_value: returns the value where none is set; for defaults that are no text, such as the host's name.
        secret: it may stand in a file or a systemd credential too, and no `repr` shows it.
        flag_names_file: its flag takes the path of a file and never the value.
    """

    name: str
    default: str
    help: str
    accepted: str
    parse: Callable[[str, Path], Any]
    default_value: Callable[[Settings], Any] | None
    secret: bool
    flag_names_file: bool

    @property
    def file_name(self) -> str:
        """The variable that names a file with the value; only secrets have one."""
        return f"{self.name}_FILE"

    @property
    def flag_key(self) -> str:
        """The name under which `load` expects the flag's text."""
        return self.file_name if self.flag_names_file else self.name

    @property
    def flag(self) -> str:
        """The flag on the command line, such as --log-level or --admin-token-file."""
        return "--" + self.flag_key.lower().replace("_", "-")


class Settings:
    """The texts of all sources; a variable's value comes from the first source that has one."""

    def __init__(self, flags: Mapping[str, str | None], environ: Mapping[str, str], directory: Path) -> None:
        """Read `.env`; the arguments are those of `load`. Raises `ConfigError`."""
        self.environ = environ
        self.directory = directory
        self.sources: dict[str, str] = {}
        """Where the values came from that were asked for, by the names of their variables."""
        dotenv = _read_dotenv(directory / ".env")
        self._credentials = environ.get("CREDENTIALS_DIRECTORY", "")
        self._texts: tuple[tuple[str, Mapping[str, str]], ...] = (
            ("flag", {name: text for name, text in flags.items() if text}),
            ("environment", {name: text for name, text in environ.items() if text}),
            (".env", {name: text for name, text in dotenv.items() if text}),
        )
        self._empty = {name for texts in (flags, environ, dotenv) for name, text in texts.items() if text == ""}

    def value(self, variable: Variable) -> Any:
        """Return the value of a variable, and record its source."""
        found = self._find(variable)
        if found is None:
            self.sources[variable.name] = "default"
            if variable.default_value is not None:
                return variable.default_value(self)
            return variable.parse(variable.default, self.directory)
        text, source = found
        self.sources[variable.name] = source
        try:
            value = variable.parse(text, self.directory)
        except ValueError as error:
            raise ConfigError(variable.name, str(error), variable.accepted) from None
        if source == "flag" and isinstance(value, DatabaseURL) and value.has_password:
            raise ConfigError(
                variable.name,
                "the URL on the command line holds a password, which every user of this machine can read there",
                f"a URL without one; with one in the environment ({variable.name}) or a file ({variable.file_name})",
            )
        if isinstance(value, DatabaseURL) and source.startswith(("file ", "credential")):
            value = replace(value, reread=lambda: self.value(variable))
        return value

    def is_empty(self, name: str) -> bool:
        """Say whether a flag, the environment or `.env` has the variable, but without a text."""
        return name in self._empty

    def misspelt(self, variables: Iterable[Variable]) -> dict[str, str]:
        """Return the names in `.env` that are nearly those of variables, with these.

        Other programs may have theirs in the same file, so that a name like none is nobody's mistake.
        """
        known = {name for one in variables for name in ((one.name, one.file_name) if one.secret else (one.name,))}
        _, dotenv = self._texts[-1]
        strange = dotenv.keys() - known - _READ_ELSEWHERE
        return {name: meant for name in sorted(strange) if (meant := _closest(name, known))}

    def node_env(self) -> str:
        """Return the text of NODE_ENV, which has no flag; empty where it is unset."""
        return next((values["NODE_ENV"] for _, values in self._texts[1:] if "NODE_ENV" in values), "")

    def _find(self, variable: Variable) -> tuple[str, str] | None:
        """Return the text of a variable and its source, or None where it is unset."""
        for source, values in self._texts:
            text = values.get(variable.name)
            file = values.get(variable.file_name) if variable.secret else None
            if text and file:
                raise ConfigError(
                    variable.name,
                    f"is set twice, as {variable.name} and {variable.file_name}",
                    "one of the two",
                )
            if source == "flag" and text and variable.flag_key != variable.name:
                raise ConfigError(variable.name, "stands on the command line, where all can read it", variable.flag)
            if text:
                return text, source
            if file:
                path = self.directory / file
                return _read_secret(variable, path), f"file {path}"
            if source == "environment" and variable.secret and self._credentials:
                path = Path(self._credentials, variable.name)
                if not _is_absent(path):
                    return _read_secret(variable, path), "credential"
        return None


def _closest(name: str, known: set[str]) -> str | None:
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

    close = get_close_matches(name.upper().removeprefix("LEADCRM_"), known, n=1, cutoff=_CLOSE)
    return close[0] if close else None


def _is_absent(path: Path) -> bool:
    """Say whether a file surely does not exist; one out of reach must not count as unset."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _read_secret(variable: Variable, path: Path) -> str:
    """Read a secret's file, without the one line break that editors put at its end."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(variable.name, f"cannot be read from {path}: {reason}", "a readable text file") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        # An empty token would open the door it was meant to lock.
        raise ConfigError(variable.name, f"{path} is empty", "a file that holds the value alone")
    return text


def _read_dotenv(path: Path) -> dict[str, str]:
    """Read a `.env` file without expanding anything: a $ in a password is a $."""
    try:
        # Editors on Windows begin it with a byte order mark.
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(".env", f"cannot be read: {reason}", "a readable text file") from None
    for binding in bindings:
        if binding.error:
            # To skip the line could mean to keep leads in another database than the one it names.
            fault = f"line {binding.original.line} of {path} cannot be read"
            raise ConfigError(".env", fault, "lines of the form NAME=value")
    return {binding.key: binding.value for binding in bindings if binding.key and binding.value is not None}
