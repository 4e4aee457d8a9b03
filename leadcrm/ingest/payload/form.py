"""Reads HTML forms: `application/x-www-form-urlencoded`, `multipart/form-data` (RFC 7578) and, leniently, `text/plain`.

The last of a repeated field counts. Text is UTF-8 unless the sender names another charset: in the Content-Type, in a
part's own, or in the field `_charset_`, in which browsers tell the charset of the page (RFC 7578, section 4.6). Names
are in the form's charset too. See `charset` for one that is not true.
Undecodable bytes become U+FFFD: a lead with a wrong letter is better than none, and the raw body is kept anyway.
What its charset lacks a browser writes as references: see `references`.
"""

import re
from base64 import b64decode
from binascii import a2b_qp
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import chain
from urllib.parse import quote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from leadcrm.database.entities import FIELDS
from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.charset import true_charset
from leadcrm.ingest.payload.effort import (
    is_utf8,
    require_few_references,
    require_quick_charset,
    require_quick_multipart,
    require_quick_quoted_printable,
    require_quick_urlencoded,
)
from leadcrm.ingest.payload.references import with_characters, with_characters_in
from leadcrm.sources.charset_labels import UTF_8, codec_of

_CHARSET_FIELD = "_charset_"
_FIELDS = {name.encode(): name for name in (*FIELDS, _CHARSET_FIELD)}

# Far more than any real form has, so that reading one takes milliseconds at most.
_MAX_PAIRS = 20_000
_MAX_PARTS = 1_000
_MAX_WHOLE_PAIRS = 2_000
_MAX_CODE_UNITS = 100_000
# A file's name may have 255 characters of four bytes each. The parser's time is quadratic in this bound.
_MAX_PART_HEADER_BYTES = 2_048
# Far more than any real header has. A browser puts at most two into one.
_MAX_PARAMETERS = 64

_PLAIN_PART = re.compile(rb'\r\n(?i:content-disposition): form-data; name="([^"\\\r\n]{1,200})"\r\n\r\n')
_LIST_MARK = b"[]"
_BLANKS = b" \t\r\n"
_PLUS_AS_BLANK = bytes.maketrans(b"+", b" ")
# To look for one byte by its number or for several by `find` takes a fraction of `in`, which asks for a number first.
_ESCAPED_AMPERSAND = b"%26"
_HASH, _PERCENT, _QUESTION_MARK = b"#%?"
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_ESCAPED_SEPARATOR = b"&amp;"
_ESCAPED_PAIR = re.compile(rb"&amp;(?:%s)=" % b"|".join(name.encode() for name in FIELDS))
# A name at the start of a line: names of fields have few other characters, and sentences have blanks.
_LINE_NAME = re.compile(rb"[\w.\[\]-]{1,100}")
# RFC 2047, section 2. Blanks between two of them are none of the text.
_ENCODED_WORD = re.compile(rb"=\?([\w.-]{1,40})\?([BbQq])\?([^?\s]*)\?=(?:\s+(?==\?))?")
_EXTENDED = re.compile(rb";[ \t]*((?i:file)?(?i:name))\*=[ \t]*\"?([\w.-]{0,40})'[\w-]{0,20}'([^;\"\s]+)")
# An equals sign before neither two digits nor a line break, as no encoder writes it (RFC 2045, section 6.7).
_NOT_QUOTED_PRINTABLE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n)")
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
            name = _percent_decoded(name)
        if name in _FIELDS:
            values[_FIELDS[name]] = value
    named = form_charset(content_type, _percent_decoded(values.pop(_CHARSET_FIELD, b"")))
    decoded = {name: _percent_decoded(value.translate(_PLUS_AS_BLANK)) for name, value in values.items()}
    if not at_leisure:
        require_quick_charset(b"".join(decoded.values()), named)
    charset = true_charset(named, decoded.values())
    fields: dict[str, object] = {name: value.decode(charset, "replace") for name, value in decoded.items()}
    if values.get("phone", b"").startswith(b"+"):
        fields["phone"] = _with_plus(str(fields["phone"]))
    return _resolved(fields, body, at_leisure=at_leisure) if body.find(_ESCAPED_AMPERSAND) >= 0 else fields


def _resolved(fields: dict[str, object], form: bytes, *, at_leisure: bool) -> dict[str, object]:
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
            if name in _FIELDS:
                values[_FIELDS[name]] = value
        else:
            value.append(line)
    # The last line break ends the field.
    texts = {name: _without_line_break(b"".join(value)) for name, value in values.items()}
    charset = true_charset(form_charset(content_type, texts.pop(_CHARSET_FIELD, b"")), texts.values())
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
            name = _percent_decoded(name.replace(b"+", b" "))
            if value and name.endswith(_LIST_MARK):
                lists.setdefault(name, []).append(value)
            if value or name not in values:
                values[name] = value
    named = form_charset(content_type, _percent_decoded(values.pop(_CHARSET_FIELD.encode(), b"")))
    if not at_leisure:
        texts = (*values, *values.values(), *(text for several in lists.values() for text in several))
        require_quick_charset(_percent_decoded(b"".join(texts)), named)
    decoded = {name: _percent_decoded(value.replace(b"+", b" ")) for name, value in values.items()}
    charset = true_charset(named, chain(decoded, decoded.values()), default)

    def text_of(data: bytes, value: bytes) -> str:
        text = data.decode(charset, "replace")
        # Which field is the phone, only a mapping knows.
        return _with_plus(text) if value.startswith(b"+") else text

    fields: dict[str, object] = {
        name.decode(charset, "replace"): text_of(data, values[name]) for name, data in decoded.items()
    }
    for name, several in lists.items():
        texts_of_list = [text_of(_percent_decoded(value.replace(b"+", b" ")), value) for value in several]
        fields[name.decode(charset, "replace")] = texts_of_list
    return _resolved(fields, body, at_leisure=at_leisure) if body.find(_ESCAPED_AMPERSAND) >= 0 else fields


def after_mark(body: bytes) -> bytes:
    """Return a form without the byte order mark and the blanks in front, which would become part of its first name."""
    return body.lstrip(_BLANKS).removeprefix(BOM_UTF8).lstrip(_BLANKS)


def _encoded_once(form: bytes) -> bytes:
    """Return a form without the second encoding of all of its values, if it is beyond doubt that it has one."""
    if _NOT_TWICE.search(form) or not _TEXT_TWICE.search(form):
        return form
    with_blanks = form.replace(b"%2B", b"+").replace(b"%2b", b"+")
    if with_blanks != form and (b"@" in form or b"%2520" in form):
        return form
    once = with_blanks.replace(b"%25", b"%")
    return once if is_utf8(_percent_decoded(once)) else form


def _with_code_units(form: bytes, content_type: str, default: str, *, at_leisure: bool) -> bytes:
    """Return a form in UTF-8 with what `escape()` made of its texts escaped as UTF-8 is: `%u0410` is `%D0%90`.

    Classic ASP reads such forms, and pages have been made for it.
    """
    if not at_leisure:
        require_few_references(form)
    field = _CHARSET_PAIR.search(form)
    named = form_charset(content_type, _percent_decoded(field[1]) if field else b"")
    if named not in (None, UTF_8) or form.count(b"%") > _MAX_CODE_UNITS:
        return form
    if is_utf8(_percent_decoded(_CODE_UNITS.sub(b"", form))):
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


def _percent_decoded(text: bytes) -> bytes:
    if b"%" not in text:
        return text
    # The decoder of quoted-printable undoes the same escapes under another mark, forty times as fast as Python could.
    # It has rules of its own for a mark without two digits, so such a one is escaped first.
    return a2b_qp(_STRAY_PERCENT.sub(b"%25", text).replace(b"=", b"=3D").replace(b"%", b"="))


def read_multipart(
    body: bytes, content_type: str, *, whole: bool = False, default: str = UTF_8, at_leisure: bool = True
) -> dict[str, object]:
    """Return the form's fields; a file counts as its text, or as its name if it is binary.

    Parts without a name are skipped.

    Args:
        body: The form.
        content_type: The header's value, with the boundary.
        whole: All fields by their names, not those of a lead alone.
        default: The codec of text that is not UTF-8 and for which no charset is named.
        at_leisure: Whether the reading may take long. Otherwise others wait for it.

    Raises:
        InvalidPayload: The boundary is missing, a part is malformed, there are too many parts, or of the fields of a
            lead alone the closing boundary is missing: the rest of the body may have been lost.
        TooLaborious: Without leisure, the body cannot be read.
    """
    boundary = boundary_of(content_type)
    if not boundary:
        raise InvalidPayload("the multipart form's Content-Type names no boundary")
    return read_parts(after_mark(body), content_type, boundary, whole=whole, default=default, at_leisure=at_leisure)


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that the Content-Type names, empty if it names none."""
    return _options(content_type).get(b"boundary", b"")


def read_parts(
    body: bytes,
    content_type: str,
    boundary: bytes,
    *,
    whole: bool = False,
    default: str = UTF_8,
    at_leisure: bool = True,
) -> dict[str, object]:
    """Return the fields of a multipart form that begins with its boundary; see `read_multipart`.

    Raises:
        InvalidPayload: As `read_multipart` does, but for a missing boundary.
        TooLaborious: Without leisure, the body cannot be read.
    """
    if not at_leisure:
        require_quick_multipart(body, boundary)
    parts = _Parts(whole=whole, at_leisure=at_leisure)
    if not parts.take_plain(body, boundary):
        parts.parse(_closed(body, boundary) if whole else body, boundary)
    field = parts.fields.pop(_CHARSET_FIELD.encode(), None)
    named = form_charset(content_type, field.data if field else b"")
    if not at_leisure:
        kept = (*parts.fields.values(), *(part for several in parts.lists.values() for part in several))
        texts = [part for part in kept if not part.is_utf8_file(named)]
        for of_part in {part.charset or named for part in texts}:
            require_quick_charset(b"".join(part.data for part in texts), of_part)
    charset = true_charset(named, parts.in_charset_of_form(), default)
    fields: dict[str, object] = {
        _text_of_name(name, charset) if whole else name.decode(): part.text(charset, whole=whole)
        for name, part in parts.fields.items()
    }
    for name, several in parts.lists.items():
        fields[_text_of_name(name, charset)] = [part.text(charset, whole=whole) for part in several]
    return _resolved(fields, body, at_leisure=at_leisure) if _HASH in body else fields


def _closed(body: bytes, boundary: bytes) -> bytes:
    """Return a form with the closing delimiter that it lacks, and without a last part whose head is cut off.

    The sender has said that this is all: a body that is shorter than its length is none.
    """
    delimiter = b"--" + boundary
    start = body.rfind(delimiter)
    if start < 0 or delimiter + b"--" in body:
        return body
    before = b"\r\n" + delimiter
    if b"\r\n\r\n" not in body[start:]:
        body = body[:start].removesuffix(b"\r\n")
    else:
        cut = next((size for size in range(len(before), 0, -1) if body.endswith(before[:size])), 0)
        body = body[: len(body) - cut]
    return body + before + b"--\r\n" if body else body


def _text_of_name(name: bytes, charset: str) -> str:
    """Return the name of a field or a file, which some programs encode as in a URL or as in the head of a mail."""
    if _PERCENT in name and not _STRAY_PERCENT.search(name):
        decoded = _percent_decoded(name)
        if is_utf8(decoded):
            return decoded.decode()
    if _QUESTION_MARK in name and (decoded := _ENCODED_WORD.sub(_word_in_utf8, name)) != name:
        return decoded.decode("utf-8", "replace")
    return name.decode(charset, "replace")


def _word_in_utf8(word: re.Match[bytes]) -> bytes:
    label, coding, text = word.groups()
    try:
        data = b64decode(text) if coding in b"Bb" else a2b_qp(text, header=True)
    except ValueError:
        return word[0]
    return data.decode(codec_of(label) or UTF_8, "replace").encode()


def _extended(header: bytes) -> dict[bytes, bytes]:
    """Return the names in a header that are written as `name*=UTF-8''…` (RFC 8187), encoded as in a URL.

    No form should have them (RFC 7578, section 4.2), but programs write them for what is no ASCII.
    """
    if header.find(b"*=") < 0:
        return {}
    return {
        found[1].lower(): quote(_percent_decoded(found[3]).decode(codec_of(found[2]) or UTF_8, "replace")).encode()
        for found in _EXTENDED.finditer(header)
    }


class _Part:
    """One part's headers and content."""

    def __init__(self, data: bytes = b"") -> None:
        self.headers: dict[bytes, bytes] = {}
        self.data = data

    def text(self, form_charset: str, *, whole: bool = False) -> str:
        charset = true_charset(self.charset, (self.data,)) if self.charset else form_charset
        file_name = self.disposition.get(b"filename")
        if file_name is None:
            return self.data.decode(charset, "replace")
        try:
            if b"\x00" not in self.data:
                return self.data.decode(charset)
        except UnicodeDecodeError:
            pass
        charset = true_charset(form_charset, (file_name,))
        return _text_of_name(file_name, charset) if whole else file_name.decode(charset, "replace")

    def is_utf8_file(self, named: str | None) -> bool:
        """Say whether the part is a file that is text only if it is valid UTF-8, which shows quickly."""
        return b"filename" in self.disposition and (self.charset or named) in (None, UTF_8)

    @cached_property
    def charset(self) -> str | None:
        return _charset(_parameters(self.headers.get(b"content-type", b"")))

    @cached_property
    def disposition(self) -> dict[bytes, bytes]:
        return _parameters(self.headers.get(b"content-disposition", b""))


class _Parts:
    """Receives the parser's callbacks and keeps the last part of each field.

    Of a whole form, an empty part replaces none, and all parts of a name such as `service[]` are in `lists`.
    """

    def __init__(self, *, whole: bool, at_leisure: bool = True) -> None:
        self._whole = whole
        self._at_leisure = at_leisure
        self.fields: dict[bytes, _Part] = {}
        self.lists: dict[bytes, list[_Part]] = {}
        self._count = 0
        self.finished = False
        self._begin_header()

    def take_plain(self, body: bytes, boundary: bytes) -> bool:
        """Take a form whose parts have their name alone, as most forms are, and return False of any other.

        The parser takes five times as long.
        """
        delimiter = b"--" + boundary
        if not body.startswith(delimiter):
            return False
        *parts, end = body[len(delimiter) :].split(b"\r\n" + delimiter, _MAX_PARTS)
        heads = [_PLAIN_PART.match(part) for part in parts]
        if end not in (b"--", b"--\r\n") or not all(heads):
            return False
        for part, head in zip(parts, heads, strict=True):
            assert head is not None
            self._keep(head[1], _Part(part[head.end() :]))
        return bool(parts)

    def parse(self, body: bytes, boundary: bytes) -> None:
        """Take any form. Raises `InvalidPayload`."""
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self.begin,
                    "on_header_field": self.add_header_name,
                    "on_header_value": self.add_header_value,
                    "on_header_end": self.end_header,
                    "on_part_data": self.add_data,
                    "on_part_end": self.end,
                    "on_end": self.finish,
                },
                max_header_size=_MAX_PART_HEADER_BYTES,
            )
            parser.write(body)
        except FormParserError as error:
            raise InvalidPayload("the multipart form is malformed") from error
        if not self.finished:
            raise InvalidPayload("the multipart form has no closing boundary")

    def begin(self) -> None:
        self._count += 1
        if self._count > _MAX_PARTS:
            raise InvalidPayload(f"the multipart form has more than {_MAX_PARTS} parts")
        self._part = _Part()
        self._data: list[bytes] = []
        self._begin_header()

    def _begin_header(self) -> None:
        self._header_name = b""
        self._header_value = b""

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        self._part.headers[self._header_name.lower()] = self._header_value
        self._begin_header()

    def add_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def end(self) -> None:
        if self._whole:
            self._part.disposition.update(_extended(self._part.headers.get(b"content-disposition", b"")))
        data, coding = b"".join(self._data), self._part.headers.get(b"content-transfer-encoding")
        self._part.data = _transfer_decoded(data, coding, at_leisure=self._at_leisure) if coding else data
        self._keep(self._part.disposition.get(b"name", b""), self._part)

    def _keep(self, name: bytes, part: _Part) -> None:
        if not ((self._whole and name) or name in _FIELDS):
            return
        before = self.fields.get(name) if self._whole else None
        if before is not None and not part.data:
            return
        if before is not None and before.data and name.endswith(_LIST_MARK):
            self.lists.setdefault(name, [before]).append(part)
        self.fields[name] = part

    def in_charset_of_form(self) -> Iterator[bytes]:
        """Yield the names and the texts that are in the charset of the form, which files have not."""
        yield from self.fields
        for part in self.fields.values():
            if part.charset is None and b"filename" not in part.disposition:
                yield part.data

    def finish(self) -> None:
        self.finished = True


def _transfer_decoded(data: bytes, coding: bytes, *, at_leisure: bool) -> bytes:
    """Return a part's content with its Content-Transfer-Encoding undone, or as it came if that is not true.

    Browsers send none. Programs that make a form as they make a mail do, such as Indy and Python's email package.
    """
    coding = coding.strip(_BLANKS).lower()
    if coding == b"base64":
        with suppress(ValueError):
            return b64decode(data.translate(None, _BLANKS), validate=True)
    elif coding == b"quoted-printable":
        if not at_leisure:
            require_quick_quoted_printable(data)
        if not _NOT_QUOTED_PRINTABLE.search(data):
            return a2b_qp(data)
    return data


def charset_of(content_type: str) -> str | None:
    """Return the codec of the charset that the Content-Type names, None if it names none that is known."""
    return _charset(_options(content_type))


def _options(content_type: str) -> dict[bytes, bytes]:
    # The parser encodes to latin-1, which cannot encode the surrogate escapes of header bytes.
    return _parameters(content_type.encode("latin-1", "replace"))


def _parameters(header: bytes) -> dict[bytes, bytes]:
    """Return a header's parameters; none where there are far more than any real header has."""
    return parse_options_header(header)[1] if 0 < header.count(b";") <= _MAX_PARAMETERS else {}


def form_charset(content_type: str, named: bytes) -> str | None:
    """Return the codec of a form by its Content-Type, else by the label in its field `_charset_`, if any is known."""
    return _charset(_options(content_type)) or codec_of(named)


def _charset(options: dict[bytes, bytes]) -> str | None:
    return codec_of(options.get(b"charset", b""))
