"""Reads HTML forms: `application/x-www-form-urlencoded` and, leniently, `text/plain`; `multipart` reads those in parts.

The last of a repeated field counts. Text is UTF-8 unless the sender names another charset: in the Content-Type or in
the field `_charset_`, in which browsers tell the charset of the page (RFC 7578, section 4.6). Names are in the form's
charset too. See `charset` for one that is not true.
Undecodable bytes become U+FFFD: a lead with a wrong letter is better than none, and the raw body is kept anyway.
What its charset lacks a browser writes as references: see `references`.
"""

import re
from binascii import a2b_qp
from codecs import BOM_UTF8
from itertools import chain

from python_multipart.multipart import parse_options_header

from leadcrm.database.entities import FIELDS
from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.charset import true_charset
from leadcrm.ingest.payload.effort import (
    is_utf8,
    require_few_references,
    require_quick_charset,
    require_quick_urlencoded,
)
from leadcrm.ingest.payload.references import with_characters, with_characters_in
from leadcrm.sources.charset_labels import UTF_8, codec_of

CHARSET_FIELD = "_charset_"
"""The field in which browsers tell the charset of the page."""

FIELD_NAMES = {name.encode(): name for name in (*FIELDS, CHARSET_FIELD)}
"""Of the fields of a lead, and of the charset's, by their bytes."""

# Far more than any real form has, so that reading one takes milliseconds at most.
_MAX_PAIRS = 20_000
_MAX_WHOLE_PAIRS = 2_000
_MAX_CODE_UNITS = 100_000
# Far more than any real header has. A browser puts at most two into one.
_MAX_PARAMETERS = 64

LIST_MARK = b"[]"
"""With this ends the name of a field that has several values."""

BLANKS = b" \t\r\n"
_PLUS_AS_BLANK = bytes.maketrans(b"+", b" ")
# To look for one byte by its number or for several by `find` takes a fraction of `in`, which asks for a number first.
_ESCAPED_AMPERSAND = b"%26"
STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
"""A percent sign that begins no escape."""

_ESCAPED_SEPARATOR = b"&amp;"
_ESCAPED_PAIR = re.compile(rb"&amp;(?:%s)=" % b"|".join(name.encode() for name in FIELDS))
# A name at the start of a line: names of fields have few other characters, and sentences have blanks.
_LINE_NAME = re.compile(rb"[\w.\[\]-]{1,100}")
# RFC 2046, section 5.1.1, allows 70 characters. .NET writes a part's Content-Type before its Content-Disposition.
DELIMITER = re.compile(rb"^--([^\r\n]{1,70})\r?\nContent-[A-Za-z-]{1,20}:", re.MULTILINE | re.IGNORECASE)
"""The first line of a part of a multipart form, whose boundary it holds."""

# Of a form that was encoded as a whole once more, each escape is an escaped percent sign before the rest of another
# one, or a plus that stands for a blank where all blanks are so. It is such a form if a text of it has a blank, a plus,
# an at sign or letters above ASCII so, and nothing of a link, which may well be encoded for its own sake.
_NOT_TWICE = re.compile(rb"%(?!25(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})|2[Bb])|=%2[Bb]")
_TEXT_TWICE = re.compile(
    rb"=(?:[^&=%+]*%25(?:20|2[Bb]|40|[89A-Fa-f][0-9A-Fa-f]|u[0-9A-Fa-f]{4}))+(?:[^&=%+]|%2[Bb])*(?:&|\Z)"
)

# Code units of UTF-16, as JavaScript's `escape()` writes them, and other escapes of what is above ASCII.
_CODE_UNITS = re.compile(rb"(?:%u[0-9A-Fa-f]{4})+")
_OF_ESCAPE = re.compile(rb"(?:%u[0-9A-Fa-f]{4})+|(?:%[89A-Fa-f][0-9A-Fa-f])+")
_CHARSET_PAIR = re.compile(rb"(?:\A|&)_charset_=([^&]*)")

# Where a number begins behind a plus that its sender did not encode, so that it was decoded as a blank.
_NUMBER_WITHOUT_PLUS = re.compile(r" [ (]*\d")


def read_urlencoded(body: bytes, content_type: str, *, at_leisure: bool = True) -> dict[str, object]:
    """Return the form's fields of a lead.

    Raises:
        InvalidPayload: The body has no `name=value` pair, or too many, or `&amp;` between them, or is multipart.
        TooLaborious: Without leisure, the body cannot be read.
    """
    if DELIMITER.match(after_mark(body)):
        raise InvalidPayload("the form is multipart, and its Content-Type names another")
    if _ESCAPED_SEPARATOR in body and has_escaped_separators(body):
        raise InvalidPayload("the form's fields are separated by &amp;")
    return _read_pairs(body, content_type, b"&", at_leisure=at_leisure)


def read_escaped_urlencoded(body: bytes, content_type: str, *, at_leisure: bool = True) -> dict[str, object]:
    """Return the fields of a form that `has_escaped_separators`.

    Raises:
        InvalidPayload: The body has too many pairs.
    """
    return _read_pairs(body, content_type, _ESCAPED_SEPARATOR, at_leisure=at_leisure)


def has_escaped_separators(body: bytes) -> bool:
    """Say whether every `&` of a form is written `&amp;`, and a lead's field stands behind one.

    PHP writes so where `arg_separator.output` says it. Elsewhere `&amp;` may be part of a value.
    """
    escaped = _ESCAPED_PAIR.search(body)
    return escaped is not None and body.count(b"&") == body.count(_ESCAPED_SEPARATOR)


def _read_pairs(body: bytes, content_type: str, separator: bytes, *, at_leisure: bool) -> dict[str, object]:
    body = after_mark(body).rstrip(b"\r\n")
    if b"=" not in body:
        raise InvalidPayload("the body is no form: it has no name=value pair")
    if body.count(separator) >= _MAX_PAIRS:
        raise InvalidPayload(f"the form has more than {_MAX_PAIRS} fields")
    if not at_leisure:
        require_quick_urlencoded(body)
    if body.find(b"%u") >= 0:
        body = _with_code_units(body, content_type, UTF_8, at_leisure=at_leisure)
    values: dict[str, bytes] = {}
    for pair in body.split(separator):
        name, _, value = pair.partition(b"=")
        if b"%" in name:
            name = percent_decoded(name)
        if name in FIELD_NAMES:
            values[FIELD_NAMES[name]] = value
    named = form_charset(content_type, percent_decoded(values.pop(CHARSET_FIELD, b"")))
    decoded = {name: percent_decoded(value.translate(_PLUS_AS_BLANK)) for name, value in values.items()}
    if not at_leisure:
        require_quick_charset(b"".join(decoded.values()), named)
    charset = true_charset(named, decoded.values())
    fields: dict[str, object] = {name: value.decode(charset, "replace") for name, value in decoded.items()}
    if values.get("phone", b"").startswith(b"+"):
        fields["phone"] = _with_plus(str(fields["phone"]))
    return with_references_read(fields, body, at_leisure=at_leisure) if body.find(_ESCAPED_AMPERSAND) >= 0 else fields


def with_references_read(fields: dict[str, object], form: bytes, *, at_leisure: bool) -> dict[str, object]:
    """Return a form's fields with the letters to which they refer.

    Raises:
        TooLaborious: Without leisure, there are too many.
    """
    if not at_leisure:
        require_few_references(form)
    return with_characters_in(fields)


def _with_plus(phone: str) -> str:
    """Return the phone with the plus that became a blank. Nobody writes a blank before a number on purpose."""
    return "+" + phone[1:] if _NUMBER_WITHOUT_PLUS.match(phone) else phone


def read_lines(body: bytes, content_type: str) -> dict[str, object]:
    """Return the lead's fields of a form of the type `text/plain`: a `name=value` on each line, nothing encoded.

    Browsers write so for `enctype=text/plain`. A line that begins no field belongs to the value above it.

    Raises:
        InvalidPayload: The body has too many lines.
    """
    lines = after_mark(body).rstrip(b"\r\n").splitlines(keepends=True)
    if len(lines) > _MAX_PAIRS:
        raise InvalidPayload(f"the form has more than {_MAX_PAIRS} lines")
    values: dict[str, list[bytes]] = {}
    value: list[bytes] = []
    for line in lines:
        name, separator, rest = line.partition(b"=")
        if separator and _LINE_NAME.fullmatch(name):
            value = [rest]
            if name in FIELD_NAMES:
                values[FIELD_NAMES[name]] = value
        else:
            value.append(line)
    # The last line break ends the field.
    texts = {name: _without_line_break(b"".join(value)) for name, value in values.items()}
    charset = true_charset(form_charset(content_type, texts.pop(CHARSET_FIELD, b"")), texts.values())
    return {name: with_characters(text.decode(charset, "replace")) for name, text in texts.items()}


def _without_line_break(text: bytes) -> bytes:
    return text[:-1].removesuffix(b"\r") if text.endswith(b"\n") else text.removesuffix(b"\r")


def read_whole_urlencoded(
    body: bytes, content_type: str, *, default: str = UTF_8, at_leisure: bool = True
) -> dict[str, object]:
    """Return all of the form's fields by their names; of a name such as `service[]`, the list of its values.

    An empty value replaces none: forms may have a field twice, once for a small screen.

    Args:
        body: The form.
        content_type: The header's value.
        default: The codec of text that is not UTF-8 and for which no charset is named.
        at_leisure: Whether the reading may take long. Otherwise others wait for it.

    Raises:
        InvalidPayload: The body has no `name=value` pair, or too many.
        TooLaborious: Without leisure, the body cannot be read.
    """
    body = after_mark(body).rstrip(b"\r\n")
    if b"=" not in body:
        raise InvalidPayload("the body is no form: it has no name=value pair")
    if body.count(b"&") >= _MAX_WHOLE_PAIRS:
        raise InvalidPayload(f"the form has more than {_MAX_WHOLE_PAIRS} fields")
    if not at_leisure:
        require_quick_urlencoded(body)
    if body.find(b"%25") >= 0:
        body = _encoded_once(body)
    if body.find(b"%u") >= 0:
        body = _with_code_units(body, content_type, default, at_leisure=at_leisure)
    values: dict[bytes, bytes] = {}
    lists: dict[bytes, list[bytes]] = {}
    for pair in body.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name:
            name = percent_decoded(name.replace(b"+", b" "))
            if value and name.endswith(LIST_MARK):
                lists.setdefault(name, []).append(value)
            if value or name not in values:
                values[name] = value
    named = form_charset(content_type, percent_decoded(values.pop(CHARSET_FIELD.encode(), b"")))
    if not at_leisure:
        texts = (*values, *values.values(), *(text for several in lists.values() for text in several))
        require_quick_charset(percent_decoded(b"".join(texts)), named)
    decoded = {name: percent_decoded(value.replace(b"+", b" ")) for name, value in values.items()}
    charset = true_charset(named, chain(decoded, decoded.values()), default)

    def text_of(data: bytes, value: bytes) -> str:
        text = data.decode(charset, "replace")
        # Which field is the phone, only a mapping knows.
        return _with_plus(text) if value.startswith(b"+") else text

    fields: dict[str, object] = {
        name.decode(charset, "replace"): text_of(data, values[name]) for name, data in decoded.items()
    }
    for name, several in lists.items():
        texts_of_list = [text_of(percent_decoded(value.replace(b"+", b" ")), value) for value in several]
        fields[name.decode(charset, "replace")] = texts_of_list
    return with_references_read(fields, body, at_leisure=at_leisure) if body.find(_ESCAPED_AMPERSAND) >= 0 else fields


def after_mark(body: bytes) -> bytes:
    """Return a form without the byte order mark and the blanks in front, which would become part of its first name."""
    return body.lstrip(BLANKS).removeprefix(BOM_UTF8).lstrip(BLANKS)


def _encoded_once(form: bytes) -> bytes:
    """Return a form without the second encoding of all of its values, if it is beyond doubt that it has one."""
    if _NOT_TWICE.search(form) or not _TEXT_TWICE.search(form):
        return form
    with_blanks = form.replace(b"%2B", b"+").replace(b"%2b", b"+")
    if with_blanks != form and (b"@" in form or b"%2520" in form):
        return form
    once = with_blanks.replace(b"%25", b"%")
    return once if is_utf8(percent_decoded(once)) else form


def _with_code_units(form: bytes, content_type: str, default: str, *, at_leisure: bool) -> bytes:
    """Return a form in UTF-8 with what `escape()` made of its texts escaped as UTF-8 is: `%u0410` is `%D0%90`.

    Classic ASP reads such forms, and pages have been made for it.
    """
    if not at_leisure:
        require_few_references(form)
    field = _CHARSET_PAIR.search(form)
    named = form_charset(content_type, percent_decoded(field[1]) if field else b"")
    if named not in (None, UTF_8) or form.count(b"%") > _MAX_CODE_UNITS:
        return form
    if is_utf8(percent_decoded(_CODE_UNITS.sub(b"", form))):
        return _CODE_UNITS.sub(_as_utf8, form)
    # What is no UTF-8 beside them is Latin-1, as `escape()` writes it, or in the charset of the source.
    codec = "latin-1" if default == UTF_8 else default
    return _OF_ESCAPE.sub(lambda escapes: _as_utf8(escapes, codec), form)


def _as_utf8(escapes: re.Match[bytes], codec: str = UTF_8) -> bytes:
    is_of_units = escapes[0].startswith(b"%u")
    units = bytes.fromhex(escapes[0].translate(None, b"%u").decode())
    text = units.decode("utf-16-be" if is_of_units else codec, "replace").encode()
    # What is ASCII may stand between fields.
    return text if min(text) > ord("~") else b"".join([b"%%%02X" % byte for byte in text])


def percent_decoded(text: bytes) -> bytes:
    """Return a text with its escapes, such as `%20`, undone; what is none stays."""
    if b"%" not in text:
        return text
    # The decoder of quoted-printable undoes the same escapes under another mark, forty times as fast as Python could.
    # It has rules of its own for a mark without two digits, so such a one is escaped first.
    return a2b_qp(STRAY_PERCENT.sub(b"%25", text).replace(b"=", b"=3D").replace(b"%", b"="))


def charset_of(content_type: str) -> str | None:
    """Return the codec of the charset that the Content-Type names, None if it names none that is known."""
    return charset_in(parameters_of_type(content_type))


def parameters_of_type(content_type: str) -> dict[bytes, bytes]:
    """Return the parameters of a Content-Type."""
    # The parser encodes to latin-1, which cannot encode the surrogate escapes of header bytes.
    return parameters_of(content_type.encode("latin-1", "replace"))


def parameters_of(header: bytes) -> dict[bytes, bytes]:
    """Return a header's parameters; none where there are far more than any real header has."""
    return parse_options_header(header)[1] if 0 < header.count(b";") <= _MAX_PARAMETERS else {}


def form_charset(content_type: str, named: bytes) -> str | None:
    """Return the codec of a form by its Content-Type, else by the label in its field `_charset_`, if any is known."""
    return charset_in(parameters_of_type(content_type)) or codec_of(named)


def charset_in(parameters: dict[bytes, bytes]) -> str | None:
    """Return the codec of the charset among a header's parameters, None if there is none that is known."""
    return codec_of(parameters.get(b"charset", b""))
