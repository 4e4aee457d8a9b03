"""Makes JSON of what people and programs write for it: templates, reprs of Python, code in JavaScript, JSONP.

One pass from left to right, without a step back: regular expressions look at each character a bounded number of times.
A text that is no such text either is given up at its first fault.
"""

from __future__ import annotations

import re

from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.json import MAX_NESTING

_BLANKS = re.compile(r"[\s\ufeff\0]*")
_BEGINNING = re.compile(r"[\s\ufeff]{0,9}(?:\)\]\}'?,?|(?:while|for)\s?\([1;]{1,2}\);?|/\*\*?/|[\w$.]{1,100}\s?\()?")
"""What may stand before a list or an object: what keeps it from being run as a script, or the call of JSONP."""

_MAY_STAND_BEFORE = re.compile(rb"[/)\x80-\xff\0]|[\w$.]{1,100}\s?\(")
_LONGEST_BEGINNING = 300

_LINE_COMMENT = re.compile(r"[^\r\n]*")
_END = re.compile(r"[\s\ufeff\0;)]*")

_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201c\u201d", "\u201d": "\u201d", "\u201e": "\u201c\u201d"}
"""The quotes that close a text, by the one that opens it."""

# A quote ends a text if what follows it does. Others are quotes within it that nobody escaped.
_NAME_ENDS = r"[\s\ufeff]*:"
_VALUE_ENDS = r"[\s\ufeff]*(?:[,}\]]|//|/\*)"


def _text(quotes: str, what_follows: str) -> re.Pattern[str]:
    inner = rf"[^\\{quotes}]*(?:(?:\\.|[{quotes}](?!{what_follows}))[^\\{quotes}]*)*"
    return re.compile(rf"({inner})[{quotes}](?={what_follows})", re.DOTALL)


_NAMES = {quote: _text(quotes, _NAME_ENDS) for quote, quotes in _QUOTES.items()}
_VALUES = {quote: _text(quotes, _VALUE_ENDS) for quote, quotes in _QUOTES.items()}
_BARE_NAME = re.compile(r"([^\s\"'{}\[\],:]+)")
_BARE_VALUE = re.compile(r"([^{}\[\],\"\r\n]+)")
_COMMENT = re.compile(r"\s(?://|/\*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CONSTANTS = {
    "true": "true",
    "false": "false",
    **dict.fromkeys(("null", "none", "nil", "undefined", "nan", "inf", "-inf", "infinity", "-infinity"), "null"),
}

_TO_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[\"\\/bfnrt]|x([0-9a-fA-F]{2})|(['\r\n]))|[\\\"\x00-\x1f]")


def begins_as_almost_json(text: bytes) -> bool:
    """Say whether a text begins as an object or a list does, behind what may stand before it."""
    if not _MAY_STAND_BEFORE.match(text):
        return False
    head = text[:_LONGEST_BEGINNING].decode(errors="replace")
    return head[_beginning_of(head) :][:1] in ("{", "[")


def json_of(text: str) -> str:
    """Return the JSON that a text means; of several objects one after the other a list.

    Raises:
        InvalidPayload: It means none.
    """
    writer = _Writer(text)
    position, count = _beginning_of(text), 0
    while text[position : position + 1] in ("{", "["):
        writer.pieces.append("," if count else "")
        position = _skip(text, _END.match(text, writer.write(position)).end())  # type: ignore[union-attr]
        count += 1
    if not count or position < len(text):
        raise _fault()
    document = "".join(writer.pieces)
    return document if count == 1 else f"[{document}]"


def _beginning_of(text: str) -> int:
    found = _BEGINNING.match(text, _skip(text, 0))
    return _skip(text, found.end() if found else 0)


def _skip(text: str, position: int) -> int:
    """Return where something begins that is neither blank nor comment."""
    while True:
        found = _BLANKS.match(text, position)
        assert found is not None
        position = found.end()
        if text.startswith("//", position):
            end = _LINE_COMMENT.match(text, position)
            assert end is not None
            position = end.end()
        elif text.startswith("/*", position) and (after := text.find("*/", position + 2)) > 0:
            position = after + 2
        else:
            return position


class _Writer:
    """Writes lists and objects as JSON, piece by piece."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.pieces: list[str] = []

    def write(self, position: int) -> int:
        """Write what begins with the bracket at a position; return where it ends."""
        text, pieces = self._text, self.pieces
        closing: list[str] = []
        is_empty = True
        while True:
            position = self._begin(position, closing)
            is_empty = True
            while closing:
                position = _skip(text, position)
                character = text[position : position + 1]
                if character == closing[-1]:
                    pieces.append(closing.pop())
                    position = self._end(position + 1, closing)
                    is_empty = False
                elif character == ",":
                    # One too many, or nothing between two.
                    position += 1
                else:
                    pieces.append("" if is_empty else ",")
                    is_empty = False
                    if closing[-1] == "}":
                        position = self._write_name(position)
                    if text[position : position + 1] in ("{", "["):
                        break
                    position = self._end(self._write_scalar(position), closing)
            else:
                return position

    def _begin(self, position: int, closing: list[str]) -> int:
        if len(closing) >= MAX_NESTING:
            raise _fault()
        bracket = self._text[position]
        self.pieces.append(bracket)
        closing.append("}" if bracket == "{" else "]")
        return position + 1

    def _end(self, position: int, closing: list[str]) -> int:
        """Return where the next member or item begins, or the bracket that closes all of them."""
        if not closing:
            return position
        position = _skip(self._text, position)
        if self._text.startswith(",", position):
            return position + 1
        if self._text.startswith(closing[-1], position):
            return position
        raise _fault()

    def _write_name(self, position: int) -> int:
        """Write a name and its colon; return where its value begins."""
        position = self._write_text(position, _NAMES, _BARE_NAME)
        position = _skip(self._text, position)
        if not self._text.startswith(":", position):
            raise _fault()
        self.pieces.append(":")
        return _skip(self._text, position + 1)

    def _write_scalar(self, position: int) -> int:
        if self._text[position : position + 1] in (",", "}"):
            # A template had nothing to fill in.
            self.pieces.append("null")
            return position
        return self._write_text(position, _VALUES, _BARE_VALUE)

    def _write_text(self, position: int, quoted: dict[str, re.Pattern[str]], bare: re.Pattern[str]) -> int:
        """Write what stands in quotes, or without any; return where it ends."""
        text = self._text
        if text[position : position + 1] in ("u", "U") and text[position + 1 : position + 2] in ("'", '"'):
            # Python 2 wrote its texts so.
            position += 1
        quote = text[position : position + 1]
        pattern = quoted.get(quote)
        found = bare.match(text, position) if pattern is None else pattern.match(text, position + 1)
        if found is None:
            raise _fault()
        if pattern is not None:
            self.pieces.append(_json_text(found[1]))
            return found.end()
        word, comment = found[1], _COMMENT.search(found[1])
        word = word[: comment.start()] if comment else word
        is_value = bare is _BARE_VALUE
        self.pieces.append(_bare_value(word.strip()) if is_value else _json_text(word))
        return position + len(word)


def _bare_value(word: str) -> str:
    return _CONSTANTS.get(word.lower()) or (word if _NUMBER.fullmatch(word) else _json_text(word))


def _json_text(text: str) -> str:
    return f'"{_TO_ESCAPE.sub(_escaped, text)}"'


def _escaped(found: re.Match[str]) -> str:
    """Return what JSON writes for an escape, a quote or a control character."""
    text, code, character = found[0], found[1], found[2]
    if code:
        return f"\\u00{code}"
    if character:
        return character if character == "'" else ""
    if text in ("\\", '"'):
        return f"\\{text}"
    return text if text[0] == "\\" else f"\\u{ord(text):04x}"


def _fault() -> InvalidPayload:
    return InvalidPayload("the body is no JSON")
