"""What is almost JSON: what a source reads of it, and how long a hostile one takes."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadcrm.errors import InvalidPayload, TooLaborious
from leadcrm.ingest.payload.almost_json import json_of
from leadcrm.ingest.payload.document import read_document

LEAD = {"name": "Anna Ozola", "phone": "+37120000001"}
TEXT = json.dumps(LEAD)
OPEN = TEXT[:-1]

READ: dict[str, tuple[str, object]] = {
    "a trailing comma": (OPEN + ",\n}", LEAD),
    "a trailing comma in a list": (f"[{TEXT},]", [LEAD]),
    "NaN and Infinity": (OPEN + ',"a":NaN,"b":-Infinity}', {**LEAD, "a": None, "b": None}),
    "comments": (f"// a lead\n/* of ours */{OPEN} // end\n}}/* ; */", LEAD),
    "single quotes": (TEXT.replace('"', "'"), LEAD),
    "a repr of Python": (
        repr({**LEAD, "a": None, "b": [True, 1.5, "it's"]}),
        {**LEAD, "a": None, "b": [True, 1.5, "it's"]},
    ),
    "a repr of Python 2": ("{u'name': u'J\\xe2nis', u'a': u\"it's\"}", {"name": "J\u00e2nis", "a": "it's"}),
    "names without quotes": ("{name: 'Anna Ozola', phone: \"+37120000001\"}", LEAD),
    "an escaped apostrophe": (OPEN + r',"a":"it\'s"}', {**LEAD, "a": "it's"}),
    "an apostrophe in single quotes": ("{'a': 'it's', 'b': 1}", {"a": "it's", "b": 1}),
    "quotes in a text": (OPEN + ',"a":"He said "hi" to me"}', {**LEAD, "a": 'He said "hi" to me'}),
    "curly quotes": (TEXT.replace('"', "\u201d"), LEAD),
    "backslashes in a text": (OPEN + r',"a":"C:\dir\x"}', {**LEAD, "a": "C:\\dir\\x"}),
    "a trailing semicolon": (TEXT + ";\n", LEAD),
    "nothing filled in": (OPEN + ',"a":,"b":}', {**LEAD, "a": None, "b": None}),
    "a number with a plus": ('{"phone":+37120000001}', {"phone": "+37120000001"}),
    "a number with zeros": ('{"phone":0037120000001}', {"phone": "0037120000001"}),
    "words without quotes": ('{"name":Anna Ozola,"email":a@b.co // x\n}', {"name": "Anna Ozola", "email": "a@b.co"}),
    "no-break spaces": (TEXT.replace(" ", "\u00a0", 1).replace(" ", "\u00a0"), None),
    "control characters": (OPEN + ',"a":"\x0b\x1f\n"}', {**LEAD, "a": "\x0b\x1f\n"}),
    "JSONP": (f"/**/jQuery1_2.cb({TEXT});", LEAD),
    "JSONP of a list": (f"cb([{TEXT}])", [LEAD]),
    "what no script may run": (f")]}}',\n{TEXT}", LEAD),
    "a loop before it": (f"for(;;);{TEXT}", LEAD),
    "one after the other": (TEXT + TEXT, [LEAD, LEAD]),
    "lines with a comma too many": (f"{TEXT}\n{OPEN},}}\n", [LEAD, LEAD]),
    "in a JSON string": (json.dumps(OPEN + ",}"), LEAD),
}


def _read(body: bytes, content_type: str = "application/json", *, at_leisure: bool = False) -> object:
    return read_document(
        body, content_type=content_type, content_encoding="", max_decoded_bytes=2_000_000, at_leisure=at_leisure
    )


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_what_is_almost_json_is_read_at_a_source(name: str, content_type: str) -> None:
    text, meant = READ[name]
    if meant is None:
        meant = {key: value.replace(" ", "\u00a0") for key, value in LEAD.items()}
    assert _read(text.encode(), content_type) == meant


@pytest.mark.parametrize(
    "text",
    ['{"a":1', '{"a":"b', '{"a" 1}', "{a}", '{"a":1 "b":2}', '{"a":1}]', '{"a":1}x', "[1", "{" * 2_000, "cb({", "{//"],
)
def test_what_is_cut_off_or_no_json_at_all_is_refused(text: str) -> None:
    with pytest.raises(InvalidPayload):
        _read(text.encode())


def test_a_form_that_holds_json_or_a_call_is_a_form() -> None:
    for value in ('{"a":1,}', "cb({'a':1})"):
        assert _read(b"a=" + value.encode(), "application/x-www-form-urlencoded") == {"a": value}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), VALUES))
def test_json_stays_what_it_is(document: dict[str, object]) -> None:
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False, indent=1)):
        assert json.loads(json_of(text)) == document


PIECES = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "'",
    "\\",
    "//",
    "/*",
    "*/",
    "a",
    "1",
    "+",
    "\n",
    " ",
    "\u201d",
    "NaN",
    "(",
    ")",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_gives_json_or_is_refused(text: str) -> None:
    with suppress(InvalidPayload):
        json.loads(json_of(text))
    with suppress(InvalidPayload):
        json.loads(json_of("{" + text + "}"))


HOSTILE = {
    "blanks": '{"a":' + " " * 1_000_000 + "x",
    "quotes": '{"a":' + '"' * 1_000_000,
    "quotes and blanks": '{"a":"' + '" ' * 500_000,
    "commas": "[" + "," * 1_000_000,
    "comments": "/**/" * 250_000 + "{",
    "comments that do not end": "{" + "/* " * 300_000,
    "words": "{" + "a:b," * 250_000,
    "a long word": '{"a":x' + " " * 1_000_000 + "}",
    "escapes": '{"a":"' + "\\q" * 500_000 + '"}',
    "control characters": '{"a":"' + "\x0b" * 1_000_000 + '"}',
    "objects": "{},}" * 250_000,
    "curly quotes": "{\u201c" * 250_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("size", [4_000, 60_000, 1_000_000])
def test_a_hostile_text_holds_nobody_up(name: str, size: int) -> None:
    body = HOSTILE[name][:size].encode()
    took_s = []
    for _ in range(3):
        started = thread_time()
        with suppress(InvalidPayload, TooLaborious):
            _read(body)
        took_s.append(thread_time() - started)
    assert min(took_s) < 0.015


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_takes_a_time_in_proportion_to_its_length_at_leisure(name: str) -> None:
    started = thread_time()
    with suppress(InvalidPayload):
        _read(HOSTILE[name].encode(), at_leisure=True)
    assert thread_time() - started < 6


def test_gzip_is_told_without_its_header() -> None:
    assert _read(gzip.compress(TEXT.encode())) == LEAD
    assert _read(gzip.compress(b"name=Anna&phone=1")) == {"name": "Anna", "phone": "1"}
    with pytest.raises(InvalidPayload):
        _read(gzip.compress(TEXT.encode())[:-9])
    with pytest.raises(TooLaborious):
        _read(gzip.compress(b" " * 1_000_000))
