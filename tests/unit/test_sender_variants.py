"""The same senders with other labels, languages, orders, gaps and shapes: what a lead's buyer expects is filled.

A column that must stay empty is null in `columns`. A body with a type of its own is a text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from leadcrm.database.entities import FIELDS
from leadcrm.database.states import State
from tests.unit.test_source_bounds import FORM, JSON, PRESETS, arrival

VARIANTS = {
    variant["name"]: variant
    for variant in map(json.loads, Path(__file__).with_name("sender_variants.jsonl").read_text().splitlines())
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_fills_what_it_holds(name: str) -> None:
    variant: dict[str, Any] = VARIANTS[name]
    body = variant["body"]
    if "type" not in variant:
        body = urlencode(body) if variant["form"] else json.dumps(body)
    content_type = variant.get("type") or (FORM if variant["form"] else JSON)
    row = arrival(PRESETS[variant["preset"]], body.encode(), content_type).interpreted()
    filled = dict(zip(FIELDS, row.fields or (None,) * len(FIELDS), strict=True))
    assert {field: filled[field] for field in variant["columns"]} == variant["columns"]
    assert row.is_test is variant["test"]


PARTS = b'--B\r\nContent-Disposition: form-data; name="email"\r\n\r\na@example.com\r\n'
PARTS += b'--B\r\nContent-Disposition: form-data; name="V\xc4\x81rds"\r\n\r\nAnna\r\n--B--\r\n'
TEXT = '{"Vārds":"Anna","email":"a@example.com"}'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (PARTS, "multipart/form-data; boundary=C"),
        (PARTS, "multipart/mixed; boundary=B"),
        (PARTS, FORM),
        (PARTS, ""),
        (b"preamble\r\n" + PARTS, "multipart/form-data; boundary=B"),
        (PARTS.replace(b"\r\n", b"\n"), "multipart/form-data; boundary=B"),
        *((PARTS[:end], "multipart/form-data; boundary=B") for end in range(-9, -1)),
        (PARTS[:-4] + b"\r\n", "multipart/form-data; boundary=B"),
        (PARTS[:-4] + b"\r\nContent-Disposition: form-data; na", "multipart/form-data; boundary=B"),
        (PARTS.replace(b"\r\n", b"\n")[:-6], "multipart/form-data; boundary=C"),
        (PARTS.replace(b'"email"', b'"email"; x="y"')[:-7], "multipart/form-data; boundary=B"),
        (TEXT.encode("utf-16"), JSON),
        (TEXT.encode("cp1257"), f"{JSON}; charset=windows-1257"),
        (TEXT.replace("}", ',"city":"R\\u0101"}').encode() + b"\0\n", JSON),
        (TEXT.replace("}", ',"note":"a\n\tb"}').encode(), JSON),
        (TEXT.replace("}", ',"city":"X"}').encode().replace(b"X", b"\xe2"), JSON),
        (quote(TEXT).encode() + b"=", FORM),
        (quote(TEXT).encode(), FORM),
        (quote(TEXT).encode() + b"=", JSON),
        (quote(TEXT).encode(), JSON),
        (quote(urlencode({"Vārds": "Anna", "email": "a@example.com"}), safe="").encode(), FORM),
        (quote(urlencode({"Vārds": "Anna", "email": "a@example.com"}), safe="").encode() + b"=\r\n", FORM),
        (quote(urlencode({"Vārds": "Anna", "email": "a@example.com"}), safe="").encode(), JSON),
        (quote("Vārds=Anna&email=a@example.com", safe="").encode(), ""),
        ("Vārds=Anna\r\nemail=a@example.com\r\nx=\r\n\r\ntwo lines".encode(), "text/plain"),
    ],
)
def test_a_body_that_its_sender_describes_or_encodes_badly_is_read(body: bytes, content_type: str) -> None:
    row = arrival(PRESETS["generic"], body, content_type).interpreted()
    filled = dict(zip(FIELDS, row.fields or (None,) * len(FIELDS), strict=True))
    assert (filled["firstName"], filled["email"]) == ("Anna", "a@example.com")


def test_a_form_that_ends_before_its_first_value_is_invalid() -> None:
    for end in (3, 5, 30):
        row = arrival(PRESETS["generic"], PARTS[:end], "multipart/form-data; boundary=B").interpreted()
        assert (row.state, row.error) == (State.INVALID, "the multipart form has no closing boundary")


@pytest.mark.parametrize(
    ("id", "is_key"),
    [("{tid}", False), ("{{ $json.id }}", False), ("%SUBID%", False), ("[TID]", False), ("0", False), ("n/a", False),
     ("{6F9619FF-8B86-D011-B42D-00CF4FC964FF}", True), ("#12", True), ("urn:li:1", True), ("00", True)],
)  # fmt: skip
def test_what_a_sender_sends_where_it_has_no_id_is_no_key(id: str, is_key: bool) -> None:
    row = arrival(PRESETS["postback"], urlencode({"tid": id, "cid": "c"}).encode(), FORM).interpreted()
    assert row.idempotency_key == (id if is_key else None)
