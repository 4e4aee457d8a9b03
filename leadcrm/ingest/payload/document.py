"""Reads the whole of a request's body for the mapping of a source: objects, lists and forms with all of their fields.

It is more tolerant than the reading of `/api/lead`: it takes lists, lines of JSON, CSV, XML, text/plain forms, names
such as `fields[email][value]`, what is almost JSON, and a coding or a type that is not what the header says. It is as
bounded in memory and time.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from contextlib import suppress

from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.adf import read_adf
from leadcrm.ingest.payload.almost_json import begins_as_almost_json, json_of
from leadcrm.ingest.payload.charset import true_charset
from leadcrm.ingest.payload.content_coding import decode_body, is_gzip, possible_bodies
from leadcrm.ingest.payload.effort import (
    is_utf8,
    require_few_lines,
    require_few_references,
    require_quick_almost_json,
    require_quick_charset,
    require_quick_mapping,
    require_short,
)
from leadcrm.ingest.payload.form import after_mark, charset_of, form_charset, read_whole_urlencoded
from leadcrm.ingest.payload.json import read_any_json
from leadcrm.ingest.payload.lenient_form import read_multipart_leniently
from leadcrm.ingest.payload.lenient_json import with_breaks_escaped
from leadcrm.ingest.payload.multipart import read_multipart
from leadcrm.ingest.payload.reader import begins_as_json
from leadcrm.ingest.payload.references import with_characters_in
from leadcrm.ingest.payload.table import read_csv, read_list
from leadcrm.ingest.payload.xml import declared_charset, read_xml
from leadcrm.sources.charset_labels import UTF_8, codec_of
from leadcrm.sources.texts import lines_in

MAX_EXACT_BYTES = 262_144
"""The longest body that is read a second time, for the numbers' texts."""

MAX_LINES = 2_000
MAX_HURRIED_LINES = 200
"""Of a text/plain form that is read while others wait."""

_NESTED = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\]){1,8})")
_PLAIN_FORM = re.compile(rb"[^\r\n=]{1,200}=[^\r\n]*(?:\r?\n|\Z)")
_PLAIN_CHARSET = re.compile(rb"^_charset_=([\w.:-]{1,40})\r?$", re.MULTILINE)
_TABLE_TYPES = ("csv", "comma-separated-values", "tab-separated-values", "application/vnd.ms-excel")
_BEGINNINGS_OF_UTF16 = (BOM_UTF16_LE, BOM_UTF16_BE, b"\0")
_UTF16_BY_ZEROS = {b"\1\0\1\0": "utf-16-le", b"\0\1\0\1": "utf-16-be"}
_BINARY = bytes(set(range(0x20)) - set(b"\t\n\v\f\r"))


def read_document(
    body: bytes,
    *,
    content_type: str,
    content_encoding: str,
    max_decoded_bytes: int,
    default: str = UTF_8,
    exactly: bool = False,
    at_leisure: bool = True,
) -> object:
    """Return what a body holds: objects, lists and scalars as of JSON; an empty body holds an empty object.

    Args:
        body: The bytes as received.
        content_type: The header's value, empty if it is missing.
        content_encoding: The header's value, empty if it is missing.
        max_decoded_bytes: The limit of the body's length once its content codings are undone.
        default: The codec of text that is not UTF-8 and for which no charset is named.
        exactly: Numbers are the texts that the sender wrote.
        at_leisure: Whether the reading may take long. Otherwise others wait for it.

    Raises:
        InvalidPayload: Nothing can be read from the body.
        TooLaborious: Without leisure, the body cannot be read.
    """
    fault: InvalidPayload | None = None
    for decoded in _decoded(body, content_encoding, max_decoded_bytes):
        if decoded is not body and not at_leisure:
            require_short(decoded)
        try:
            return _read(decoded, content_type, default=default, exactly=exactly, at_leisure=at_leisure)
        except InvalidPayload as error:
            fault = fault or error
    raise fault or InvalidPayload("nothing can be read from the body")


def _decoded(body: bytes, content_encoding: str, max_decoded_bytes: int) -> Iterator[bytes]:
    if not content_encoding and not is_gzip(body):
        yield body
        return
    try:
        yield decode_body(body, content_encoding or "gzip", max_decoded_bytes)
    except InvalidPayload:
        for possible, _ in possible_bodies(body, content_encoding, max_decoded_bytes):
            yield possible


def _read(  # noqa: PLR0911 - a line for each format
    body: bytes, content_type: str, *, default: str, exactly: bool, at_leisure: bool
) -> object:
    body = _without_utf16(body, at_leisure=at_leisure)
    text = body.removeprefix(BOM_UTF8).strip(b" \t\r\n")
    if not text:
        return {}
    media_type = content_type.partition(";")[0].strip().lower()
    if begins_as_json(text):
        return _unfolded(_read_json(text, content_type, default=default, exactly=exactly, at_leisure=at_leisure))
    if begins_as_almost_json(text):
        with suppress(InvalidPayload):
            document = _read_almost_json(text, content_type, default=default, exactly=exactly, at_leisure=at_leisure)
            return _unfolded(document)
    if media_type.startswith("multipart/") or text.startswith(b"--"):
        return _with_nested(_read_multipart(body, content_type, default=default, at_leisure=at_leisure))
    if len(text.translate(None, _BINARY)) != len(text):
        raise InvalidPayload("the body is neither JSON nor a form")
    if text[:1] == b'"':
        inner = _string(text)
        if inner is not None and begins_as_json(inner):
            return _read_json(inner, "", default=default, exactly=exactly, at_leisure=at_leisure)
        text = text if inner is None else inner
    if text[:1] == b"<":
        charset = codec_of(declared_charset(text)) or charset_of(content_type)
        return read_xml(_in_utf8(text, charset, default, at_leisure=at_leisure), at_leisure=at_leisure)
    is_table = media_type.endswith(_TABLE_TYPES) or text.startswith((b'"', b"sep=", b"SEP="))
    if is_table and (table := _read_table(text, content_type, default=default, at_leisure=at_leisure)):
        return table
    if text[:1] == b'"':
        raise InvalidPayload("the body is no JSON")
    if media_type == "text/plain" and (b"\n" in text or b"&" not in text) and _PLAIN_FORM.match(text):
        if not at_leisure:
            require_few_lines(text, MAX_HURRIED_LINES)
            require_few_references(text)
        return _with_nested(_read_plain_form(text, content_type, default=default, at_leisure=at_leisure))
    return _read_text(text, media_type, content_type, default=default, at_leisure=at_leisure)


def _string(text: bytes) -> bytes | None:
    """Return what a JSON string holds, or None if a text is none, such as a table whose cells are quoted."""
    try:
        inner = read_any_json(text)
    except InvalidPayload:
        return None
    return inner.strip().encode(errors="replace") if isinstance(inner, str) else None


def _read_text(text: bytes, media_type: str, content_type: str, *, default: str, at_leisure: bool) -> object:
    """Return what a form or a text holds, whatever its type says."""
    if b"=" in text:
        form = read_whole_urlencoded(text, content_type, default=default, at_leisure=at_leisure)
        return _json_sent_as_name(form, at_leisure=at_leisure) or _with_nested(form)
    if media_type in ("", "text/plain"):
        lines = _in_utf8(text, charset_of(content_type), default, at_leisure=at_leisure).decode()
        if lines_in(lines) is not None:
            return {"text": lines}
    if table := _read_table(text, content_type, default=default, at_leisure=at_leisure):
        return table
    raise InvalidPayload("the body is neither JSON nor a form")


def _in_utf8(text: bytes, named: str | None, default: str, *, at_leisure: bool) -> bytes:
    """Return a text in UTF-8 without bytes that have no meaning."""
    if not at_leisure:
        require_quick_charset(text, named)
    charset = true_charset(named, (text,), default)
    return text if charset == UTF_8 and is_utf8(text) else text.decode(charset, "replace").encode()


def _unfolded(document: object) -> object:
    """Return JSON with what stands in it instead of a lead's object, as far as it can be told what that means."""
    if type(document) is list and document and type(document[0]) is not dict:
        return read_list(document) or document
    return read_adf(document) if type(document) is dict else document


def _read_table(text: bytes, content_type: str, *, default: str, at_leisure: bool) -> object:
    if not at_leisure:
        require_few_lines(text, MAX_HURRIED_LINES)
        require_short(text)
    return read_csv(_in_utf8(text, charset_of(content_type), default, at_leisure=at_leisure).decode())


def _without_utf16(body: bytes, *, at_leisure: bool) -> bytes:
    if body[1:2] != b"\0" and not body.startswith(_BEGINNINGS_OF_UTF16):
        return body
    charset = _utf16_of(body)
    if charset is None:
        return body
    if not at_leisure:
        require_short(body)
    return body.decode(charset, "replace").encode()


def _utf16_of(body: bytes) -> str | None:
    """Return the UTF-16 that a body is in, by its byte order mark or by the ASCII characters that it begins with."""
    if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "utf-16"
    return _UTF16_BY_ZEROS.get(bytes(map(bool, body[:4])))


def _read_multipart(body: bytes, content_type: str, *, default: str, at_leisure: bool) -> dict[str, object]:
    try:
        return read_multipart(body, content_type, whole=True, default=default, at_leisure=at_leisure)
    except InvalidPayload:
        if not at_leisure:
            require_short(body)
        form = read_multipart_leniently(
            after_mark(body), content_type, [], whole=True, default=default, at_leisure=at_leisure
        )
        if form is None:
            raise
        return form


def _json_sent_as_name(form: dict[str, object], *, at_leisure: bool) -> object:
    """Return the JSON that was encoded as if it were the one name of a form, else None."""
    ((name, value), *more) = form.items() if form else (("", ""),)
    if more or not begins_as_json(name[:100].encode(errors="replace")):
        return None
    text = f"{name}={value}" if value else name
    try:
        return _read_json(text.encode(errors="replace"), "", default=UTF_8, exactly=False, at_leisure=at_leisure)
    except InvalidPayload:
        return None


def _mended(text: bytes, content_type: str, *, default: str, at_leisure: bool) -> bytes | None:
    """Return JSON without what its senders do to it, or None if nothing of that kind is found."""
    if not at_leisure:
        require_short(text)
    mended = text.rstrip(b" \t\r\n\0")
    try:
        mended.decode()
    except UnicodeDecodeError:
        # A lead with a wrong letter is better than none.
        named = charset_of(content_type)
        if not at_leisure:
            require_quick_charset(mended, named)
        mended = mended.decode(named or default, "replace").encode()
    if len(mended.translate(None, _BINARY)) != len(mended):
        return None
    mended = with_breaks_escaped(mended) or mended
    return None if mended == text else mended


def _read_json(text: bytes, content_type: str, *, default: str, exactly: bool, at_leisure: bool) -> object:
    if not at_leisure:
        require_quick_mapping(text)
    exactly = exactly and len(text) <= MAX_EXACT_BYTES
    try:
        return read_any_json(text, exactly=exactly)
    except InvalidPayload:
        return _read_faulty_json(text, content_type, default=default, exactly=exactly, at_leisure=at_leisure)


def _read_faulty_json(text: bytes, content_type: str, *, default: str, exactly: bool, at_leisure: bool) -> object:
    """Return what lines of JSON hold, JSON that is in another charset or has raw line breaks, or almost JSON."""
    if text.count(b"\n", 0, -1) and (lines := _lines(text)):
        with suppress(InvalidPayload):
            return [read_any_json(line, exactly=exactly) for line in lines]
    if mended := _mended(text, content_type, default=default, at_leisure=at_leisure):
        with suppress(InvalidPayload):
            return read_any_json(mended, exactly=exactly)
    return _read_almost_json(text, content_type, default=default, exactly=exactly, at_leisure=at_leisure)


def _read_almost_json(text: bytes, content_type: str, *, default: str, exactly: bool, at_leisure: bool) -> object:
    if not at_leisure:
        require_quick_almost_json(text)
    meant = json_of(_in_utf8(text, charset_of(content_type), default, at_leisure=at_leisure).decode())
    return read_any_json(meant.encode(), exactly=exactly and len(text) <= MAX_EXACT_BYTES)


def _lines(text: bytes) -> list[bytes]:
    """Return the lines of a text that holds JSON on each of several; none of another text.

    Raises:
        InvalidPayload: There are too many.
    """
    lines = [line for line in text.split(b"\n", MAX_LINES) if line.strip()]
    if len(lines) > MAX_LINES:
        raise InvalidPayload(f"the body has more than {MAX_LINES} lines of JSON")
    is_json = len(lines) > 1 and all(map(begins_as_json, lines))
    return [line.strip() for line in lines] if is_json else []


def _read_plain_form(text: bytes, content_type: str, *, default: str, at_leisure: bool) -> dict[str, object]:
    """Read `enctype="text/plain"`: a line for each field, nothing encoded."""
    named = _PLAIN_CHARSET.search(text)
    charset = form_charset(content_type, named[1] if named else b"")
    fields: dict[str, object] = {}
    last = ""
    # Lines of bytes: Unicode has more line breaks, which are no ends of a field.
    for line in _in_utf8(text, charset, default, at_leisure=at_leisure).splitlines()[:MAX_LINES]:
        name, equals, value = line.decode().partition("=")
        if equals and name:
            last = name
            if value or last not in fields:
                fields[last] = value
        elif last:
            # Of a text of several lines.
            fields[last] = f"{fields[last]}\n{name}{equals}{value}"
    fields.pop("_charset_", None)
    return with_characters_in(fields)


def _with_nested(form: dict[str, object]) -> dict[str, object]:
    """Return a form with its names such as `a[b][c]` as objects within objects; `a[]` is a list."""
    if not any("[" in name for name in form):
        return form
    nested: dict[str, object] = {}
    for name, value in form.items():
        found = _NESTED.fullmatch(name)
        if found is None:
            nested[name] = value
            continue
        outer = [found[1], *str(found[2])[1:-1].split("][")]
        last = outer.pop()
        place: dict[str, object] | None = nested
        for step in outer:
            inner: object = {} if place is None else place.setdefault(step, {})
            place = inner if place is not None and isinstance(inner, dict) else None
        if place is None:
            nested[name] = value
        else:
            place[last] = value
    return {name: _with_lists(value) for name, value in nested.items()}


def _with_lists(value: object) -> object:
    """Return what was nested with lists of objects, and `a[]`, as the lists that they are."""
    if not isinstance(value, dict):
        return value
    inner = {name: _with_lists(member) if type(member) is dict else member for name, member in value.items()}
    if inner.keys() == {""}:
        return inner[""] if type(inner[""]) is list else list(inner.values())
    is_list = next(iter(inner), "").isdecimal() and all(
        name.isdecimal() and type(member) is dict for name, member in inner.items()
    )
    return list(inner.values()) if is_list else inner
