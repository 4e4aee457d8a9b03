"""Normalizing a payload: every kind of value becomes text that every store can hold."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadcrm.database.entities import FIELD_COLUMNS, FIELDS
from leadcrm.ingest.normalize import NORMALIZER_VERSION, normalize, storable


def column(value: object) -> str | None:
    columns = dict(zip(FIELD_COLUMNS, normalize({"email": value}), strict=True))
    assert all(text is None for name, text in columns.items() if name != "email")
    return columns["email"]


def test_the_columns_are_the_fields_in_snake_case_in_the_same_order() -> None:
    assert (
        " ".join(FIELDS)
        == "click_id country creo description domain email firstName ip lang lastName marker offer phone sourcetype"
    )
    assert (
        " ".join(FIELD_COLUMNS)
        == "click_id country creo description domain email first_name ip lang last_name marker offer phone sourcetype"
    )


def test_the_normalizer_version_is_4() -> None:
    assert NORMALIZER_VERSION == 4


def test_each_field_goes_to_its_own_column() -> None:
    assert normalize({name: f"value of {name}" for name in FIELDS}) == tuple(f"value of {name}" for name in FIELDS)


def test_absent_fields_are_null_and_unknown_fields_are_ignored() -> None:
    assert normalize({"first_name": "J", "EMAIL": "a", "": "b"}) == (None,) * 14


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", ""),
        ("  a ", "  a "),
        ("J\u0101nis", "J\u0101nis"),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        ({"a": [1, None, "\u0101"]}, '{"a":[1,null,"\u0101"]}'),
        ([], "[]"),
        ("a\x00b", "a\ufffdb"),
        ("a\ud800\x00", "a\ufffd\ufffd"),
        (["\udfff"], '["\ufffd"]'),
    ],
)
def test_a_value_becomes_its_text(value: object, text: str | None) -> None:
    assert column(value) == text


def test_ordinary_text_is_not_copied() -> None:
    text = "user@example.com" * 10
    assert storable(text) is text


def test_header_bytes_that_are_not_utf_8_become_storable() -> None:
    assert storable(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\ufffd"


@given(st.text(st.characters(max_codepoint=sys.maxunicode, categories=None)))
def test_storable_replaces_only_nuls_and_surrogates(text: str) -> None:
    stored = storable(text)
    assert "\x00" not in stored
    assert stored.encode().decode() == stored
    assert len(stored) == len(text)
    assert all(new in (old, "\ufffd") for old, new in zip(text, stored, strict=True))
    assert storable(stored) == stored
