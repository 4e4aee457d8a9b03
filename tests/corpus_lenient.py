"""Bodies with a mistake of their sender in spite of which they are read, for the corpus."""

import json
from collections.abc import Iterator
from typing import NamedTuple

_LEAD = b'{"email":"a","phone":1.10}'
_COLUMNS: dict[str, str | None] = {"email": "a", "phone": "1.10"}
_FORM = b"email=a%40b&firstName=J%C4%81nis+Doe&x=1"
_FORM_COLUMNS: dict[str, str | None] = {"email": "a@b", "first_name": "J\u0101nis Doe"}

NUL = "a NUL follows the text"
LIST = "the object is the only one of a list"
STRING = "the text is in a JSON string"
RAW_BREAKS = "a text in the JSON holds a raw line break or tab"
UNTYPED = "the form's Content-Type is missing or names something else"
ESCAPED = "&amp; separates the form's fields"
BOUNDARY = "the multipart form's Content-Type does not name its boundary"
PREAMBLE = "text precedes the multipart form"
LINE_FEEDS = "the multipart form's lines end in bare line feeds"


class LenientCase(NamedTuple):
    """A body, the type that its sender names, its columns, and the mistakes that its raw row tells."""

    name: str
    body: bytes
    media_type: bytes | None
    fields: dict[str, str | None]
    mistakes: tuple[str, ...]


def quoted(text: bytes) -> bytes:
    """Return a text as a JSON string, as a sender that encodes twice does."""
    return json.dumps(text.decode()).encode()


def lenient_cases() -> Iterator[LenientCase]:
    """Yield every mistake that is read, alone and together with others."""
    yield from _wrapped()
    yield from _unescaped()
    yield from _untyped_forms()
    yield from _multipart_forms()


def _wrapped() -> Iterator[LenientCase]:
    def case(name: str, body: bytes, *mistakes: str, media_type: bytes | None = b"application/json") -> LenientCase:
        return LenientCase(name, body, media_type, _COLUMNS, mistakes)

    mark = b"\xef\xbb\xbf"
    yield case("a list of one", b" [ " + _LEAD + b"\n]\n", LIST)
    yield case("a list of one as a form", b"[" + _LEAD + b"]", LIST, media_type=b"application/x-www-form-urlencoded")
    yield case("a list of one behind a mark", mark + b"[" + _LEAD + b"]", LIST)
    yield case("a string of JSON", quoted(_LEAD), STRING)
    yield case("a string of JSON without a type", quoted(_LEAD), STRING, media_type=None)
    yield case("a string of JSON behind a mark", mark + quoted(_LEAD), STRING)
    yield case("a string of JSON with a mark in it", quoted(mark + _LEAD), STRING)
    yield case("a string of a string", quoted(quoted(_LEAD)), STRING)
    yield case("a string of a list", quoted(b"[" + _LEAD + b"]"), STRING, LIST)
    yield case("a list of a string", b"[" + quoted(_LEAD) + b"]", LIST, STRING)
    yield case("a trailing NUL", _LEAD + b"\x00", NUL)
    yield case("NULs and line breaks at the end", _LEAD + b"\x00\r\n\x00\x00\n", NUL)
    yield case("a list of one and a NUL", b"[" + _LEAD + b"]\x00", NUL, LIST)
    yield case("a string with a NUL in it", quoted(_LEAD + b"\x00"), STRING, NUL)


def _unescaped() -> Iterator[LenientCase]:
    def case(name: str, body: bytes, *mistakes: str, **fields: str | None) -> LenientCase:
        return LenientCase(name, body, b"application/json", fields, mistakes)

    yield case("a raw line break", b'{"description":"a\nb"}', RAW_BREAKS, description="a\nb")
    yield case("a raw tab", b'{"phone":1.10,"description":"a\tb"}', RAW_BREAKS, description="a\tb", phone="1.10")
    yield case("a raw CRLF", b'{\r\n"description":"a\r\nb"\r\n}', RAW_BREAKS, description="a\r\nb")
    behind_escapes = rb'{"creo":"\\","description":"\"' + b'\n\\\\"}'
    yield case("a raw line break behind escapes", behind_escapes, RAW_BREAKS, creo="\\", description='"\n\\')
    yield case("a raw line break in a list of one", b'[{"email":"a\n"}]', LIST, RAW_BREAKS, email="a\n")
    yield case("a raw line break and a NUL", b'{"email":"a\n"}\x00', NUL, RAW_BREAKS, email="a\n")
    yield case("a raw line break in a string of JSON", quoted(b'{"email":"a\n"}'), STRING, RAW_BREAKS, email="a\n")
    yield case("a raw line break in an unknown field", b'{"x":"\n","email":"a"}', RAW_BREAKS, email="a")


def _untyped_forms() -> Iterator[LenientCase]:
    def case(name: str, body: bytes, media_type: bytes | None, *mistakes: str, **fields: str | None) -> LenientCase:
        return LenientCase(f"form: {name}", body, media_type, fields or _FORM_COLUMNS, mistakes or (UNTYPED,))

    types = (b"application/json", b"text/plain;charset=UTF-8", b"text/html", b"multipart/form-data", b"nonsense")
    for media_type in (None, *types, b"multipart/form-data; boundary=frontier"):
        yield case(f"as {media_type!r}", _FORM, media_type)
    yield case("a query string", b"?" + _FORM, None)
    yield case("behind a mark", b"\xef\xbb\xbf" + _FORM + b"\r\n", None)
    yield case("with a NUL behind it", _FORM + b"\x00", None, NUL, UNTYPED)
    yield case("in a JSON string", quoted(_FORM), b"application/json", STRING, UNTYPED)
    cyrillic = b"firstName=%C0%ED%ED%E0"
    anna = "\u0410\u043d\u043d\u0430"
    yield case("in a charset", cyrillic, b"text/plain; charset=windows-1251", first_name=anna)
    yield case("a plus that is not encoded", b"email=a&phone=+371+20", None, email="a", phone="+371 20")
    escaped = _FORM.replace(b"&", b"&amp;")
    yield case("&amp; between the fields", escaped, b"application/x-www-form-urlencoded", ESCAPED)
    yield case("&amp; without a type", escaped, None, UNTYPED, ESCAPED)
    lines = b"email=a%40b\r\nname=x=y\r\ndescription=R&D = x\r\n\r\nno field\r\nphone=+371 20\r\n"
    fields = {"email": "a%40b", "description": "R&D = x\r\n\r\nno field", "phone": "+371 20"}
    yield case("of the type text/plain", lines, b"text/plain", **fields)
    bare = {name: value.replace("\r", "") for name, value in fields.items()}
    yield case("in lines without a type", lines.replace(b"\r", b""), None, **bare)
    yield case("in lines, one of a lead", b"x=1\r\nemail=a\r\ny=2\r\n", b"text/plain", email="a")
    in_1251 = b"_charset_=windows-1251\r\nfirstName=\xc0\xed\xed\xe0\r\n"
    yield case("in lines and a charset", in_1251, b"text/plain", first_name=anna)


def _multipart_forms() -> Iterator[LenientCase]:
    def case(name: str, body: bytes, media_type: bytes | None, *mistakes: str) -> LenientCase:
        return LenientCase(f"multipart: {name}", body, media_type, columns, mistakes)

    columns: dict[str, str | None] = {"email": "a@b", "description": "J\u0101nis\n\nDoe"}
    head = b'--frontier\nContent-Disposition: form-data; name="%s"\n\n%s\n'
    bare = head % (b"email", b"a@b") + head % (b"description", "J\u0101nis\n\nDoe".encode()) + b"--frontier--\n"
    body = bare.replace(b"\n", b"\r\n").replace(b"nis\r\n\r\nDoe", b"nis\n\nDoe")
    typed, untold = b"multipart/form-data; boundary=frontier", b"multipart/form-data"
    preamble = b"This is a message\r\nin parts.\r\n\r\n"
    for media_type in (untold, untold + b"; boundary=", untold + b"; boundary=front", None, b"application/json"):
        yield case(f"its boundary in the body, as {media_type!r}", body, media_type, BOUNDARY)
    for media_type in (b"application/x-www-form-urlencoded", b"text/plain", b"application/octet-stream"):
        yield case(f"named {media_type!r}", body, media_type, BOUNDARY)
    in_charset = b"application/x-www-form-urlencoded; charset=UTF-8"
    yield case("named a urlencoded form in UTF-8", body + b"&amp;email=", in_charset, BOUNDARY)
    in_front = b"\xef\xbb\xbf\r\n" + body
    yield case("named a urlencoded form behind a mark", in_front, b"application/x-www-form-urlencoded", BOUNDARY)
    type_first = body.replace(b"frontier\r\nContent-D", b"frontier\r\nContent-Type: text/plain\r\nContent-D", 1)
    yield case("its boundary in the body before a type", type_first, untold, BOUNDARY)
    yield case("a preamble", preamble + body, typed, PREAMBLE)
    yield case("a preamble in multipart/mixed", preamble + body, b"multipart/mixed; boundary=frontier", PREAMBLE)
    yield case("a preamble and no boundary", preamble + body, untold, BOUNDARY, PREAMBLE)
    yield case("bare line feeds", bare, typed, LINE_FEEDS)
    yield case("bare line feeds and no boundary", bare, untold, BOUNDARY, LINE_FEEDS)
    yield case("bare line feeds and a preamble", b"x\n" + bare, typed, PREAMBLE, LINE_FEEDS)
