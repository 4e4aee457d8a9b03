"""Reading a body to columns: the corpus, both JSON readers against each other, and random bytes."""

import gc
import gzip
import json
import re
import sys
import threading
import tracemalloc
import zlib
from typing import NoReturn
from urllib.parse import parse_qs, quote_plus, unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leadcrm.database.entities import FIELD_COLUMNS, FIELDS
from leadcrm.database.states import State
from leadcrm.errors import InvalidPayload
from leadcrm.ingest import submission
from leadcrm.ingest.normalize import normalize
from leadcrm.ingest.payload import json as json_payload
from leadcrm.ingest.payload import multipart
from leadcrm.ingest.payload.form import percent_decoded
from leadcrm.ingest.payload.reader import read_payload
from leadcrm.ingest.submission import process
from leadcrm.sources import charset_labels
from tests.corpus import MAX_BODY_BYTES, Case, cases

MEDIA_TYPES = (
    "application/json",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=windows-1251",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "",
)


def columns_of(
    body: bytes, content_type: str = "application/json", content_encoding: str = ""
) -> dict[str, str | None]:
    payload = read_payload(
        body, content_type=content_type, content_encoding=content_encoding, max_decoded_bytes=MAX_BODY_BYTES
    )
    return dict(zip(FIELD_COLUMNS, normalize(payload), strict=True))


def header(case: Case, name: bytes) -> str:
    return dict(case.headers).get(name, b"").decode("utf-8", "surrogateescape")


def outcome(case: Case) -> dict[str, str | None] | None:
    processed = process(
        case.body,
        content_type=header(case, b"Content-Type"),
        content_encoding=header(case, b"Content-Encoding"),
        max_decoded_bytes=MAX_BODY_BYTES,
    )
    assert processed.state is not State.FAILED
    return None if processed.fields is None else dict(zip(FIELD_COLUMNS, processed.fields, strict=True))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_every_body_of_the_corpus_gives_its_columns_or_is_refused(case: Case) -> None:
    expected = None if case.fields is None else dict.fromkeys(FIELD_COLUMNS) | case.fields
    assert outcome(case) == expected
    assert len(case.body) <= MAX_BODY_BYTES
    assert (case.status, case.fields is None) in ((201, False), (400, True))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON_VALUES)


def read_carefully(body: bytes) -> dict[str, object]:
    return json_payload._read_carefully(body)


@given(OBJECTS, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_the_quick_and_the_careful_reader_agree_on_every_field(
    document: dict[str, object], ascii_only: bool, indent: int | str | None
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    quick = json_payload._read_quickly(body)
    careful = read_carefully(body)
    if quick is not None:
        assert normalize(quick) == normalize(careful)
    for name, value in document.items():
        if name in FIELDS and (isinstance(value, str | bool) or value is None):
            assert careful[name] == value
        elif name in FIELDS:
            assert json.loads(str(careful[name])) == value


JSON_PIECES = [*'{}[],:"\\ \n01-.eE', '"email"', '"a"', "null", "true", "\\u00e9", "\\ud800", "NaN"]


@given(st.lists(st.sampled_from(JSON_PIECES)))
@example(['{"email"', ":", "1", ",", '"email"', ":", '"a"', "}"])
def test_the_careful_reader_accepts_and_refuses_the_same_bodies_as_the_quick_one(pieces: list[str]) -> None:
    body = "".join(pieces).encode()
    try:
        quick = json_payload._read_quickly(body)
    except InvalidPayload:
        with pytest.raises(InvalidPayload):
            read_carefully(body)
        return
    if quick is not None:
        assert normalize(quick) == normalize(read_carefully(body))


@given(
    st.binary() | OBJECTS.map(lambda document: json.dumps(document).encode()), st.sampled_from(MEDIA_TYPES), st.data()
)
@settings(max_examples=300)
def test_any_bytes_give_storable_columns_or_are_refused(body: bytes, content_type: str, data: st.DataObject) -> None:
    if body and data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(body) - 1))
        body = body[:cut] + data.draw(st.binary(max_size=3)) + body[cut + 1 :]
    try:
        columns = columns_of(body, content_type, data.draw(st.sampled_from(["", "gzip", "deflate", "br"])))
    except InvalidPayload:
        return
    for text in columns.values():
        assert text is None or (text.encode() is not None and "\x00" not in text)


@given(st.sampled_from(sorted(charset_labels._CODECS)), st.binary())
def test_any_bytes_in_any_charset_give_storable_columns(label: bytes, value: bytes) -> None:
    encoded = b"".join(b"%%%02x" % byte for byte in value)
    columns = columns_of(b"email=" + encoded + b"&_charset_=" + label, "application/x-www-form-urlencoded")
    email = columns["email"]
    assert email is not None
    assert email.encode() is not None


MULTIPART_PIECES = [
    b"--b",
    b"--",
    b"\r\n",
    b"\r",
    b"\n",
    b":",
    b" ",
    b"a",
    b"\xe9",
    b"\x00",
    b'Content-Disposition: form-data; name="ip"',
    b"Content-Type: text/plain; charset=",
    b'; filename="x"',
    b"koi8-r",
    b"\r\n\r\n",
    b"\r\n--b\r\n",
    b"\r\n--b--",
]

PLAIN = st.tuples(
    st.sampled_from([b"Content-Disposition", b"content-disposition", b"Content-Type", b"Content-Disposition "]),
    st.sampled_from([b"form-data; name=", b"form-data;name=", b"file; name=", b"form-data; filename="]),
    st.sampled_from([b'"phone"', b'"a;b"', b'" x "', b'"\xc3\xa9\xff"', b'"a\\b"', b'""', b"phone", b'"q"; charset=x']),
    st.sampled_from([b"\r\n\r\n", b"\n\n", b"\r\n"]),
    st.sampled_from([b"", b"x", b"a\r\nb", b"\r\n", b"\r\n--", b"--b", b"\r\n--bc", b"\r\n\r\n", b"\xff\x00", b"\r"]),
)
USUAL = st.sampled_from([b"", b"1", b"a\r\nb", b"\r\n--bc", b"\xff\x00", b"\r"]).map(
    lambda data: (b"Content-Disposition", b"form-data; name=", b'"a[b]"', b"\r\n\r\n", data)
)


@given(
    st.lists(USUAL, min_size=1, max_size=4) | st.lists(USUAL | PLAIN, max_size=4),
    st.just(b"--b\r\n") | st.sampled_from([b"--b", b"\r\n--b\r\n", b"x\r\n--b\r\n"]),
    st.just(b"\r\n--b--\r\n") | st.sampled_from([b"\r\n--b--", b"\r\n--b--x", b"\r\n--b", b""]),
)
def test_a_plain_multipart_form_is_read_as_the_parser_reads_it(
    parts: list[tuple[bytes, ...]], start: bytes, end: bytes
) -> None:
    texts = [name + b": " + kind + quoted + gap + data for name, kind, quoted, gap, data in parts]
    body = start + b"\r\n--b\r\n".join(texts) + end
    plain, parsed = multipart._Parts(whole=True), multipart._Parts(whole=True)
    if plain.take_plain(body, b"b"):
        parsed.parse(body, b"b")
        assert [(name, part.text("utf-8")) for name, part in plain.fields.items()] == [
            (name, part.text("utf-8")) for name, part in parsed.fields.items()
        ]
    else:
        assert plain.fields == {}


@given(st.lists(st.sampled_from(MULTIPART_PIECES), max_size=30))
def test_any_multipart_form_gives_columns_or_is_refused(pieces: list[bytes]) -> None:
    try:
        columns_of(b"--b\r\n" + b"".join(pieces), "multipart/form-data; boundary=b")
    except InvalidPayload:
        return


@given(st.lists(st.tuples(st.sampled_from(["email", "phone", "x"]), st.text()), min_size=1))
def test_a_urlencoded_form_is_read_as_the_standard_library_reads_it(pairs: list[tuple[str, str]]) -> None:
    pairs = [(name, value.encode("utf-8", "replace").decode()) for name, value in pairs]
    body = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
    expected = {name: values[-1] for name, values in parse_qs(body, keep_blank_values=True).items()}
    columns = columns_of(body.encode(), "application/x-www-form-urlencoded")
    for name in ("email", "phone"):
        value = expected.get(name)
        if value is not None and name == "phone":
            # Its blank was a plus that the sender did not encode.
            value = re.sub(r"\A (?=[ (]*\d)", "+", value)
        assert columns[name] == (None if value is None else value.replace("\x00", "\ufffd"))


@given(st.dictionaries(st.sampled_from(FIELDS), st.text()), st.permutations(["gzip", "deflate"]))
def test_a_coded_body_is_read_like_the_plain_body(document: dict[str, str], codings: list[str]) -> None:
    body = coded = json.dumps(document).encode()
    for coding in codings:
        coded = gzip.compress(coded) if coding == "gzip" else zlib.compress(coded)
    assert columns_of(coded, content_encoding=", ".join(codings)) == columns_of(body)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip of several members"])
def test_a_body_may_decode_to_the_bound_but_not_beyond(coding: str) -> None:
    body = b'{"email":"a"}'
    members = b"".join(gzip.compress(body[at : at + 4]) for at in range(0, len(body), 4))
    coded = {"gzip": gzip.compress(body), "deflate": zlib.compress(body)}.get(coding, members)
    for bound, fits in ((len(body), True), (len(body) - 1, False)):
        try:
            read_payload(coded, content_type="", content_encoding=coding.split(maxsplit=1)[0], max_decoded_bytes=bound)
        except InvalidPayload:
            assert not fits
        else:
            assert fits


def test_a_decompression_bomb_takes_at_most_a_few_times_the_bound_in_memory() -> None:
    bomb = gzip.compress(gzip.compress(b" " * 200_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidPayload):
            columns_of(bomb, content_encoding="gzip, gzip")
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


def test_a_deep_document_is_read_from_a_deep_stack_and_the_recursion_limit_is_restored() -> None:
    limit = sys.getrecursionlimit()
    body = b'{"email":' + b"[" * 1023 + b"]" * 1023 + b"}"

    def call(depth: int) -> dict[str, str | None]:
        return call(depth - 1) if depth else columns_of(body)

    assert call(500)["email"] == "[" * 1023 + "]" * 1023
    assert sys.getrecursionlimit() == limit


@pytest.mark.parametrize("end", [rb"\\", rb"\"", rb"\\\"", rb"\"\\"])
def test_brackets_in_a_text_are_no_nesting_whatever_escapes_stand_before_it(end: bytes) -> None:
    body = b'{"phone":1,"email":"a%s","creo":"%s"}' % (end, b"[" * (json_payload.MAX_NESTING + 1))
    assert columns_of(body)["creo"] == "[" * (json_payload.MAX_NESTING + 1)


@pytest.mark.parametrize("fault", [KeyError, AttributeError, AssertionError, MemoryError, ValueError])
def test_no_fault_of_ours_keeps_a_body_from_being_kept(monkeypatch: pytest.MonkeyPatch, fault: type[Exception]) -> None:
    def fail(_: object) -> NoReturn:
        raise fault("a-payload-no-log-may-hold")

    monkeypatch.setattr(submission, "normalize", fail)
    done = submission.process(b"{}", content_type="", content_encoding="", max_decoded_bytes=MAX_BODY_BYTES)
    assert done == (State.FAILED, f"normalizing failed: {fault.__name__}", None)


def test_deep_documents_are_read_in_several_threads_at_once() -> None:
    limit = sys.getrecursionlimit()
    body = b'{"email":' + b"[" * 1023 + b"1.10" + b"]" * 1023 + b"}"
    large = b'{"phone":1.10,"x":[' + b"[]," * 12_000 + b"1]}"
    texts: list[str | None] = []

    def read() -> None:
        texts.extend(columns_of(body)["email"] for _ in range(50))
        assert columns_of(large)["phone"] == "1.10"

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["[" * 1023 + "1.10" + "]" * 1023] * 400
    assert sys.getrecursionlimit() == limit
    assert gc.isenabled(), "the collector pauses only while a large document is read"


def test_an_error_quotes_nothing_of_the_payload() -> None:
    for case in cases():
        if case.status == 400:
            with pytest.raises(InvalidPayload) as refused:
                columns_of(case.body, header(case, b"Content-Type"), header(case, b"Content-Encoding"))
            assert "email" not in str(refused.value)


@given(st.binary(), st.sampled_from([b"", b"%", b"%%", b"%4", b"%zz", b"=41", b"=", b"=\n", b"%3D%0A"]))
def test_percent_escapes_are_undone_as_the_standard_library_undoes_them(text: bytes, more: bytes) -> None:
    for mixed in (text + more, more + text, text.replace(b"\x00", b"%41") + more):
        assert percent_decoded(mixed) == unquote_to_bytes(mixed)


@pytest.mark.parametrize(
    "deep", [b"[" * 1_024, b'[{"a":' * 512, b"[[]," * 1_023, b"[" * 300 + b"[]" * 300 + b"[" * 724]
)
def test_nesting_is_counted_exactly_at_the_limit(deep: bytes) -> None:
    assert json_payload._nesting(deep) == json_payload.MAX_NESTING
    assert json_payload._nesting(b"[]," * 700 + b"[" + deep) > json_payload.MAX_NESTING


def test_what_a_few_bytes_of_gzip_hold_is_cut_and_told() -> None:
    document = {"email": "a@b.c", "description": "x" * 1_000_000}
    bomb = gzip.compress(gzip.compress(json.dumps(document).encode()))
    done = process(bomb, content_type="", content_encoding="gzip, gzip", max_decoded_bytes=MAX_BODY_BYTES)
    assert done.fields is not None
    lead = dict(zip(FIELD_COLUMNS, done.fields, strict=True))
    assert (lead["email"], lead["description"]) == ("a@b.c", "x" * 1_024)
    assert done.error is not None
    assert done.error.startswith("cut to 1024 characters")
    assert "description" in done.error


def test_values_of_an_honest_compressed_body_stay_whole() -> None:
    text = "".join(map(str, range(10_000)))
    body = gzip.compress(json.dumps({"description": text}).encode())
    done = process(body, content_type="", content_encoding="gzip", max_decoded_bytes=MAX_BODY_BYTES)
    assert done.error is None
    assert done.fields is not None
    assert text in done.fields
    longer = gzip.compress(json.dumps({"description": "".join(map(str, range(30_000)))}).encode())
    done = process(longer, content_type="", content_encoding="gzip", max_decoded_bytes=MAX_BODY_BYTES)
    assert max(len(value) for value in done.fields or () if value) == 65_536
