"""Reads a JSON object (RFC 8259, UTF-8, optional byte order mark) and keeps each value as the sender wrote it.

There are two readers with the same result. The quick one, orjson, rounds numbers and rejects some valid JSON (escaped
lone surrogates, `1e999`), so its result counts only if neither can matter. The careful one, the standard library's
scanner, finds each field's source text: a number becomes that text, an object or array that text without its blanks.
Both reject NaN, encodings other than UTF-8 and nesting over `MAX_NESTING`.

No step is quadratic, and the Python code visits only the object's own members. What takes long even so is read only
`at_leisure`: see `effort`.
"""

import gc
import json
import re
import sys
import threading
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import NoReturn

import orjson

from leadcrm.database.entities import FIELDS
from leadcrm.errors import InvalidPayload, TooDeep
from leadcrm.ingest.payload.effort import has_many_brackets, require_careful_json, require_quick_json

# orjson's own limit, so that both readers agree.
MAX_NESTING = 1024
# Nesting that fits above any caller's stack within the interpreter's default recursion limit of 1,000.
_SAFE_NESTING = 100

# More objects and arrays than any lead has. Parsing a million of them twice would take longest of all documents.
_MAX_QUICK_CONTAINERS = 50_000

_FIELDS = frozenset(FIELDS)
_PLAIN_TYPES = frozenset((str, bool, type(None)))

_BLANKS = r"[ \t\n\r]*"
_OPENING = re.compile(_BLANKS + r"\{" + _BLANKS)
_COLON = re.compile(_BLANKS + ":" + _BLANKS)
# A key that needs no decoding, with its colon. Nearly every key takes this one match instead of a match and a call.
_PLAIN_KEY = re.compile(r'"([^"\\\x00-\x1f]*)"' + _BLANKS + ":" + _BLANKS)
_COMMA = re.compile(_BLANKS + "," + _BLANKS)
_CLOSING = re.compile(_BLANKS + r"\}" + _BLANKS + r"\Z")

_NO_BLANKS = dict.fromkeys(map(ord, " \t\n\r"))
_NON_ASCII_ESCAPES = re.compile(r"(?:\\u(?!00[0-7])[0-9a-fA-F]{4})+")

# Brackets as signed bytes: an opening one is a step down (+1), a closing one a step up (-1).
_BRACKET_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_OPENING_STEP = b"\x01"
_STEPS_AT_ONCE = 256
# Of a body that cannot be read in a hurry, only this much is looked at for nesting.
_HURRIED_BYTES = 65_536


def read_json(body: bytes, *, at_leisure: bool = True) -> dict[str, object]:
    """Return the members of a JSON object, of a repeated name the last.

    The fields of a lead are str, bool or None: numbers, objects and arrays become their JSON text. Other members may be
    missing.

    Raises:
        InvalidPayload: The body is not such an object.
        TooLaborious: Without leisure, the body cannot be read. It is invalid even then if its beginning is nested too
            deep.
    """
    body = body.removeprefix(BOM_UTF8)
    if not at_leisure:
        if has_many_brackets(body):
            _require_shallow(_nesting(body[:_HURRIED_BYTES]))
        require_quick_json(body)
    payload = None if at_leisure and _would_take_long_twice(body) else _read_quickly(body)
    if payload is not None:
        return payload
    if not at_leisure:
        require_careful_json(body)
    return _read_carefully(body)


def _would_take_long_twice(body: bytes) -> bool:
    return len(body) > _MAX_QUICK_CONTAINERS and body.count(b"[") + body.count(b"{") > _MAX_QUICK_CONTAINERS


def read_any_json(body: bytes, *, exactly: bool = False) -> object:
    """Return what a JSON document holds, whatever it is.

    Args:
        body: The document.
        exactly: A number is the text that the sender wrote; else a whole number within 64 bits is an int, any other a
            float.

    Raises:
        InvalidPayload: The body is no such document.
    """
    body = body.removeprefix(BOM_UTF8)
    if not exactly:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload("the body is not UTF-8") from error
    nesting = _nesting(body)
    if nesting > MAX_NESTING:
        raise InvalidPayload(f"the body is nested deeper than {MAX_NESTING} levels")
    try:
        with _room_to_recurse(nesting):
            return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidPayload("the body is no JSON") from error


def _read_quickly(body: bytes) -> dict[str, object] | None:
    """Return orjson's result if the careful reader's would be the same, else None."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(payload) is not dict:
        raise InvalidPayload("the body is JSON, but no object")
    if _PLAIN_TYPES.issuperset(map(type, payload.values())):
        return payload
    if all(type(payload.get(name)) in _PLAIN_TYPES for name in FIELDS):
        return payload
    return None


def _read_carefully(body: bytes) -> dict[str, object]:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload("the body is not UTF-8") from error
    nesting = _nesting(body)
    _require_shallow(nesting)
    try:
        with _room_to_recurse(nesting), _collector_pauses.during(body):
            return _fields(text)
    except json.JSONDecodeError as error:
        raise InvalidPayload("the body is no JSON") from error


def _fields(text: str) -> dict[str, object]:
    position = _skip(_OPENING, text, 0)
    if _CLOSING.match(text, position):
        return {}
    fields: dict[str, tuple[object, int, int]] = {}
    read_value, plain_key, comma = _DECODER.raw_decode, _PLAIN_KEY.match, _COMMA.match
    while True:
        if key := plain_key(text, position):
            name, start = key[1], key.end()
        elif text.startswith('"', position):
            name, position = read_value(text, position)
            start = _skip(_COLON, text, position)
        else:
            raise InvalidPayload("the body is no JSON object: a member's name is missing")
        value, position = read_value(text, start)
        if name in _FIELDS:
            fields[name] = value, start, position
        if found := comma(text, position):
            position = found.end()
        else:
            break
    _skip(_CLOSING, text, position)
    return {name: _sender_text(value, text[start:end]) for name, (value, start, end) in fields.items()}


def _skip(expected: re.Pattern[str], text: str, position: int) -> int:
    if found := expected.match(text, position):
        return found.end()
    raise InvalidPayload("the body is no JSON object")


def _sender_text(value: object, source: str) -> object:
    if source[0] in '"tfn':
        return value
    return _compact(source) if source[0] in "{[" else source


def _compact(source: str) -> str:
    """Return valid JSON without blanks, non-ASCII characters and slashes unescaped, all else as written."""
    # A JSON string holds no raw control characters, so two of them can replace the escapes that may hide a quote.
    masked = source.replace("\\\\", "\x00").replace('\\"', "\x01")
    pieces = masked.split('"')
    pieces[::2] = '"'.join(pieces[::2]).translate(_NO_BLANKS).split('"')
    compact = '"'.join(pieces)
    if "\\" in compact:
        compact = _NON_ASCII_ESCAPES.sub(_unescape, compact.replace("\\/", "/"))
    return compact.replace("\x01", '\\"').replace("\x00", "\\\\")


def _unescape(escapes: re.Match[str]) -> str:
    text: str = _DECODER.raw_decode(f'"{escapes[0]}"')[0]
    return text


def _require_shallow(nesting: int) -> None:
    if nesting > MAX_NESTING:
        raise TooDeep(f"the body is nested deeper than {MAX_NESTING} levels")


def _nesting(body: bytes) -> int:
    """Return how deep the brackets outside strings are nested, or a larger number that is still safe.

    In a document that is not JSON the result is exact up to the first fault, where a parser stops.
    """
    brackets = body.count(b"[") + body.count(b"{")
    if brackets <= _SAFE_NESTING:
        return brackets
    pieces = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    steps = b"".join(pieces[::2]).translate(_BRACKET_STEPS, _NOT_BRACKETS)
    deepest = depth = 0
    for at in range(0, len(steps), _STEPS_AT_ONCE):
        # Most blocks cannot reach the limit, and counting one is far quicker than walking through it.
        block = steps[at : at + _STEPS_AT_ONCE]
        openings = block.count(_OPENING_STEP)
        if depth + openings <= MAX_NESTING:
            deepest = max(deepest, depth + openings)
        else:
            deepest = max(deepest, *accumulate(memoryview(block).cast("b"), initial=depth))
        depth += 2 * openings - len(block)
    return deepest


_interpreter_lock = threading.Lock()


class _CollectorPauses:
    """Pauses the collector of cycles while at least one large document is read.

    It would look through the growing document over and over, which takes more than half of the time. A document has no
    cycles, and those that other threads leave meanwhile are collected milliseconds later.
    """

    def __init__(self) -> None:
        self._count = 0
        self._was_on = False

    @contextmanager
    def during(self, body: bytes) -> Iterator[None]:
        if not has_many_brackets(body):
            yield
            return
        with _interpreter_lock:
            if not self._count:
                self._was_on = gc.isenabled()
                gc.disable()
            self._count += 1
        try:
            yield
        finally:
            with _interpreter_lock:
                self._count -= 1
                if not self._count and self._was_on:
                    gc.enable()


_collector_pauses = _CollectorPauses()


@contextmanager
def _room_to_recurse(levels: int) -> Iterator[None]:
    """Raise the recursion limit for the scanner, whose recursion counts against it up to Python 3.11.

    The limit belongs to the whole interpreter. Other threads see it only rise, by a bounded number, for milliseconds.
    Each call takes back only what it has added, so calls may overlap.
    """
    if levels <= _SAFE_NESTING:
        yield
        return
    with _interpreter_lock:
        sys.setrecursionlimit(sys.getrecursionlimit() + levels)
    try:
        yield
    finally:
        with _interpreter_lock:
            sys.setrecursionlimit(sys.getrecursionlimit() - levels)


def _refuse_constant(_name: str) -> NoReturn:
    raise InvalidPayload("the body holds NaN or Infinity, which JSON has not")


# Numbers are taken from the source text, so the decoder keeps them as str: fast, and without a limit on digits.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)
