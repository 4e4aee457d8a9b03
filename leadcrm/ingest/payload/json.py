"""Reading a JSON object (RFC 8259, UTF-8, a byte order mark allowed) without losing what the sender wrote.

Two ways lead to the same answer. The quick one, orjson, rounds numbers and refuses some documents that are
JSON (lone surrogates as escapes, `1e999`), so its result is used only where none of that can matter. The
careful one, the standard library's scanner, finds each field's own piece of the source: a number is that
piece, an object or array is that piece without its blanks. Both refuse NaN, other encodings than UTF-8 and
nesting over `MAX_NESTING`.

It runs on the event loop, where no document within the body's limit may take long: nothing here is quadratic,
and only the object's own members, not what they hold, are walked in Python.
"""

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
from leadcrm.errors import InvalidPayload

# orjson's own limit, so that both ways agree.
MAX_NESTING = 1024
# Nesting that any caller's stack leaves room for under the interpreter's default recursion limit of 1,000.
_SAFE_NESTING = 100

# No lead has as many objects and arrays. Building a million of them twice is what would take longest of all.
_MAX_QUICK_CONTAINERS = 50_000

_FIELDS = frozenset(FIELDS)
_PLAIN_TYPES = frozenset((str, bool, type(None)))

_BLANKS = r"[ \t\n\r]*"
_OPENING = re.compile(_BLANKS + r"\{" + _BLANKS)
_COLON = re.compile(_BLANKS + ":" + _BLANKS)
# A key that needs no decoding, with its colon: nearly every key, in one match instead of a match and a call.
_PLAIN_KEY = re.compile(r'"([^"\\\x00-\x1f]*)"' + _BLANKS + ":" + _BLANKS)
_COMMA = re.compile(_BLANKS + "," + _BLANKS)
_CLOSING = re.compile(_BLANKS + r"\}" + _BLANKS + r"\Z")

_NO_BLANKS = dict.fromkeys(map(ord, " \t\n\r"))
_NON_ASCII_ESCAPES = re.compile(r"(?:\\u(?!00[0-7])[0-9a-fA-F]{4})+")

# Brackets as signed bytes: an opening one is a step down (+1), a closing one a step up (-1).
_BRACKET_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def read_json(body: bytes) -> dict[str, object]:
    """Return the members of a JSON object, the last of a repeated name.

    The fields of a lead are str, bool or None: numbers, objects and arrays come as their JSON text. Other
    members may be left out. Raises InvalidPayload where the body is no such object.
    """
    body = body.removeprefix(BOM_UTF8)
    payload = _read_quickly(body)
    return _read_carefully(body) if payload is None else payload


def _read_quickly(body: bytes) -> dict[str, object] | None:
    """Return orjson's answer where it is the careful way's answer too, else None."""
    if len(body) > _MAX_QUICK_CONTAINERS and body.count(b"[") + body.count(b"{") > _MAX_QUICK_CONTAINERS:
        return None
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
    if nesting > MAX_NESTING:
        raise InvalidPayload(f"the body is nested deeper than {MAX_NESTING} levels")
    try:
        with _room_to_recurse(nesting):
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
    # A JSON string holds no raw control character: two of them can stand in for escapes that hide a quote.
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


def _nesting(body: bytes) -> int:
    """Return how deep brackets outside strings are nested, or a number at least as large that is still safe.

    Exact up to the first fault of a document that is no JSON, which is as far as a parser gets.
    """
    brackets = body.count(b"[") + body.count(b"{")
    if brackets <= _SAFE_NESTING:
        return brackets
    pieces = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    steps = b"".join(pieces[::2]).translate(_BRACKET_STEPS, _NOT_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


_recursion_limit_lock = threading.Lock()


@contextmanager
def _room_to_recurse(levels: int) -> Iterator[None]:
    """Let the scanner recurse: up to Python 3.11 that counts against the limit for Python's own calls.

    The limit belongs to the whole interpreter: it only ever goes up for others, by a bounded number and for
    milliseconds, and the lock keeps two that overlap from restoring each other's.
    """
    if levels <= _SAFE_NESTING:
        yield
        return
    with _recursion_limit_lock:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + levels)
        try:
            yield
        finally:
            sys.setrecursionlimit(limit)


def _refuse_constant(_name: str) -> NoReturn:
    raise InvalidPayload("the body holds NaN or Infinity, which JSON has not")


# Numbers are taken from the source: as str they cost nothing and know no limit of digits.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)
