"""The charset of a text, whatever its sender says of it.

jQuery and XMLHttpRequest send UTF-8, whatever charset a page's code names. So bytes that are UTF-8 are read as such
where a charset of one byte a character is named. Natural text in such a charset is hardly ever UTF-8 by chance: each
of its letters above ASCII would have to stand before one, two or three others that begin no word.
"""

import re
from collections.abc import Callable, Iterable
from itertools import pairwise

from leadcrm.sources.charset_labels import UTF_8

_OF_SEVERAL_BYTES = frozenset(("gb18030", "big5hkscs", "euc_jp", "iso2022_jp", "cp932", "cp949"))

_MAX_BY_CHANCE = 16
"""The bytes above ASCII that a text in another charset may have and still be UTF-8 by chance: a few words."""

_ASCII = bytes(range(0x80))
_WORDS = re.compile(r".?[^\x00-\x7f]+.?", re.DOTALL)
# Emoji, and of what is two bytes in UTF-8 the letters and signs of languages in use. Others are more likely two letters
# of another charset: U+0373 is a rare Greek letter, or the Ukrainian for "no" in windows-1251.
_COMMON = re.compile(
    r"[\x00-\x7f\xa0-\u0137\u0139-\u0148\u014a-\u0177\u0179-\u017e\u0218-\u021b\u0386-\u03ce\u0401-\u040c\u040e-\u044f"
    r"\u0451-\u045f\u0490\u0491\u05d0-\u05ea\u0621-\u064a\U0001f300-\U0001faff]*"
)


def true_charset(named: str | None, texts: Iterable[bytes], default: str = UTF_8) -> str:
    """Return the codec of texts: that of the charset that the sender names, or UTF-8.

    Args:
        named: The codec of the charset that is named; None if none is.
        texts: What the sender sent.
        default: The codec of texts that are not UTF-8 and for which no charset is named.
    """
    codec = named or default
    if codec == UTF_8 or (named and named in _OF_SEVERAL_BYTES):
        return codec
    joined = b"\n".join(texts)
    if joined.isascii():
        return codec
    try:
        text = joined.decode()
    except UnicodeDecodeError:
        return codec
    is_utf8 = codec in _OF_SEVERAL_BYTES or len(joined.translate(None, _ASCII)) > _MAX_BY_CHANCE
    if is_utf8 or _is_natural(text, is_common=_COMMON.fullmatch):
        return UTF_8
    return codec if _is_natural(joined.decode(codec, "replace"), is_common=str.isalpha) else UTF_8


def _is_natural(text: str, *, is_common: Callable[[str], object]) -> bool:
    """Say whether the letters above ASCII are common ones, and none of them changes the case within a word."""
    for word in _WORDS.findall(text):
        letters = "".join(character for character in word if not character.isascii())
        if not is_common(letters) or any(
            one.islower() and one != "\xdf" and after.isupper() for one, after in pairwise(word)
        ):
            return False
    return True
