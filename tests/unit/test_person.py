"""Whom a lead or a text is about: an email in any case, a phone however it is written, in any escaping."""

from __future__ import annotations

import json
import zlib
from urllib.parse import quote

import pytest

from leadcrm.crm.person import Person, text_of
from tests.support.crm import submission

ANNA = Person(email="anna+x@Example.com", phone="+371 26 123 456")


@pytest.mark.parametrize(
    "text",
    [
        "ANNA+X@EXAMPLE.COM",
        "mail: <anna+x@example.com>.",
        "anna%2Bx%40example.com",
        '{"email":"anna+x\\u0040example.com"}',
        "<a href='mailto:anna+x&#64;example.com'>",
        f"raw={quote(json.dumps({'body': json.dumps({'e': 'anna+x@example.com'})}))}",
        "0037126123456",
        "8 2612 34-56",
        "call 26/123.456 today",
        "tel=%2B371+26+123+456&x=1",
        '{"phone":37126123456,"at":1700000000}',
        "2024-01-15 26123456 17",
        "+371 (0) 26 123 456",
        "26\u00a0123\u2011456",
    ],
)
def test_a_text_names_a_person_however_it_is_written(text: str) -> None:
    assert ANNA.is_named_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "joanna+x@example.com",
        "anna+x@example.com.br",
        "anna+x@example.comic",
        "anna@example.com",
        "26123457",
        "170002612345678",
        "990017000026123456",
        "1 " * 2_000 + "2612345",
        "",
    ],
)
def test_a_text_of_somebody_else_does_not(text: str) -> None:
    assert not ANNA.is_named_in(text)


def test_a_lead_is_theirs_by_either_column() -> None:
    assert ANNA.has_columns("Anna+X@example.com", None)
    assert ANNA.has_columns("other@example.com", "26 123 456")
    assert Person(phone="89161234567").has_columns(None, "+7 916 123-45-67")
    assert not ANNA.has_columns("anna@example.com", "3456")
    assert not ANNA.has_columns(None, None)


@pytest.mark.parametrize("phone", ["", "123456", "none", "1" * 30])
def test_nobody_is_looked_for_by_what_is_no_number(phone: str) -> None:
    assert not Person(phone=phone).is_known
    assert not Person(email="").is_known
    assert Person(email="a@b").is_known


def test_a_request_is_read_with_its_query_key_and_headers_and_what_cannot_be_decoded_is_told() -> None:
    row = submission(zlib.compress(b"in the body"), key="in the key")
    row = row._replace(target="/x?in=query", headers={"content-encoding": "deflate", "referer": "in a header"})
    text = text_of(row, max_decoded_bytes=100)
    assert text is not None
    for part in ("in the body", "in the key", "in=query", "in a header"):
        assert part in text
    assert text_of(row, max_decoded_bytes=3) is None
    assert text_of(row._replace(headers={"content-encoding": "br"}), max_decoded_bytes=100) is None
    utf16 = text_of(row._replace(body="anna@x".encode("utf-16"), headers={}), max_decoded_bytes=100)
    assert "anna@x" in str(utf16)
