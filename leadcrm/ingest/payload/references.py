"""Reads references to characters, as HTML has them: `&#1040;` stands for a letter, `&amp;` for an ampersand.

A browser writes a decimal one for each character that the charset of its form lacks, in values and in names
(https://encoding.spec.whatwg.org/#encode). What else is escaped so was meant for a page, and went to a source.
"""

import re
from collections.abc import Mapping
from html import unescape
from typing import Any

import orjson

from leadcrm.errors import TooLaborious

_SEMICOLON, _PERCENT, _AMPERSAND, _BACKSLASH = b";%&\\"
_MAX_HURRIED = 5_000
_MAX_DEPTH = 32

# Of characters above ASCII: every charset has the others, so that what looks so was typed.
_NUMBER = r"0{0,4}(?:12[89]|1[3-9][0-9]|[2-9][0-9]{2}|[1-9][0-9]{3,5}|10[0-9]{5}|11[01][0-3][0-9]{3})"
_ABOVE_ASCII = re.compile(rf"&#{_NUMBER};(?:&#{_NUMBER};)*")

_NAMED = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&nbsp;": "\xa0"}
_OF_PAGE = re.compile("|".join((*_NAMED, r"&#(?:[0-9]{1,7}|[xX][0-9A-Fa-f]{1,6});")))

# HTML takes the numbers of control characters for those of windows-1252.
_OF_WINDOWS = {code: bytes((code,)).decode("cp1252", "replace") for code in range(0x80, 0xA0)}


def with_characters(text: str) -> str:
    """Return a text of a form with the characters that its browser wrote as decimal references."""
    return _ABOVE_ASCII.sub(_characters, text) if "&#" in text else text


def with_characters_in(fields: Mapping[str, object]) -> dict[str, object]:
    """Return a form's fields, whose values are texts or lists of texts, with the characters in them and in names."""
    resolved: dict[str, object] = {}
    for name, value in fields.items():
        texts = map(with_characters, value if isinstance(value, list) else [str(value)])
        resolved[with_characters(name)] = list(texts) if isinstance(value, list) else next(texts)
    return resolved


def _characters(run: re.Match[str]) -> str:
    text = "".join(map(chr, map(int, run[0][2:-1].split(";&#"))))
    if text.isprintable():
        return text
    # Scripts count as UTF-16 does, with two references for an emoji. A lone surrogate is no character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").translate(_OF_WINDOWS)


def may_refer(sent: bytes) -> bool:
    """Say quickly whether a body or a query, as it was sent, may hold references: most have no semicolon."""
    has_percent = _PERCENT in sent
    if not (_SEMICOLON in sent or (has_percent and (sent.find(b"%3B") >= 0 or sent.find(b"%3b") >= 0))):
        return False
    return _AMPERSAND in sent or (has_percent and b"%26" in sent) or (_BACKSLASH in sent and rb"\u0026" in sent)


class Unescaping:
    """Undoes the escaping for a page of HTML in the values of documents, such as `O&#039;Zola` and `Tom &amp; Co`.

    WordPress and PHP escape so what goes on a page, and their plugins send it on. Other names stay: `&copy` may be
    part of a link.
    """

    def __init__(self, *, at_leisure: bool) -> None:
        """Begin; without leisure, no more is undone than takes a moment."""
        self._left = _MAX_HURRIED if not at_leisure else None

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """Return a value with all texts in it unescaped. Names of members stay.

        Raises:
            TooLaborious: Without leisure, there is too much to undo.
        """
        kind = type(value)
        if kind is str:
            return self._unescaped(value) if "&" in value else value
        if kind is dict and depth < _MAX_DEPTH:
            return {name: self(member, depth + 1) for name, member in value.items()}
        if kind is list and depth < _MAX_DEPTH:
            return [self(element, depth + 1) for element in value]
        return value

    def _unescaped(self, text: str) -> str:
        if self._left is not None:
            self._left -= text.count("&")
            if self._left < 0:
                raise TooLaborious
        # JSON in a text stays JSON.
        of_page = _in_json if text[:1] in ("{", "[") and _is_json(text) else _in_text
        return _OF_PAGE.sub(of_page, with_characters(text))


def _in_text(reference: re.Match[str]) -> str:
    return _NAMED.get(reference[0]) or unescape(reference[0])


def _in_json(reference: re.Match[str]) -> str:
    return orjson.dumps(unescape(reference[0])).decode()[1:-1]


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
