"""One log line as bytes: a JSON object, or readable text in development.

Invariant: a line of JSON is one line, whatever a value holds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping

import orjson

MAX_LINE_BYTES = 40 * 1024
"""journald cuts a line in two at 48 KiB (LineMax= in journald.conf), and then neither half is JSON."""
MAX_TEXT = 4 * 1024
"""Characters kept of each value in a line that would exceed that."""
MAX_DEPTH = 8

# Legal in JSON, but some readers end a line at them, and terminals obey others.
_TROUBLESOME = re.compile("[\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_COLOURS = {"trace": "2", "debug": "36", "info": "32", "warn": "33", "error": "31", "fatal": "1;31"}

Render = Callable[[str, str, Mapping[str, object]], bytes]
"""Turns a level, a message and fields into a line, its line break included."""


def json_renderer() -> Render:
    """Return a renderer of JSON objects."""
    now = _clock()

    def render(level: str, message: str, fields: Mapping[str, object]) -> bytes:
        entry = {"time": now(), "level": level, "msg": message, **fields}
        try:
            line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            line = orjson.dumps(_as_json(entry), option=orjson.OPT_APPEND_NEWLINE)
        if len(line) > MAX_LINE_BYTES:
            line = orjson.dumps(_as_json(entry, max_text=MAX_TEXT), option=orjson.OPT_APPEND_NEWLINE)
        # Outside its strings JSON is ASCII, so every character replaced here is inside one.
        is_plain = line.isascii() and b"\x7f" not in line
        return line if is_plain else _TROUBLESOME.sub(_json_escape, line.decode()).encode()

    return render


def text_renderer(*, colour: bool) -> Render:
    """Return a renderer of text for people."""
    now = _clock()

    def render(level: str, message: str, fields: Mapping[str, object]) -> bytes:
        level_text = f"\x1b[{_COLOURS[level]}m{level:5}\x1b[0m" if colour else f"{level:5}"
        parts = [f"{now()[11:23]} {level_text} {_printable(message)}"]
        parts += [
            f"{key}={_printable(str(value))}" for key, value in fields.items() if key != "stack" and value is not None
        ]
        stack = str(fields.get("stack", ""))
        text = " ".join(parts) + "".join(f"\n    {_printable(line)}" for line in stack.splitlines())
        return text.encode("utf-8", "backslashreplace") + b"\n"

    return render


def _clock() -> Callable[[], str]:
    """Return a clock that gives the time as ISO 8601 in UTC, to the millisecond."""
    formatted = (0, "")

    def now() -> str:
        nonlocal formatted
        # Dividing one integer keeps second and fraction consistent; the text of a second is formatted once.
        second, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
        formatted_second, text = formatted
        if formatted_second != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            formatted = (second, text)
        return f"{text}{milliseconds:03d}Z"

    return now


def _as_json(value: object, *, max_text: int = MAX_LINE_BYTES, depth: int = 0) -> object:
    """Turn any value into one that JSON can hold; all other kinds become escaped text."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value[:max_text]).decode("utf-8", "backslashreplace")
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {
            str(_as_json(str(key), max_text=max_text)): _as_json(part, max_text=max_text, depth=depth + 1)
            for key, part in value.items()
        }
    if depth < MAX_DEPTH and isinstance(value, Iterable) and not isinstance(value, str):
        return [_as_json(part, max_text=max_text, depth=depth + 1) for part in value]
    text = str(value)
    text = text if len(text) <= max_text else text[:max_text] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _printable(text: str) -> str:
    """Escape characters that a terminal would obey instead of showing."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
