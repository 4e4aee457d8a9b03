"""What may be read while senders wait: bounds that cost far less to look at than the reading that they bound.

A body within them takes a few milliseconds. They are beyond what people and programs send as a lead; what exceeds them
is kept all the same, and read at leisure.
"""

from leadcrm.errors import TooLaborious
from leadcrm.sources.charset_labels import UTF_8

_MAX_BRACKETS = 10_000
_MAX_MEMBERS = 20_000
_MAX_ITEMS = 200_000
"""For the quick reader of JSON."""

_MAX_CAREFUL = 2_000
"""Of each kind, for the careful one, which takes a microsecond for each."""

_MARKS = b"[{:,\\"
_NO_MARKS = bytes(set(range(256)) - set(_MARKS))

_PIECES = b"[]{},:\"'\\/\xc2\xe2" + bytes(range(32))
"""The bytes at which a reader of what is almost JSON stops; of quotes and blanks beyond ASCII the first ones."""

_MAX_PAIRS = 1_000
_MAX_ESCAPES = 20_000
_MAX_REFERENCES = 5_000
_MAX_PARTS = 50
_MAX_DECODED_BYTES = 131_072
"""A compressed body costs its sender next to nothing."""

_MAX_MAPPED = 4_000
"""Members, items, objects and arrays of a document that the mapping of a source walks through."""

_MAX_RECODED_BYTES = 32_768
"""Decoding is slow where the bytes have no meaning in their charset."""


def has_many_brackets(body: bytes) -> bool:
    """Say whether a body has more objects and arrays than the quick reader takes in a moment."""
    return len(body) > _MAX_BRACKETS and body.count(b"[") + body.count(b"{") > _MAX_BRACKETS


def require_quick_json(body: bytes) -> None:
    """Raise `TooLaborious` unless the quick reader of JSON takes a moment for the body."""
    if len(body) <= _MAX_BRACKETS:
        return
    # One pass over the body instead of one for each mark.
    marks = body.translate(None, _NO_MARKS)
    if len(marks) > _MAX_BRACKETS:
        _require(not has_many_brackets(marks))
        _require(marks.count(b":") <= _MAX_MEMBERS)
        _require(marks.count(b",") <= _MAX_ITEMS)


def require_careful_json(body: bytes) -> None:
    """Raise `TooLaborious` unless the careful reader of JSON takes a moment for the body."""
    if len(body) > _MAX_CAREFUL:
        marks = body.translate(None, _NO_MARKS)
        _require(len(marks) <= _MAX_CAREFUL or all(marks.count(mark) <= _MAX_CAREFUL for mark in _MARKS))


def require_quick_mapping(text: bytes) -> None:
    """Raise `TooLaborious` unless the document in a JSON text is mapped in a moment."""
    if len(text) > _MAX_MAPPED:
        _require(len(text.translate(None, _NO_MARKS)) <= _MAX_MAPPED)


def require_quick_almost_json(text: bytes) -> None:
    """Raise `TooLaborious` unless what is almost JSON is made JSON in a moment."""
    _require(len(text) <= _MAX_MAPPED or len(text) - len(text.translate(None, _PIECES)) <= _MAX_MAPPED)
    _require(len(text) <= _MAX_DECODED_BYTES)


def require_few_elements(text: bytes) -> None:
    """Raise `TooLaborious` unless an XML text is read and mapped in a moment."""
    _require(text.count(b"<") <= _MAX_CAREFUL and text.count(b"=") <= _MAX_CAREFUL and text.count(b"&") <= _MAX_CAREFUL)


def require_few_lines(text: bytes, limit: int) -> None:
    """Raise `TooLaborious` if a text has more lines than are read in a moment."""
    _require(text.count(b"\n") <= limit)


def require_short(decoded: bytes) -> None:
    """Raise `TooLaborious` unless a body whose content codings were undone is short."""
    _require(len(decoded) <= _MAX_DECODED_BYTES)


def require_quick_urlencoded(body: bytes) -> None:
    """Raise `TooLaborious` unless a form in the URL's encoding is read in a moment."""
    _require(body.count(b"&") < _MAX_PAIRS and body.count(b"%") <= _MAX_ESCAPES)


def require_quick_multipart(body: bytes, boundary: bytes) -> None:
    """Raise `TooLaborious` unless a multipart form is read in a moment."""
    _require(body.count(b"--" + boundary) <= _MAX_PARTS)


def require_quick_quoted_printable(data: bytes) -> None:
    """Raise `TooLaborious` unless quoted-printable is undone in a moment."""
    _require(data.count(b"=") <= _MAX_ESCAPES)


def require_few_references(form: bytes) -> None:
    """Raise `TooLaborious` unless the characters to which a form, as it was sent, refers are put in in a moment."""
    _require(form.count(b"&#") + form.count(b"%26") + form.count(b"%u") <= _MAX_REFERENCES)


def require_quick_charset(body: bytes, named: str | None) -> None:
    """Raise `TooLaborious` unless the body's fields are decoded in a moment, from the charset if one is named."""
    _require(len(body) <= _MAX_RECODED_BYTES or (named in (None, UTF_8) and is_utf8(body)))


def is_utf8(body: bytes) -> bool:
    """Say whether all bytes have a meaning in UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _require(is_quick: bool) -> None:
    if not is_quick:
        raise TooLaborious
