"""What is read while senders wait: little of a laborious body, and all of those that people and programs send."""

import gzip
import time

import pytest

from leadcrm.database.states import State
from leadcrm.ingest.submission import POSTPONED, Processed, process
from tests.corpus import MAX_BODY_BYTES, cases
from tests.unit.test_payload import header


def hurried(body: bytes, content_type: str = "application/json", content_encoding: str = "") -> Processed:
    return process(
        body,
        content_type=content_type,
        content_encoding=content_encoding,
        max_decoded_bytes=MAX_BODY_BYTES,
        at_leisure=False,
    )


_NESTS = b'{"email":1,"x":[' + b",".join([b"[" * 500 + b"]" * 500] * 1_000) + b"]}"
_FORM = "application/x-www-form-urlencoded"
_MULTI = "multipart/form-data; boundary=b"


def _parts(count: int, parameters: bytes = b"", value: bytes = b"a", headers: bytes = b"") -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="email"%s\r\n%s\r\n%s\r\n' % (parameters, headers, value)
    return part * count + b"--b--"


LABORIOUS = {
    "arrays in arrays": (_NESTS, "", ""),
    "arrays in arrays, compressed": (gzip.compress(_NESTS), "", "gzip"),
    "many objects": (b'{"x":[' + b"{}," * 300_000 + b"1]}", "", ""),
    "many members": (b'{"phone":1,' + b",".join(b'"a%d":1' % n for n in range(90_000)) + b"}", "", ""),
    "many numbers in a field": (b'{"email":[' + b"1," * 400_000 + b"1]}", "", ""),
    "many escapes": (b'{"email":["' + b"\\u0416a" * 140_000 + b'"]}', "", ""),
    "lone surrogates": (b'{"email":"' + b"\\ud800" * 170_000 + b'"}', "", ""),
    "a long text, compressed": (gzip.compress(b'{"email":"' + b"a" * 1_000_000 + b'"}'), "", "gzip"),
    "blanks, compressed twice": (gzip.compress(gzip.compress(b" " * 1_000_000)), "", "gzip, gzip"),
    "text that is no JSON": (b"x" * 1_000_000, "", ""),
    "an untrue coding": (gzip.compress(_NESTS), "", "br, gzip"),
    "escapes in a form": (b"email=" + b"%41a" * 250_000, _FORM, ""),
    "stray percent signs": (b"email=" + b"%" * 1_000_000, _FORM, ""),
    "a name of percent signs": (b"%" * 1_000_000 + b"=1", _FORM, ""),
    "many fields": (b"%41=1&" * 19_000 + b"a=b", _FORM, ""),
    "bytes without a meaning": (b"email=" + b"\xaa" * 1_000_000, _FORM + "; charset=windows-1253", ""),
    "bytes that are not UTF-8": (b"email=" + b"\xff" * 1_000_000, _FORM, ""),
    "escaped bytes that are not UTF-8": (b"email=" + b"\xff" * 50_000 + b"%ff", _FORM, ""),
    "references in a form": (b"email=" + b"%26#1040;+" * 100_000, _FORM, ""),
    "escapes of a script": (b"email=" + b"%u0410+" * 15_000, _FORM, ""),
    "references in a part": (_parts(1, value=b"&#1040; " * 125_000), _MULTI, ""),
    "references in a text": (b"email=1\r\nphone=" + b"&#1040; " * 125_000, "text/plain", ""),
    "many parts": (_parts(900), _MULTI, ""),
    "many parameters in many parts": (_parts(500, b"; a*1=b" * 240), _MULTI, ""),
    "a part in another charset": (
        _parts(1, value=b"\xaa" * 900_000, headers=b"Content-Type: text/plain; charset=windows-1253\r\n"),
        _MULTI,
        "",
    ),
}


@pytest.mark.parametrize("name", LABORIOUS)
def test_a_laborious_body_is_put_off_at_once(name: str) -> None:
    body, content_type, coding = LABORIOUS[name]
    took_s = []
    for _ in range(5):
        started = time.thread_time()
        assert hurried(body, content_type, coding) == (State.FAILED, POSTPONED, None)
        took_s.append(time.thread_time() - started)
    assert min(took_s) < 0.02, "as quick as an honest body of that size"


QUICK = {
    "parameters of the type": (b"email=a", _FORM + "; a=b" * 3_000, ""),
    "quoted parameters of the type": (b"email=a", _FORM + '; a="' + "\\;" * 8_000, ""),
    "parameters of a part": (_parts(20, b";" * 1_900) + b"", _MULTI, ""),
    "a long text": (b'{"email":"' + b"a" * 1_000_000 + b'"}', "", ""),
    "a long text with commas": (b'{"email":"' + b"Good day, sir: " * 1_300 + b'"}', "", ""),
    "a long text and a number": (b'{"phone":1,"email":"' + b"a" * 1_000_000 + b'"}', "", ""),
    "NULs": (b'{"email":"' + b"\\u0000" * 170_000 + b'"}', "", ""),
    "a form of blanks": (b"email=" + b"+" * 1_000_000, _FORM, ""),
    "a file": (_parts(1, b'; filename="a.png"', b"\x89PNG\xff" * 150_000), _MULTI, ""),
    "line breaks in a part": (_parts(1, value=b"\r\n-" * 300_000), _MULTI, ""),
    "a million brackets": (b"[" * 1_000_000, "", ""),
}


@pytest.mark.parametrize("name", QUICK)
def test_what_is_read_at_once_takes_some_milliseconds(name: str) -> None:
    body, content_type, coding = QUICK[name]
    took_s = []
    for _ in range(5):
        started = time.thread_time()
        done = hurried(body, content_type, coding)
        took_s.append(time.thread_time() - started)
    assert done.error != POSTPONED
    assert min(took_s) < 0.03


def test_reading_in_a_hurry_changes_no_result() -> None:
    for case in cases():
        content_type, coding = header(case, b"Content-Type"), header(case, b"Content-Encoding")
        done = hurried(case.body, content_type, coding)
        if done.error != POSTPONED:
            at_leisure = process(
                case.body, content_type=content_type, content_encoding=coding, max_decoded_bytes=MAX_BODY_BYTES
            )
            assert done == at_leisure, case.name
