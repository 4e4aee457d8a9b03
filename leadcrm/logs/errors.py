"""The fields of a log line about an exception: its type, its text where that is safe, and its stack.

Invariant: a database's message, DETAIL, CONTEXT and statement quote the rows they are about, so they never reach the
log. Its SQLSTATE, constraint, table and column do. Such exceptions are recognized by their attributes and their
module's name, so that no driver is imported for it.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from leadcrm.errors import LeadcrmError, StoreError

MAX_MESSAGE = 2 * 1024
MAX_STACK = 16 * 1024
MAX_FRAMES = 30
"""Frames kept of each exception, counted from where it was raised: a runaway recursion has a thousand alike."""

_DATABASE_MODULES = ("psycopg2", "pony")
# Raised before any row is sent. Their texts, such as "connection refused", are what an operator needs.
_CONNECTION_ERRORS = frozenset({"OperationalError", "InterfaceError"})


def describe(error: BaseException) -> dict[str, object]:
    """Return the fields for an exception: `error`, `stack`, the database's code and names, `hint`."""
    fields: dict[str, object] = {"error": _headline(error), "stack": _stack(error)}
    for link in _chain(error):
        for name, text in _database_names(link).items():
            fields.setdefault(name, text)
    if isinstance(error, LeadcrmError) and error.hint:
        fields["hint"] = error.hint
    return fields


def _headline(error: BaseException) -> str:
    text = _safe_text(error)
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__


def _safe_text(error: BaseException) -> str:
    original = _original(error)
    sqlstate = getattr(original, "pgcode", None)
    if isinstance(sqlstate, str):
        return f"SQLSTATE {sqlstate}"
    from_driver = type(original).__module__.partition(".")[0] in _DATABASE_MODULES
    if from_driver and type(original).__name__ not in _CONNECTION_ERRORS:
        return ""
    return " ".join(str(original).split())[:MAX_MESSAGE]


def _original(error: BaseException) -> BaseException:
    """Return the driver's exception, which Pony wraps in one of its own."""
    original = getattr(error, "original_exc", None)
    return original if isinstance(original, BaseException) else error


def _database_names(error: BaseException) -> dict[str, str]:
    if isinstance(error, StoreError):
        return error.detail
    original = _original(error)
    sqlstate = getattr(original, "pgcode", None)
    if not isinstance(sqlstate, str):
        return {}
    diagnostics = getattr(original, "diag", None)
    names = {"sqlstate": sqlstate}
    for name in ("constraint", "table", "column"):
        text = getattr(diagnostics, f"{name}_name", None)
        if isinstance(text, str):
            names[name] = text
    return names


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception, then its causes one by one."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _stack(error: BaseException) -> str:
    """Return the stack in Python's layout, without the messages of the chain, which Python would print."""
    parts = []
    for link in reversed(list(_chain(error))):
        frames = traceback.format_list(traceback.extract_tb(link.__traceback__, limit=-MAX_FRAMES))
        parts.append(f"Traceback (most recent call last):\n{''.join(frames)}{_headline(link)}")
    return "\n\nwhich led to:\n\n".join(parts)[-MAX_STACK:]
