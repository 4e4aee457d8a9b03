"""Requests as the world sends them, hostile ones mostly, with the answer and the columns each must have.

Data only, made by code. A case is right whatever the transport and the database: unit tests take it through
parsing and normalizing, integration tests through the server on every store. `fields` names the columns of
interest of a lead that is kept; its other columns are null.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.corpus_charsets import forms_in_charsets
from tests.corpus_lenient import lenient_cases
from tests.corpus_unreadable import unreadable_bodies

MAX_BODY_BYTES = 1_048_576
MAX_NESTING = 1_024

REPLACED = "\ufffd"


@dataclass(frozen=True)
class Case:
    """One request to `POST /api/lead` and what must come of it."""

    name: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    status: int
    fields: dict[str, str | None] | None


Header = tuple[bytes, bytes]

_JSON = b"application/json"
_URLENCODED = b"application/x-www-form-urlencoded"
_MULTIPART = b"multipart/form-data; boundary=frontier"
_END = b"--frontier--\r\n"
_FRONTS = {
    "a byte order mark": b"\xef\xbb\xbf",
    "a line break": b"\r\n",
    "line feeds and blanks": b"\n\n \t",
    "a byte order mark and a line break": b"\xef\xbb\xbf\r\n",
    "a line break and a byte order mark": b"\r\n\xef\xbb\xbf",
}


def cases() -> list[Case]:
    """Make every case. Some are large, so nothing is made on import."""
    makers = (
        _ordinary,
        _values,
        _texts,
        _no_json,
        _large,
        _codings,
        _untrue_codings,
        _headers,
        _forms,
        _multipart_forms,
        _read_leniently,
    )
    return [case for maker in makers for case in maker()]


def _lead(name: str, body: bytes, *headers: Header, media_type: bytes | None = _JSON, **fields: str | None) -> Case:
    return Case(name, body, _with_type(media_type, headers), 201, fields)


def _invalid(name: str, body: bytes, *headers: Header, media_type: bytes | None = _JSON) -> Case:
    return Case(name, body, _with_type(media_type, headers), 400, None)


def _with_type(media_type: bytes | None, headers: tuple[Header, ...]) -> tuple[Header, ...]:
    return headers if media_type is None else ((b"Content-Type", media_type), *headers)


def _ordinary() -> Iterator[Case]:
    every_field = {
        "click_id": "12345",
        "country": "LV",
        "creo": "banner-1",
        "description": "Interested in trading",
        "domain": "example.com",
        "email": "user@example.com",
        "firstName": "John",
        "ip": "192.168.1.1",
        "lang": "lv",
        "lastName": "Doe",
        "marker": "Pureshka",
        "offer": "Baltic Capital Native",
        "phone": "+371123456789",
        "sourcetype": "web",
    }
    columns = {{"firstName": "first_name", "lastName": "last_name"}.get(k, k): v for k, v in every_field.items()}
    yield _lead("every field", json.dumps(every_field).encode(), **columns)
    yield _lead("an empty object", b"{}")
    yield _lead("only unknown fields", b'{"first_name":"J","FirstName":"J","x":{"email":"nested@x"}}')
    yield _lead("null is null and empty is empty", b'{"email":null,"phone":""}', email=None, phone="")
    yield _lead("blanks are kept", b'{"email":"  a@b ","phone":"\\t \\n"}', email="  a@b ", phone="\t \n")
    yield _lead("blanks around all", b' \t\r\n{ "email" :\n"a" , "ip"\t: 5 } \n', email="a", ip="5")
    yield _lead("an escaped name", b'{"\\u0065mail":"a","i\\u0070":5}', email="a", ip="5")
    yield _lead("a byte order mark", b'\xef\xbb\xbf{"email":"a"}', email="a")
    yield _lead("a byte order mark and a number", b'\xef\xbb\xbf{"ip":5}', ip="5")
    yield _lead("no content type", b'{"email":"a"}', media_type=None, email="a")
    for wrong in (b"text/plain", b"application/octet-stream", b"text/html; charset=utf-16", b"nonsense", b";;="):
        yield _lead(f"JSON as {wrong.decode()}", b'{"email":"a"}', media_type=wrong, email="a")
    yield _lead("JSON as a urlencoded form", b' {"email":"a=b&c"}', media_type=_URLENCODED, email="a=b&c")
    yield _lead("JSON as a multipart form", b'{"email":"a"}', media_type=_MULTIPART, email="a")


def _values() -> Iterator[Case]:
    for number in ("1.10", "0", "-0", "-0.0", "1E5", "1e999", "1e-999", "5", "0.1e+1", "18446744073709551616"):
        yield _lead(f"the number {number}", f'{{"phone":{number}}}'.encode(), phone=number)
    yield _lead("thirty digits", b'{"phone":' + b"123456789012345" * 2 + b"}", phone="123456789012345" * 2)
    yield _lead("5,000 digits", b'{"phone":' + b"7" * 5000 + b"}", phone="7" * 5000)
    yield _lead("5,000 digits elsewhere", b'{"x":' + b"7" * 5000 + b',"email":"a"}', email="a")
    yield _lead("1e999 elsewhere", b'{"x":[1e999],"phone":1.10}', phone="1.10")
    yield _lead("booleans", b'{"firstName":true,"lastName":false}', first_name="true", last_name="false")
    yield _lead("a boolean beside a number", b'{"firstName":true,"phone":1.0}', first_name="true", phone="1.0")
    yield _lead(
        "an object",
        b'{"firstName": {"a": 1.10, "b": [true, null, "\\u0101 \\/ \\" \\\\u0101"], "c d": 1E5 }}',
        first_name='{"a":1.10,"b":[true,null,"\u0101 / \\" \\\\u0101"],"c d":1E5}',
    )
    yield _lead("an array", b'{"firstName":[ 1 , [ ] , { } ]}', first_name="[1,[],{}]")
    yield _lead("a repeated field", b'{"email":"first","email":{"a":1},"email":"last"}', email="last")
    yield _lead("a repeated field, null at last", b'{"email":"first","email":null}', email=None)
    yield _lead("a repeated field, a number at last", b'{"email":"first","email":1.0}', email="1.0")


def _texts() -> Iterator[Case]:
    yield _lead("an escaped NUL", b'{"email":"a\\u0000b"}', email=f"a{REPLACED}b")
    yield _lead("an escaped NUL in an array", b'{"email":["a\\u0000b"]}', email='["a\\u0000b"]')
    yield _lead("a lone high surrogate", b'{"email":"a\\ud83d"}', email=f"a{REPLACED}")
    yield _lead("a lone low surrogate", b'{"email":"\\ude00b"}', email=f"{REPLACED}b")
    yield _lead("surrogates the wrong way round", b'{"email":"\\ude00\\ud83d"}', email=REPLACED * 2)
    yield _lead("a lone surrogate in a name", b'{"\\ud800":1,"email":"a"}', email="a")
    yield _lead("a lone surrogate in an array", b'{"email":["\\ud800"]}', email=f'["{REPLACED}"]')
    yield _lead("a surrogate pair", b'{"email":"\\ud83d\\ude00"}', email="\U0001f600")
    yield _lead("a surrogate pair in an array", b'{"email":["\\ud83d\\ude00"]}', email='["\U0001f600"]')
    texts = {
        "SQL": "'; DROP TABLE leads; --",
        "SQL placeholders": "%s %(a)s ? :a $1 \\' {} ${a}",
        "HTML": "<script>alert('x')</script>&lt;",
        "a CSV formula": '=HYPERLINK("http://x","y")',
        "a terminal escape": "\x1b[2J\x1b]0;title\x07\x08\x7f\x9b31m",
        "an emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1f1\U0001f1fb",
        "right to left": "\u202eevil\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
        "combining marks": "Z\u0351\u036b\u0343" * 50,
        "line separators": "a\u2028b\u2029c\u0085d\r\ne",
        "noncharacters": "\ufffe\uffff\U0010ffff\ufeff",
    }
    for name, text in texts.items():
        body = {"description": text}
        yield _lead(name, json.dumps(body).encode(), description=text)
        yield _lead(f"{name}, raw", json.dumps(body, ensure_ascii=False).encode(), description=text)
    yield _lead("a field of 900 kB", b'{"description":"' + b"x" * 900_000 + b'"}', description="x" * 900_000)


def _no_json() -> Iterator[Case]:
    for name, body in unreadable_bodies().items():
        yield _invalid(f"no payload: {name}", body)


def _nested(levels: int) -> bytes:
    """An object whose email is arrays in arrays; the object is the first of the levels."""
    return b'{"email":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def _large() -> Iterator[Case]:
    inside = MAX_NESTING - 1
    yield _lead("as deep as allowed", _nested(MAX_NESTING), email="[" * inside + "]" * inside)
    yield _lead("as deep as allowed elsewhere", _nested(MAX_NESTING).replace(b"email", b"x"))
    yield _lead(
        "as deep as allowed and a number",
        b'{"ip":1.10,' + _nested(MAX_NESTING)[1:-1].replace(b"email", b"x") + b"}",
        ip="1.10",
    )
    yield _lead(
        "as deep as allowed, objects",
        b'{"email":' * MAX_NESTING + b"1" + b"}" * MAX_NESTING,
        email='{"email":' * inside + "1" + "}" * inside,
    )
    yield _lead(
        "brackets in text are not nesting",
        b'{"phone":1.0,"email":"' + b'[{\\"' * 9000 + b'"}',
        phone="1.0",
        email='[{"' * 9000,
    )
    yield _invalid("one level too deep", _nested(MAX_NESTING + 1))
    yield _invalid("one level too deep elsewhere", _nested(MAX_NESTING + 1).replace(b"email", b"x"))
    yield _invalid("one level too deep and a number", b'{"ip":1.10,' + _nested(MAX_NESTING + 1)[1:])
    yield _invalid("100,000 levels", _nested(100_000))
    yield _invalid("100,000 levels of objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    yield _invalid("a million open brackets", b"[" * 1_000_000)
    fields = {f"field{number}": str(number) for number in range(20_000)}
    yield _lead("20,000 fields", json.dumps({**fields, "email": "a"}).encode(), email="a")
    yield _lead("20,000 fields and a number", json.dumps({**fields, "phone": 1.5}).encode(), phone="1.5")
    numbers = "1," * 300_000 + "1"
    yield _lead("300,000 numbers", b'{"email":[' + numbers.encode() + b"]}", email=f"[{numbers}]")
    arrays = "[]," * 300_000 + "[]"
    yield _lead("300,000 arrays", b'{"email":[' + arrays.encode() + b"]}", email=f"[{arrays}]")


def _codings() -> Iterator[Case]:
    plain = b'{"email":"a"}'
    zipped = gzip.compress(plain, mtime=0)
    bomb = gzip.compress(b'{"email":"' + b"0" * 50_000_000 + b'"}', mtime=0)
    raw = zlib.compressobj(wbits=-15)
    headless = raw.compress(plain) + raw.flush()
    members = gzip.compress(plain[:5], mtime=0) + gzip.compress(plain[5:], mtime=0)

    def coded(coding: bytes) -> Header:
        return (b"Content-Encoding", coding)

    for coding in (b"gzip", b"x-gzip", b"GZIP", b"identity, gzip", b"gzip,"):
        yield _lead(f"coded {coding.decode()!r}", zipped, coded(coding), email="a")
    yield _lead("identity", plain, coded(b"identity"), email="a")
    yield _lead("gzip twice", gzip.compress(zipped, mtime=0), coded(b"gzip, gzip"), email="a")
    deflated_and_zipped = gzip.compress(zlib.compress(plain), mtime=0)
    yield _lead("deflate, then gzip", deflated_and_zipped, coded(b"deflate, gzip"), email="a")
    yield _lead("deflate with zlib's header", zlib.compress(plain), coded(b"deflate"), email="a")
    yield _lead("deflate without a header", headless, coded(b"deflate"), email="a")
    yield _lead("gzip in two members", members, coded(b"gzip"), email="a")
    yield _lead("gzip with bytes after it", zipped + b"\x00\x00garbage", coded(b"gzip"), email="a")
    form = gzip.compress(b"email=a", mtime=0)
    yield _lead("a form in gzip", form, coded(b"gzip"), media_type=_URLENCODED, email="a")
    yield _invalid("a gzip bomb", bomb, coded(b"gzip"))
    yield _invalid("a gzip bomb in gzip", gzip.compress(bomb, mtime=0), coded(b"gzip, gzip"))
    yield _invalid("a deflate bomb", zlib.compress(b" " * 50_000_000), coded(b"deflate"))
    yield _invalid("gzip three times", gzip.compress(gzip.compress(zipped)), coded(b"gzip, gzip, gzip"))
    yield _invalid("gzip cut off", zipped[:-9], coded(b"gzip"))
    yield _invalid("gzip without its check", zipped[:-8], coded(b"gzip"))
    yield _invalid("gzip with a wrong check", zipped[:-8] + b"\x00" * 8, coded(b"gzip"))
    yield _invalid("gzip that is empty", b"", coded(b"gzip"))
    yield _invalid("gzip in too many members", gzip.compress(b"", mtime=0) * 40 + zipped, coded(b"gzip"))
    yield _invalid("deflate cut off", zlib.compress(plain)[:-5], coded(b"deflate"))
    yield _invalid("deflate with a wrong check", zlib.compress(plain)[:-1] + b"\x00", coded(b"deflate"))
    yield _invalid("an unknown coding", b"\x0b\x06\x80" + plain + b"\x03", coded(b"br"))
    yield _invalid("an unknown coding of what could be a form", b"\x1b=a&x=\x00", coded(b"br"), media_type=_URLENCODED)
    cut_form = gzip.compress(b"&email=a&", compresslevel=0, mtime=0)[:-4]
    yield _invalid("a form in gzip cut off", cut_form, coded(b"gzip"), media_type=_URLENCODED)
    yield _invalid("a form without a field of a lead, not in gzip", b"a=b", coded(b"gzip"), media_type=_URLENCODED)


def _untrue_codings() -> Iterator[Case]:
    plain = b'{"email":"a"}'
    zipped = gzip.compress(plain, mtime=0)
    unknown = (b"UTF-8", b"none", b"br", b"aws-chunked", b"application/json", b"gz\xefp", b"a, b, c, d")
    multipart = _part("email", b"\x00") + _END
    for name in (*unknown, b"gzip", b"deflate", b"gzip, deflate", b"gzip, gzip", b"gzip, deflate, br"):
        header = (b"Content-Encoding", name)
        yield _lead(f"not coded {name!r}", plain, header, email="a")
        yield _lead(f"not coded {name!r}, an empty object", b"{}", header)
        yield _lead(f"not coded {name!r}, a form", b"x=1&email=a", header, media_type=_URLENCODED, email="a")
        yield _lead(f"not coded {name!r}, multipart", multipart, header, media_type=_MULTIPART, email=REPLACED)
    for name in (b"gzip, gzip", b"gzip, utf-8", b"utf-8, gzip", b"gzip, deflate", b"deflate, gzip"):
        yield _lead(f"gzip that says {name!r}", zipped, (b"Content-Encoding", name), email="a")


def _headers() -> Iterator[Case]:
    body = b'{"email":"a"}'
    yield _lead("a latin-1 key", body, (b"Idempotency-Key", b"caf\xe9-\xff"), email="a")
    yield _lead("a key of 6,000 bytes", body, (b"Idempotency-Key", b"k" * 6_000), email="a")
    yield _lead("an empty key", body, (b"Idempotency-Key", b""), email="a")
    yield _lead("a UTF-8 key", body, (b"Idempotency-Key", "\u0101\U0001f600".encode()), email="a")
    yield _lead("a latin-1 content type", body, media_type=b"application/json; caf\xe9", email="a")
    yield _lead("a latin-1 request id", body, (b"X-Request-Id", b"caf\xe9"), email="a")
    yield _lead("a latin-1 user agent", body, (b"User-Agent", b"\xff\xfe caf\xe9"), email="a")


def _forms() -> Iterator[Case]:
    def form(name: str, body: bytes, *, charset: bytes = b"", **fields: str | None) -> Case:
        return _lead(f"form: {name}", body, media_type=_URLENCODED + charset, **fields)

    encoded = b"email=a%40b.c&firstName=J%C4%81nis+Doe&x=1"
    yield form("two fields", encoded, email="a@b.c", first_name="J\u0101nis Doe")
    yield form("a repeated field", b"email=first&email=last", email="last")
    yield form("empty and nameless fields", b"&&email=&=x&phone&", email="", phone="")
    yield form("an encoded name", b"%65mail=a&first%4eame=b", email="a", first_name="b")
    yield form("broken percent signs", b"email=100%&phone=%zz%4", email="100%", phone="%zz%4")
    yield form("a NUL", b"email=a%00b", email=f"a{REPLACED}b")
    yield form("equals signs in a value", b"email=a=b==", email="a=b==")
    yield form("invalid UTF-8", b"email=caf%E9&phone=\xff1", email=f"caf{REPLACED}", phone=f"{REPLACED}1")
    yield form("an encoded surrogate", b"email=%ED%A0%80", email=REPLACED * 3)
    yield form("latin-1", b"email=caf%E9%80", charset=b"; charset=ISO-8859-1", email="caf\u00e9\u20ac")
    yield form("Cyrillic", b"email=%CF", charset=b"; charset=windows-1251", email="\u041f")
    for name, body, charset, text in forms_in_charsets():
        yield form(name, body, charset=charset, first_name=text)
    yield form("a charset that is none", b"email=%C4%81", charset=b"; charset=rot13", email="\u0101")
    yield form("a latin-1 parameter", b"email=a", charset=b"; caf\xe9=\xe9", email="a")
    anna = b"".join(b"%%26%%23%d%%3B" % ord(letter) for letter in "\u0410\u043d\u043d\u0430")
    yield form("references to characters", b"firstName=" + anna, first_name="\u0410\u043d\u043d\u0430")
    escaped = b"firstName=%u0410%u043D%u043d%u0430+J%F6rg&lastName=%uD83D%uDE00%u0026%ud83d&email=%u041&phone=%u002B371"
    of_escape = {"first_name": "\u0410\u043d\u043d\u0430 J\xf6rg", "last_name": f"\U0001f600&{REPLACED}"}
    yield form("escapes of a script", escaped, **of_escape, email="%u041", phone="+371")
    in_both = b"firstName=%u0410%C4%81&_charset_=utf-8"
    yield form("escapes of a script in UTF-8", in_both, first_name="\u0410\u0101")
    yield form("%u in a charset", b"email=%u0410", charset=b"; charset=koi8-r", email="%u0410")
    of_script = b"firstName=%26%2355357%3B%26%2356832%3B%26%2355357%3B!"
    yield form("references to surrogates", of_script, first_name=f"\U0001f600{REPLACED}!")
    yield form("typed references", b"email=%26%2365%3B%26amp%3B%26%231040", email="&#65;&amp;&#1040")
    for name, front in _FRONTS.items():
        yield form(f"{name} in front", front + b"email=a&phone=1", email="a", phone="1")
    yield form("a line break at the end", b"email=a&phone=1\r\n", email="a", phone="1")
    yield form("line feeds at the end", b"email=a&phone=1 \n\n", email="a", phone="1 ")
    yield form("only unknown fields", b"a=b")
    yield _invalid("form: nothing", b"", media_type=_URLENCODED)
    yield _invalid("form: text", b"hello", media_type=_URLENCODED)
    yield _invalid("form: broken JSON", b'{"url":"http://x/?a=b",}', media_type=_URLENCODED)
    yield _invalid("form: a JSON array", b'[{"url":"http://x/?a=b"},1]', media_type=_URLENCODED)
    yield form("a plus that is not encoded", b"phone=+371+20&email=+a", phone="+371 20", email=" a")
    yield form("a plus before a bracket", b"phone=+(371)", phone="+(371)")
    yield form("a plus before no number", b"phone=+x", phone=" x")
    yield form("a blank before a phone", b"phone=%20371", phone=" 371")
    yield form("an encoded plus behind a blank", b"phone=+%2B371", phone=" +371")
    yield form("&amp; in a value", b"description=R+&amp; D&email=a", description="R ", email="a")
    yield form("&amp; in a link", b"domain=x?a=1&amp;email=2&phone=3", domain="x?a=1", phone="3")
    yield form("&amp; before no field of a lead", b"domain=x?a=1&amp;b=2", domain="x?a=1")
    yield _invalid("form: 100,000 fields", b"a=b&" * 100_000, media_type=_URLENCODED)


def _read_leniently() -> Iterator[Case]:
    for case in lenient_cases():
        yield _lead(f"leniently: {case.name}", case.body, media_type=case.media_type, **case.fields)
    for coding in (b"gzip", b"utf-8"):
        body = b'[{"email":"a"}]'
        sent = gzip.compress(body, mtime=0) if coding == b"gzip" else body
        yield _lead(f"leniently: a list of one that says {coding!r}", sent, (b"Content-Encoding", coding), email="a")


def _part(name: str, value: bytes, *, more: bytes = b"", headers: bytes = b"") -> bytes:
    disposition = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + more
    return b"--frontier\r\n" + disposition + b"\r\n" + headers + b"\r\n" + value + b"\r\n"


def _multipart_forms() -> Iterator[Case]:
    def form(name: str, body: bytes, *, media_type: bytes = _MULTIPART, **fields: str | None) -> Case:
        return _lead(f"multipart: {name}", body, media_type=media_type, **fields)

    def broken(name: str, body: bytes, *, media_type: bytes = _MULTIPART) -> Case:
        return _invalid(f"multipart: {name}", body, media_type=media_type)

    def file(value: bytes) -> bytes:
        return _part("phone", value, more=b'; filename="\xc4\x81.txt"', headers=b"Content-Type: image/png\r\n")

    email = _part("email", b"a@b.c")
    first_name = _part("firstName", "J\u0101nis".encode())
    latin_1 = b"Content-Type: text/plain; charset=iso-8859-1\r\n"
    lines = b"\r\na\r\n--front\r\n"
    quoted = b'Multipart/Form-Data; Boundary="frontier"'
    yield form("two fields", email + first_name + _END, email="a@b.c", first_name="J\u0101nis")
    yield form("a quoted boundary", email + _END, media_type=quoted, email="a@b.c")
    yield form("a repeated field", _part("email", b"first") + email + _END, email="a@b.c")
    for text, front in _FRONTS.items():
        yield form(f"{text} in front", front + email + _END, email="a@b.c")
    yield form("no fields", _END)
    yield form("text after the end", email + _END + b"epilogue", email="a@b.c")
    yield form("line breaks in a value", _part("email", lines) + _END, email=lines.decode())
    yield form("an empty value", _part("email", b"") + _END, email="")
    yield form("a part without a name", b"--frontier\r\nX: y\r\n\r\nz\r\n" + email + _END, email="a@b.c")
    yield form("invalid UTF-8", _part("email", b"caf\xe9") + _END, email=f"caf{REPLACED}")
    yield form("a NUL", _part("email", b"a\x00b") + _END, email=f"a{REPLACED}b")
    yield form("a part in latin-1", _part("email", b"caf\xe9", headers=latin_1) + _END, email="caf\u00e9")
    charset, cyrillic = _part("_charset_", b"windows-1251"), _part("email", b"\xcf")
    in_1251 = _MULTIPART + b"; charset=CP1251"
    yield form("a charset in a field", charset + cyrillic + _END, email="\u041f")
    yield form("a charset in a field at the end", cyrillic + charset + _END, email="\u041f")
    yield form("a charset in the type", cyrillic + _END, media_type=in_1251, email="\u041f")
    own = charset + _part("email", b"caf\xe9", headers=latin_1) + _END
    yield form("a part's charset before the field's", own, email="caf\u00e9")
    in_1252 = _part("firstName", b"&#256;nna caf\xe9") + _END
    in_charset = _MULTIPART + b"; charset=windows-1252"
    yield form("a reference to a character", in_1252, media_type=in_charset, first_name="\u0100nna caf\u00e9")
    yield form("a text file", file("\u0101".encode()) + _END, phone="\u0101")
    yield form("a binary file", file(b"\x89PNG\xff") + _END, phone="\u0101.txt")
    yield form("a file with NULs", file(b"a\x00b") + _END, phone="\u0101.txt")
    yield form("no file chosen", _part("phone", b"", more=b'; filename=""') + _END, phone="")
    yield broken("nothing", b"")
    yield broken("no boundary anywhere", email.replace(b"--", b""), media_type=b"multipart/form-data")
    yield broken("no boundary and cut", email, media_type=b"multipart/form-data")
    yield broken("a preamble and cut", b"preamble\r\n" + email)
    yield broken("a preamble and no field of a lead", b"preamble\r\n" + _part("x", b"y") + _END)
    yield broken("cut in a value", (email + first_name)[:-9])
    yield broken("cut before the end", email + first_name)
    yield broken("cut in a header", email + first_name[:30])
    yield broken("15,000 parts", _part("a", b"") * 15_000 + _END)
