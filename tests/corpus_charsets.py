"""Forms in other charsets than UTF-8, for the corpus."""

from collections.abc import Iterator

_ANNA = "\u0410\u043d\u043d\u0430"

_CHARSETS = {
    "cp1251": "cp1251",
    "Windows-1251": "cp1251",
    "x-cp1251": "cp1251",
    "koi8": "koi8_r",
    "ibm866": "cp866",
    "shift_jis": "cp932",
    "Windows-31J": "cp932",
    "gb2312": "gb18030",
    "GBK": "gb18030",
    "big5": "big5",
    "euc-kr": "cp949",
    "iso-2022-jp": "iso2022_jp",
    "latin1": "cp1252",
    "iso_8859-2:1987": "iso8859_2",
    "iso-8859-9": "cp1254",
    "tis-620": "cp874",
}
_TEXTS = {
    "cp1251": _ANNA,
    "koi8_r": _ANNA,
    "cp866": _ANNA,
    "cp932": "\u6771\u2460",
    "gb18030": "\u5f35\u4e1c",
    "big5": "\u5f35",
    "cp949": "\uae40\ubdc1",
    "iso2022_jp": "\u6771\u4eac",
    "cp1252": "caf\u00e9\u20ac",
    "iso8859_2": "\u0141\u00f3d\u017a",
    "cp1254": "\u015fi\u015fli\u20ac",
    "cp874": "\u0e01\u20ac",
}


def forms_in_charsets() -> Iterator[tuple[str, bytes, bytes, str]]:
    """Yield the name of a form, its body, the parameter of its Content-Type and its first name."""
    for name, codec in _CHARSETS.items():
        text = _TEXTS[codec]
        first_name = b"firstName=" + b"".join(b"%%%02X" % byte for byte in text.encode(codec))
        yield f"in {name}", first_name, b"; charset=" + name.encode(), text
        yield f"in {name}, as a field says", first_name + b"&_charset_=" + name.encode(), b"", text
    anna, utf_8 = b"firstName=%C0%ED%ED%E0", b"firstName=%C4%81"
    yield "a charset in an encoded field", anna + b"&_charset_=windows%2D1251", b"", _ANNA
    yield "two charsets", anna + b"&_charset_=utf-8", b"; charset=cp1251", _ANNA
    yield "no charset in its field", b"_charset_=&" + utf_8, b"", "\u0101"
    yield "an unknown charset in its field", b"_charset_=uu&" + utf_8, b"", "\u0101"
    yield "UTF-16 that is none", utf_8, b"; charset=utf-16", "\u0101"
    yield "ASCII that is UTF-8", utf_8, b"; charset=us-ascii", "\u0101"
