"""Reads references to characters, as HTML has them, in the values of forms: `&#1040;` stands for a letter.

A browser writes a decimal one for each character that the charset of its page lacks, in values and in names
(https://encoding.spec.whatwg.org/#encode).
"""

import re
from collections.abc import Mapping

# Of characters above ASCII: every charset has the others, so that what looks so was typed.
_NUMBER = r"0{0,4}(?:12[89]|1[3-9][0-9]|[2-9][0-9]{2}|[1-9][0-9]{3,5}|10[0-9]{5}|11[01][0-3][0-9]{3})"
_ABOVE_ASCII = re.compile(rf"&#{_NUMBER};(?:&#{_NUMBER};)*")

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
