"""Reads HTML forms in parts: `multipart/form-data` (RFC 7578).

The last part of a field counts. What `form` says of charsets holds here too, and a part may name its own.
"""

import re
from base64 import b64decode
from binascii import a2b_qp
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from urllib.parse import quote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.charset import true_charset
from leadcrm.ingest.payload.effort import (
    is_utf8,
    require_quick_charset,
    require_quick_multipart,
    require_quick_quoted_printable,
)
from leadcrm.ingest.payload.form import (
    BLANKS,
    CHARSET_FIELD,
    FIELD_NAMES,
    LIST_MARK,
    STRAY_PERCENT,
    after_mark,
    charset_in,
    form_charset,
    parameters_of,
    parameters_of_type,
    percent_decoded,
    with_references_read,
)
from leadcrm.sources.charset_labels import UTF_8, codec_of

# Far more than any real form has, so that reading one takes milliseconds at most.
_MAX_PARTS = 1_000
# A file's name may have 255 characters of four bytes each. The parser's time is quadratic in this bound.
_MAX_PART_HEADER_BYTES = 2_048

_PLAIN_PART = re.compile(rb'\r\n(?i:content-disposition): form-data; name="([^"\\\r\n]{1,200})"\r\n\r\n')
_HASH, _PERCENT, _QUESTION_MARK = b"#%?"
# RFC 2047, section 2. Blanks between two of them are none of the text.
_ENCODED_WORD = re.compile(rb"=\?([\w.-]{1,40})\?([BbQq])\?([^?\s]*)\?=(?:\s+(?==\?))?")
_EXTENDED = re.compile(rb";[ \t]*((?i:file)?(?i:name))\*=[ \t]*\"?([\w.-]{0,40})'[\w-]{0,20}'([^;\"\s]+)")
# An equals sign before neither two digits nor a line break, as no encoder writes it (RFC 2045, section 6.7).
_NOT_QUOTED_PRINTABLE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n)")


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
    return parameters_of_type(content_type).get(b"boundary", b"")


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
    field = parts.fields.pop(CHARSET_FIELD.encode(), None)
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
    return with_references_read(fields, body, at_leisure=at_leisure) if _HASH in body else fields


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
    if _PERCENT in name and not STRAY_PERCENT.search(name):
        decoded = percent_decoded(name)
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
        found[1].lower(): quote(percent_decoded(found[3]).decode(codec_of(found[2]) or UTF_8, "replace")).encode()
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
        return charset_in(parameters_of(self.headers.get(b"content-type", b"")))

    @cached_property
    def disposition(self) -> dict[bytes, bytes]:
        return parameters_of(self.headers.get(b"content-disposition", b""))


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
        if not ((self._whole and name) or name in FIELD_NAMES):
            return
        before = self.fields.get(name) if self._whole else None
        if before is not None and not part.data:
            return
        if before is not None and before.data and name.endswith(LIST_MARK):
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
    coding = coding.strip(BLANKS).lower()
    if coding == b"base64":
        with suppress(ValueError):
            return b64decode(data.translate(None, BLANKS), validate=True)
    elif coding == b"quoted-printable":
        if not at_leisure:
            require_quick_quoted_printable(data)
        if not _NOT_QUOTED_PRINTABLE.search(data):
            return a2b_qp(data)
    return data
