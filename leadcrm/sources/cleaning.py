"""Texts without what senders put around them, and texts that stand for nothing: `p:+371…`, `'371…`, `{click_id}`."""

from __future__ import annotations

import re
from ipaddress import ip_address
from socket import AF_INET, inet_pton

MAX_PHONE = 100
"""A longer text is no phone."""

NOTHINGS = frozenset(("-", "undefined", "null", "none", "nil", "nan", "n/a", "[object object]"))
"""In lower case. `FormData` writes the first of them where a script has no value."""

_NAMES = frozenset(("Nan", "Nil"))
"""People have these names."""

_MACRO = re.compile(r"(?:\$?\{X\}|\{\{X\}\}|\[X\]|%X%|<X>|#X#)".replace("X", r"[ $A-Za-z_][\w .$:|]*"))
"""What a sender puts in for its own value, such as `{tid}` or `%SUBID%`, where it knows none.

No UUID in braces is one.
"""

_BEFORE_MACROS = frozenset("${[%<#=")
BEFORE_NOTHING = _BEFORE_MACROS | frozenset("-uUnN")
"""The first characters of what says nothing, for who counts microseconds."""

_MAX_NOTHING = max(map(len, NOTHINGS))

_TEST = "<test lead:"
"""With this begins what Meta's testing tool answers each question."""

_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))
_INVISIBLE = dict.fromkeys((0xAD, 0x61C, 0x180E, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F),
                            *range(0x2060, 0x2070)))  # fmt: skip
"""Marks of a direction and blanks without a width, as contact books and spreadsheets copy them."""

_AROUND_PHONE = _BLANKS + "'\u2019\"<>"
_AROUND_IP = _BLANKS + "'\""
_MAX_IPS = 400
"""Of a list of addresses, the characters that are looked at."""

_PHONE_BEGINS = frozenset("+(0123456789")
_PHONE_ENDS = frozenset(")0123456789")
_SCHEME = re.compile(r"(?:p|tel|callto|sms|whatsapp):(?://)?\s*(?=[+\uff0b(\d])", re.IGNORECASE)
"""Facebook's CSV writes `p:` before each phone; the others are those of links."""

_SCHEME_BEGINS = frozenset("pPtTcCsSwW")
"""The first characters of schemes: so it is quick to see that a text has none."""

_FLOAT = re.compile(r"(\+?[0-9]{5,15})\.0+")
_EXPONENT = re.compile(r"(\+?)([1-9])(?:\.([0-9]{1,14}))?[eE](\+?)([0-9]{1,2})")
_MIN_DIGITS, _MAX_DIGITS = 5, 15
_MAX_ROUNDED = 6
"""Digits that a spreadsheet shows of a long number, as in `3.712E+10`, whose others are lost."""


def says_nothing(text: str) -> bool:
    """Say whether a text stands for nothing: `null`, a macro that was not replaced, a test's dummy."""
    if text[:1] in _BEFORE_MACROS:
        return _MACRO.fullmatch(text) is not None or is_of_test(text) or text.lower() in NOTHINGS
    return len(text) <= _MAX_NOTHING and text.lower() in NOTHINGS and text not in _NAMES


def is_macro(text: str) -> bool:
    """Say whether a text is the name of a value, which its sender did not put in."""
    if text[:1] not in _BEFORE_MACROS:
        return False
    # An expression that was never put in, as `={{ $json["id"] }}`, may hold anything.
    is_expression = text.endswith("}}") and text.removeprefix("=").startswith("{{")
    return is_expression or _MACRO.fullmatch(text) is not None


def is_of_test(text: str) -> bool:
    """Say whether a text is a dummy of Meta's testing tool."""
    return text.startswith(_TEST)


def visible(text: str) -> str:
    """Return a text without characters that nobody sees, and without the blanks around it."""
    return (text if text.isascii() else text.translate(_INVISIBLE)).strip()


def has_scheme(text: str) -> bool:
    """Say whether a text is a number behind the scheme of a link or a like mark."""
    return text[:1] in _SCHEME_BEGINS and _SCHEME.match(text) is not None


def bare_phone(text: str) -> str:
    """Return a phone without the marks around it, and as digits where it was sent as a float."""
    if len(text) > MAX_PHONE:
        return text
    if text[:1] not in _PHONE_BEGINS or text[-1:] not in _PHONE_ENDS or not text.isascii():
        if text[:1].isalpha() and not has_scheme(text):
            return text
        bare = visible(text).strip(_AROUND_PHONE)
        text = _SCHEME.sub("", bare, count=1) if bare[:1].isalpha() else bare
    return _without_exponent(text) if "." in text or "E" in text or "e" in text else text


def bare_ip(text: str) -> str | None:
    """Return the first address of those that proxies list, without a port; None if there is none."""
    for listed in text[:_MAX_IPS].split(","):
        bare = listed.strip(_AROUND_IP)
        if bare[:1] == "[":
            bare = bare[1:].partition("]")[0]
        elif bare.count(":") == 1:
            bare = bare.partition(":")[0]
        if is_ip(bare):
            return bare
    return None


def is_ip(text: str) -> bool:
    """Say whether a text is the address of a host."""
    try:
        inet_pton(AF_INET, text)
    except (OSError, ValueError):
        try:
            ip_address(text)
        except ValueError:
            return False
    return True


def _without_exponent(text: str) -> str:
    if found := _FLOAT.fullmatch(text):
        return found[1]
    found = _EXPONENT.fullmatch(text)
    if found is None:
        return text
    plus, first, rest, sign, exponent = found.groups()
    rest = (rest or "").rstrip("0")
    digits = int(exponent) + 1
    is_rounded = bool(sign) and len(rest) < _MAX_ROUNDED
    if is_rounded or len(rest) >= digits or not _MIN_DIGITS <= digits <= _MAX_DIGITS:
        return text
    return plus + (first + rest).ljust(digits, "0")
