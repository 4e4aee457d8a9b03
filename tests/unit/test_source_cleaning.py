# ruff: noqa: RUF001 - names and digits of other scripts
"""What senders put around phones and emails, and what they send where they have nothing, is not in the columns."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from leadcrm.database.entities import FIELDS
from leadcrm.database.states import State
from leadcrm.ingest.sourced import SourceRows
from leadcrm.ingest.submission import Submission, process
from leadcrm.sources.catalogue import parse_catalogue
from leadcrm.sources.cleaning import bare_phone, says_nothing
from leadcrm.sources.proof import query_of
from tests.unit.test_source_bounds import FORM, PRESETS, arrival, source_of

OWN = {"Vārds": "Anna", "E-pasts": "anna@example.com"}


def read(document: Any, preset: str = "generic") -> Submission:
    return arrival(PRESETS[preset], json.dumps(document).encode()).interpreted()


def filled(row: Submission) -> dict[str, str | None]:
    return dict(zip(FIELDS, row.fields or (None,) * len(FIELDS), strict=True))


def columns(document: Any, preset: str = "generic") -> dict[str, str | None]:
    return filled(read(document, preset))


PHONES = [
    ("٠٥٠١٢٣٤٥٦٧", "٠٥٠١٢٣٤٥٦٧"),
    ("۰۹۱۲۳۴۵۶۷۸۹", "۰۹۱۲۳۴۵۶۷۸۹"),
    ("९८७६५ ४३२१०", "९८७६५ ४३२१०"),
    ("０９０−１２３４−５６７８", "０９０−１２３４−５６７８"),
    ("＋８１９０１２３４５６７８", "＋８１９０１２３４５６７８"),
    ("тел. 8 916 000-00-01", "тел. 8 916 000-00-01"),
    ("tālr. 20000001", "tālr. 20000001"),
    ("mob: 20000001", "mob: 20000001"),
    ("p:+37120000001", "+37120000001"),
    ("tel:20000001", "20000001"),
    ("TEL: +371 2000 0001", "+371 2000 0001"),
    ("whatsapp:+37120000001", "+37120000001"),
    ("'37120000001", "37120000001"),
    ("'+37120000001", "+37120000001"),
    ('"+37120000001"', "+37120000001"),
    (" +37120000001 ", "+37120000001"),
    ("\u202d20000001\u202c", "20000001"),
    ("\u202a+371 20 000 001\u202c", "+371 20 000 001"),
    ("\u200e+371\u200e20000001", "+37120000001"),
    ("\xa020\u2011000\u2011001", "20\u2011000\u2011001"),
    ("37120000001.0", "37120000001"),
    ("+37120000001.00", "+37120000001"),
    ("3.7120000001E10", "37120000001"),
    ("3.7E10", "37000000000"),
    ("3.712E+10", "3.712E+10"),
]


@pytest.mark.parametrize(("sent", "column"), PHONES)
@pytest.mark.parametrize("label", ["phone", "Mobilais tālrunis", "Контактный телефон", "your-phone"])
def test_a_phone_is_taken_without_the_marks_around_it(label: str, sent: str, column: str) -> None:
    assert columns({**OWN, label: sent})["phone"] == column


@pytest.mark.parametrize(
    ("preset", "body"),
    [
        ("meta-lead", {"id": "1", "field_data": [{"name": "email", "values": ["a@example.com"]},
                                                 {"name": "phone_number", "values": ["X"]}]}),
        ("tally", {"data": {"responseId": "r", "fields": [{"label": "Tālrunis", "value": "X"},
                                                          {"label": "Email", "value": "a@example.com"}]}}),
        ("cf7", {"your-email": "a@example.com", "your-phone": "X"}),
        ("elementor", {"E-Mail": "a@example.com", "Mobile number": "X"}),
        ("hubspot-workflow", {"properties": {"email": {"value": "a@example.com"}, "phone": {"value": "X"}}}),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("sent", "column"), PHONES[:20])
def test_each_preset_takes_such_phones(preset: str, body: Any, sent: str, column: str) -> None:
    document = json.loads(json.dumps(body).replace('"X"', json.dumps(sent)))
    assert columns(document, preset)["phone"] == column


@pytest.mark.parametrize(
    "text",
    [
        "call me at 5",
        "Nokia 3310123 and a charger",
        "after 18:00, before 20:00",
        "a1@b2345678.lv",
        "12",
    ],
)
def test_what_is_no_phone_is_not_taken_for_one(text: str) -> None:
    assert columns({**OWN, "Mobilais tālrunis": text})["phone"] is None


@pytest.mark.parametrize("number", ["37120000001.0", "3.7120000001E10", "37120000001"])
def test_a_phone_that_is_sent_as_a_number_is_its_digits(number: str) -> None:
    row = arrival(PRESETS["generic"], f'{{"email":"a@example.com","phone":{number}}}'.encode()).interpreted()
    assert filled(row)["phone"] == "37120000001"


@pytest.mark.parametrize("text", ["", "+", "1.5", "1E99", "9.9E2", "12345678901234567.0", "p:", "tel:", "p:anna"])
def test_what_no_number_is_stays_as_it_is(text: str) -> None:
    assert bare_phone(text) == text


@pytest.mark.parametrize(
    ("sent", "column"),
    [
        ("mailto:anna@example.com", "anna@example.com"),
        ("MAILTO:anna@example.com?subject=Hi", "anna@example.com"),
        (" anna@example.com\t", "anna@example.com"),
        ("<anna@example.com>", "anna@example.com"),
        ("\u200banna@example.com\ufeff", "anna@example.com"),
        ("anna%40example.com", "anna@example.com"),
        ("Anna <anna@example.com>", "anna@example.com"),
        ('"Ozola, Anna" <mailto:anna@example.com> ', "anna@example.com"),
        ("anna@example.com, juris@example.com", "anna@example.com"),
        ("anna@example.com;anna@example.org", "anna@example.com"),
        ("<a> <anna@example.com>", "<a> <anna@example.com>"),
        ("write anna@example.com, not a@b", "write anna@example.com, not a@b"),
        ("100% anna@example.com", "100% anna@example.com"),
    ],
)
@pytest.mark.parametrize("label", ["email", "Jūsu e-pasts"])
def test_an_email_is_taken_without_what_is_around_it(label: str, sent: str, column: str) -> None:
    assert columns({"phone": "+37120000001", label: sent})["email"] == column


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"phone": "anna@example.com"}, {"email": "anna@example.com", "phone": None}),
        ({"phone": "Anna <anna@example.com>", "email": ""}, {"email": "anna@example.com", "phone": None}),
        ({"email": "+371 2000 0001"}, {"email": None, "phone": "+371 2000 0001"}),
        ({"email": "20000001", "phone": ""}, {"email": None, "phone": "20000001"}),
        ({"email": "20000001", "phone": "anna@example.com"}, {"email": "anna@example.com", "phone": "20000001"}),
        ({"email": "20000001", "phone": "29999999"}, {"email": None, "phone": "29999999"}),
        ({"phone": "anna@example.com", "email": "a@b.lv"}, {"email": "a@b.lv", "phone": None}),
        ({"phone": "anna@example.com", "Call us at": "x", "mobile": "20000001"}, {"phone": "20000001"}),
        ({"email": "no", "phone": "write to anna@example.com"}, {"email": "no", "phone": "write to anna@example.com"}),
    ],
)
def test_a_contact_in_the_field_of_the_other_is_put_into_its_own(document: Any, expected: dict[str, str]) -> None:
    for found in (columns({"text": "x", **document}), columns({"properties": document}, "hubspot-workflow")):
        assert {field: found[field] for field in expected} == expected


def test_a_column_that_a_source_maps_itself_is_left_to_its_path() -> None:
    mapped = source_of('map.phone = "a"\nmap.email = "b"\nmap.firstName = "c"')
    found = filled(arrival(mapped, b'{"a":"a@b.lv","b":"20000001","c":"20000002"}').interpreted())
    assert (found["phone"], found["email"], found["firstName"]) == ("a@b.lv", "20000001", "20000002")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"email": "Anna Ozola <a@b.lv>"}, ("Anna", "Ozola")),
        ({"email": '"Ozola, Anna" <a@b.lv>'}, ("Anna", "Ozola")),
        ({"email": "Anna Ozola <a@b.lv>", "name": "Juris"}, ("Juris", None)),
        ({"email": "a@b.lv <a@b.lv>"}, (None, None)),
        ({"email": "a@b.lv", "name": "a@b.lv"}, (None, None)),
        ({"email": "a@b.lv", "name": "+371 20000001"}, (None, None)),
        ({"email": "a@b.lv", "phone": "29999999", "firstname": "20000001", "lastname": "Ozola"}, (None, "Ozola")),
        ({"email": "a@b.lv", "name": "@anna"}, ("@anna", None)),
        ({"email": "a@b.lv", "name": "007"}, ("007", None)),
    ],
)
def test_a_name_is_no_contact_and_may_stand_beside_an_email(document: Any, expected: tuple[str | None, ...]) -> None:
    for found in (columns(document), columns({"properties": document}, "hubspot-workflow")):
        assert (found["firstName"], found["lastName"]) == expected


@pytest.mark.parametrize(
    ("name", "field"), [("anna@example.com", "email"), ("+371 20000001", "phone"), ("20000001", "phone")]
)
def test_a_contact_in_place_of_a_name_is_taken_where_there_is_no_other(name: str, field: str) -> None:
    assert columns({"Vārds": name, "text": "x"})[field] == name
    assert columns({"Vārds": name, "email": "a@b.lv", "phone": "29999999"})[field] in ("a@b.lv", "29999999")


@pytest.mark.parametrize(
    ("sent", "column"),
    [
        (["+37120000001", "+37120000002"], "+37120000001"),
        ([20000001, 20000002], "20000001"),
        ("+37120000001, +37120000002", "+37120000001"),
        ("2000 0001; 2000 0002", "2000 0001"),
        ("+37120000001 / +37120000002", "+37120000001"),
        ("67000000/20000002", "67000000"),
        ("+37120000001+37120000002", "+37120000001"),
        ("(020) 7946 0001 | (020) 7946 0002", "(020) 7946 0001"),
        ("030/1234567, 0171/7654321", "030/1234567"),
        ("030 / 12345678", "030 / 12345678"),
        ("0171/1234567", "0171/1234567"),
        ("20000001, call after 18", "20000001, call after 18"),
    ],
)
def test_the_first_of_several_phones_is_taken(sent: Any, column: str) -> None:
    assert columns({**OWN, "Tālrunis": sent})["phone"] == column
    assert columns({"properties": {"phone": sent}}, "hubspot-workflow")["phone"] == column


@pytest.mark.parametrize(
    ("sent", "column"),
    [
        ("203.0.113.9:51000", "203.0.113.9"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (["203.0.113.9", "10.0.0.1"], "203.0.113.9"),
        ("unknown, 203.0.113.9", "203.0.113.9"),
        (' "203.0.113.9" ', "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", None),
        ("localhost:80", None),
    ],
)
def test_an_address_is_taken_without_its_port_and_its_proxies(sent: Any, column: str | None) -> None:
    assert columns({**OWN, "Your IP": sent})["ip"] == column
    assert columns({**OWN, "_remote_ip": sent}, "cf7")["ip"] == column


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"phone_prefix": "+371", "phone": "20000001"}, "+371 20000001"),
        ({"phone": "2000 0001", "dialCode": "371"}, "371 2000 0001"),
        ({"phone": 20000001, "Phone Country Code": 371}, "371 20000001"),
        ({"phone": "20000001", "country_code": "+371"}, "+371 20000001"),
        ({"phone": "20000001", "country_code": "LV"}, "20000001"),
        ({"phone": "37120000001", "country_code": "371"}, "37120000001"),
        ({"phone": "0037120000001", "prefix": "+371"}, "0037120000001"),
        ({"phone": "+37120000001", "prefix": "+371"}, "+37120000001"),
        ({"phone": "20000001", "prefix": "Mr"}, "20000001"),
        ({"phone": "20000001", "code": "1234"}, "20000001"),
        ({"phone": "20000001", "prefix": "+371", "international": "+371 20000001"}, "+371 20000001"),
    ],
)
def test_a_country_code_in_a_field_of_its_own_is_joined_to_the_phone(document: Any, expected: str) -> None:
    assert columns({**OWN, **document})["phone"] == expected
    assert columns({"lead": {**OWN, **document}})["phone"] == expected


@pytest.mark.parametrize(
    ("document", "column", "expected"),
    [
        ({"utm_source": "null", "source": "Google"}, "sourcetype", "Google"),
        ({"gclid": "undefined", "fbclid": "F1"}, "click_id", "F1"),
        ({"gclid": "{gclid}"}, "click_id", None),
        ({"utm_campaign": "{{campaign.name}}", "campaign": "Real"}, "offer", "Real"),
        ({"first_name": "undefined", "name": "Anna Ozola"}, "firstName", "Anna"),
        ({"first_name": "Anna", "last_name": "-"}, "lastName", None),
        ({"first_name": "Nan", "last_name": "Goldin"}, "firstName", "Nan"),
        ({"country": "N/A", "geo": "LV"}, "country", "LV"),
        ({"phone": "null", "mobile": "20000001"}, "phone", "20000001"),
        ({"message": "0"}, "description", "0"),
        ({"message": "false"}, "description", "false"),
        ({"message": "[see below] none of it"}, "description", "[see below] none of it"),
        ({"service": ["null", "Roof", "Door"]}, "offer", "Roof, Door"),
    ],
)
def test_a_text_that_stands_for_nothing_fills_no_column(document: Any, column: str, expected: str | None) -> None:
    assert columns({"email": "a@example.com", **document})[column] == expected


def test_a_macro_does_not_hide_the_next_name_of_a_path() -> None:
    body = urlencode({"click_id": "{click_id}", "subid": "abc", "status": "lead"}).encode()
    assert filled(arrival(PRESETS["postback"], body, FORM).interpreted())["click_id"] == "abc"


@pytest.mark.parametrize("text", ["{6F9619FF-8B86-D011-B42D-00CF4FC964FF}", "", "Una", "Nil", "-1", "#12", "100%"])
def test_other_texts_stand_for_something(text: str) -> None:
    assert not says_nothing(text)


@pytest.mark.parametrize(
    "name", ["phone_full", "full_phone", "phone_e164", "e164Phone", "international", "full_number"]
)
@pytest.mark.parametrize("local", ["20000001", "2000 0001", "020000001"])
def test_the_phone_with_a_country_code_is_taken_of_two_that_are_the_same(name: str, local: str) -> None:
    for document in ({"phone": local, name: "+371 20000001"}, {name: "+371 20000001", "phone": local}):
        assert columns({**OWN, **document})["phone"] == "+371 20000001"


def test_another_phone_does_not_take_the_place_of_the_first() -> None:
    assert columns({**OWN, "phone": "20000001", "international": "+37129999999"})["phone"] == "20000001"


@pytest.mark.parametrize("question", ["full_name", "phone_number", "what's_your_budget?"])
def test_a_dummy_of_metas_testing_tool_marks_a_test(question: str) -> None:
    dummy = f"<test lead: dummy data for {question}>"
    row = read(
        {"id": "1", "email": "test@meta.com", "field_data": [{"name": question, "values": [dummy]}]}, "meta-lead"
    )
    assert row.is_test
    assert not [value for value in row.fields or () if value and "dummy" in value]


@pytest.mark.parametrize(
    "code",
    ["country_code", "countryCode", "code", "prefix", "dial_code", "dialCode", "callingCode", "country", "phoneCode"],
)
@pytest.mark.parametrize("number", ["number", "phone", "national_number", "value"])
def test_the_country_code_beside_a_number_is_joined_to_it(code: str, number: str) -> None:
    for document in ({code: "+371", number: "20000001"}, {number: "20000001", code: "+371"}):
        assert columns({**OWN, "phone": document})["phone"] == "+371 20000001"
    body = urlencode({"email": "a@example.com", f"phone[{code}]": "+371", f"phone[{number}]": "20000001"}).encode()
    assert filled(arrival(PRESETS["generic"], body, FORM).interpreted())["phone"] == "+371 20000001"


@pytest.mark.parametrize(
    ("pieces", "column"),
    [
        ({"countryCode": "371", "number": "20000001"}, "371 20000001"),
        ({"countryCode": 371, "number": 20000001}, "371 20000001"),
        ({"countryCode": "LV", "callingCode": "371", "number": "20000001"}, "371 20000001"),
        ({"countryCode": "LV", "number": "20000001"}, "20000001"),
        ({"country_code": "+371", "number": "+37120000001"}, "+37120000001"),
        ({"country_code": "371", "number": "37120000001"}, "37120000001"),
        ({"country_code": "+7", "number": "7012345678"}, "+7 7012345678"),
        ({"country_code": "+91", "number": "9123456789"}, "+91 9123456789"),
        ({"country_code": "+371", "number": "20000001", "e164": "+37120000001"}, "+37120000001"),
        ({"country_code": "+371", "number": ""}, None),
    ],
)
def test_a_country_code_that_is_there_already_is_not_joined_again(pieces: dict[str, Any], column: str | None) -> None:
    assert columns({**OWN, "phone": pieces})["phone"] == column
    if column:
        assert (
            columns({"properties": {"email": "a@example.com", "phone": pieces}}, "hubspot-workflow")["phone"] == column
        )


def test_a_code_beside_another_number_is_none_of_a_phone() -> None:
    assert columns({**OWN, "phone": "20000001", "order": {"code": "12", "number": "555000"}})["phone"] == "20000001"
    lead = {"phone": "20000001", "country_code": "371"}
    assert columns({"lead": lead})["phone"] == "371 20000001"
    assert columns({"lead": {**lead, "email": "a@example.com"}})["email"] == "a@example.com"
    assert columns({**lead, "email": "a@example.com"})["email"] == "a@example.com"


def asked(query: str, preset: str = "generic") -> Submission:
    """Return the row of a GET with this query, on arrival."""
    waiting = arrival(PRESETS[preset], b"")
    target = f"/in/s?{query}"
    row = waiting.row._replace(method="GET", target=target)
    return replace(waiting, row=row, query=query_of(target), target=target).interpreted()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=Anna&phone=+37120000001", {"phone": "+37120000001"}),
        ("name=Anna&phone=+371%202000%200001", {"phone": "+371 2000 0001"}),
        ("form[name]=Anna+Ozola&form[email]=a%40b.lv", {"firstName": "Anna", "lastName": "Ozola", "email": "a@b.lv"}),
        ("lead%5Bname%5D=Anna&utm_source=g", {"firstName": "Anna", "sourcetype": "g"}),
        ("_charset_=windows-1257&name=%C2nna&email=a@b.lv", {"firstName": "Ānna", "email": "a@b.lv"}),
        ("%u0418%u043C%u044F=%u0410%u043D%u043D%u0430&email=a@b.lv", {"firstName": "Анна", "email": "a@b.lv"}),
        ("phone=%2B37120000001&phone=", {"phone": "+37120000001"}),
        ("service[]=A&service[]=B&email=a@b.lv", {"offer": "A, B"}),
        ("name=Anna&token=+37129999999&api_key=x@y.lv", {"firstName": "Anna", "phone": None, "email": None}),
        ("name=Anna&text=Hi&id=5&value=7", {"firstName": "Anna"}),
        ('{"name":"Anna","email":"a@b.lv"}', {"firstName": "Anna", "email": "a@b.lv"}),
        ("%7B%22name%22:%22Anna+Ozola%22,%22email%22:%22a@b.lv%22%7D", {"lastName": "Ozola", "email": "a@b.lv"}),
        ('t=5&data={"name":"Anna","email":"a@b.lv"}', {"firstName": "Anna", "email": "a@b.lv"}),
        (
            "data=%7B%22name%22:%22Anna%22,%22tel%22:%22%2B37120000001%22%7D",
            {"firstName": "Anna", "phone": "+37120000001"},
        ),
        ("data=%7Bclickid%7D&email=a@b.lv&text=[Hi]", {"email": "a@b.lv", "click_id": None}),
        ("name%3DAnna%26email%3Da%2540b.lv", {"firstName": "Anna", "email": "a@b.lv"}),
    ],
)
def test_a_query_is_read_as_a_form_is(query: str, expected: dict[str, str | None]) -> None:
    found = filled(asked(query))
    assert {field: found[field] for field in expected} == expected


TWICE = [
    ("firstName=Anna%2520Ozola&phone=%252B37120000001", {"firstName": "Anna Ozola", "phone": "+37120000001"}),
    ("name=Anna%2BOzola&email=a%2540b.lv&x=1", {"firstName": "Anna", "lastName": "Ozola", "email": "a@b.lv"}),
    ("%25D0%2598%25D0%25BC%25D1%258F=%25D0%2590&email=a@b.lv", {"firstName": "А"}),
    ("name=%25u0410%25u043D&email=a@b.lv", {"firstName": "Ан"}),
    ("name=Anna+Ozola&phone=%252b37120000001", {"lastName": "Ozola", "phone": "+37120000001"}),
    ("name=Anna%2520O&utm_campaign=https%253A%252F%252Fx.lv%252F%253Fa%253D1", {"offer": "https://x.lv/?a=1"}),
]
ONCE = [
    ("firstName=Anna%2520Ozola&email=a%40b.lv", {"firstName": "Anna%20Ozola"}),
    ("name=Anna&utm_campaign=https%253A%252F%252Fx.lv%252Fa%252520b", {"offer": "https%3A%2F%2Fx.lv%2Fa%2520b"}),
    ("name=Anna&phone=%2B37120000001&offer=50%2520", {"phone": "+37120000001", "offer": "50%20"}),
    ("name=Anna&email=a%2Bb@c.lv&offer=Black%2540Friday", {"email": "a+b@c.lv", "offer": "Black%40Friday"}),
    ("name=Anna&phone=20000001&offer=3%2B1&utm_term=Black%2520Friday", {"offer": "3+1"}),
    ("name=Anna&email=a@b.lv&offer=100%25CASH", {"offer": "100%CASH"}),
    ("name=Anna&email=a@b.lv&offer=100%25", {"offer": "100%"}),
    ("name=Anna&email=a@b.lv&offer=5%2520and+more", {"offer": "5%20and more"}),
    ("name=Anna&gclid=a%252Fb&email=a@b.lv", {"click_id": "a%2Fb"}),
]


@pytest.mark.parametrize(("form", "expected"), [*TWICE, *ONCE])
def test_a_form_that_was_encoded_twice_is_decoded_twice(form: str, expected: dict[str, str]) -> None:
    for row in (arrival(PRESETS["generic"], form.encode(), FORM).interpreted(), asked(form)):
        found = filled(row)
        assert {field: found[field] for field in expected} == expected
    processed = process(form.encode(), content_type=FORM, content_encoding="", max_decoded_bytes=1_000)
    assert processed.state is State.STORED
    assert "Anna Ozola" not in (processed.fields or ())


def test_a_postback_keeps_the_plus_of_a_phone() -> None:
    row = asked("click_id=c1&phone=+37120000001&tid=5&status=lead", "postback")
    assert (filled(row)["phone"], filled(row)["click_id"]) == ("+37120000001", "c1")
    assert row.idempotency_key == "5\nlead"


def test_a_query_that_is_no_form_is_read_as_before() -> None:
    assert asked("ping").state is State.STORED
    assert filled(asked("{=5&email=a@b.lv"))["email"] == "a@b.lv"


def multipart(fields: list[tuple[str, str]]) -> bytes:
    head = '--B\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    return ("".join(head.format(name, value) for name, value in fields) + "--B--\r\n").encode()


MULTIPART = "multipart/form-data; boundary=B"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("phone", "+37120000001"), ("phone", "")], {"phone": "+37120000001"}),
        ([("phone", ""), ("phone", "+37120000001")], {"phone": "+37120000001"}),
        ([("phone", "+37129999999"), ("phone", "+37120000001")], {"phone": "+37120000001"}),
        ([("email[]", "a@b.lv"), ("email[]", "")], {"email": "a@b.lv"}),
        ([("form[email]", "a@b.lv"), ("form[email]", "")], {"email": "a@b.lv"}),
        ([("service[]", "A"), ("service[]", "B")], {"offer": "A, B"}),
        ([("form[service][]", "A"), ("form[service][]", ""), ("form[service][]", "C")], {"offer": "A, C"}),
        ([("service[]", "A")], {"offer": "A"}),
    ],
)
def test_an_empty_field_replaces_none_and_a_list_has_all(
    fields: list[tuple[str, str]], expected: dict[str, str]
) -> None:
    sent = [*fields, ("name", "Anna")]
    for body, content_type in (
        (urlencode(sent).encode(), FORM),
        (multipart(sent), MULTIPART),
        (b"preamble\r\n" + multipart(sent), MULTIPART),
    ):
        found = filled(arrival(PRESETS["generic"], body, content_type).interpreted())
        assert {field: found[field] for field in expected} == expected


def test_an_empty_line_of_a_plain_form_replaces_no_field() -> None:
    body = b"name=Anna\r\nphone=+37120000001\r\nphone=\r\nemail=\r\nemail=a@b.lv\r\n"
    found = filled(arrival(PRESETS["generic"], body, "text/plain").interpreted())
    assert (found["phone"], found["email"]) == ("+37120000001", "a@b.lv")


def test_the_last_of_a_repeated_field_counts_where_leads_come_as_such() -> None:
    form = [("phone", "+37120000001"), ("phone", "")]
    for body, content_type in ((urlencode(form).encode(), FORM), (multipart(form), MULTIPART)):
        processed = process(body, content_type=content_type, content_encoding="", max_decoded_bytes=1_000)
        assert processed.fields is not None
        assert processed.fields[FIELDS.index("phone")] == ""


ESCAPED = [
    ("O&#039;Zola", "O'Zola"),
    ("O&#39;Zola", "O'Zola"),
    ("O&#x27;Zola", "O'Zola"),
    ("O&apos;Zola", "O'Zola"),
    ("&quot;Tom&quot;", '"Tom"'),
    ("A&amp;B", "A&B"),
    ("Tom &lt;3&gt;", "Tom <3>"),
    ("Tom&nbsp;A", "Tom\xa0A"),
    ("&#256;nna&#x101;", "Ānnaā"),
    ("Tom&#55357;&#56832;", "Tom😀"),
    ("&amp;lt;", "&lt;"),
    ("A&copy=1&amp", "A&copy=1&amp"),
    ("A&B;C", "A&B;C"),
]


@pytest.mark.parametrize(("sent", "column"), ESCAPED)
def test_what_was_escaped_for_a_page_is_read_in_columns(sent: str, column: str) -> None:
    fields = [("first_name", sent), ("email", "a@b.lv"), ("user_agent", "Mozilla (X11; Linux)")]
    document = json.dumps(dict(fields))
    table = f"first_name\temail\tuser_agent\n{sent}\ta@b.lv\tMozilla (X11; Linux)"
    for body, content_type in (
        (document.encode(), "application/json"),
        (document.replace("&", "\\u0026").encode(), "application/json"),
        (gzip.compress(document.encode()), "application/json"),
        (urlencode(fields).encode(), FORM),
        (multipart(fields), MULTIPART),
        (table.encode(), "text/tab-separated-values"),
    ):
        row = arrival(PRESETS["generic"], body, content_type).interpreted()
        assert filled(row)["firstName"] == column, content_type
        assert row.body == body
    assert filled(asked(urlencode(fields)))["firstName"] == column


def test_a_sources_charset_counts_in_bodies_and_queries() -> None:
    source = source_of('charset = "Windows-1251"')
    form = urlencode({"Имя": "Анна", "email": "a@b.lv"}, encoding="cp1251")
    found = arrival(source, form.encode(), FORM).interpreted()
    assert (filled(found)["firstName"], found.state) == ("Анна", State.STORED)
    assert filled(arrival(PRESETS["generic"], form.encode(), FORM).interpreted())["firstName"] is None
    waiting = arrival(source, b"")
    target = f"/in/s?{form}"
    row = waiting.row._replace(method="GET", target=target)
    asked_again = replace(waiting, row=row, query=query_of(target), target=target)
    assert filled(asked_again.interpreted())["firstName"] == "Анна"
    merged = parse_catalogue('[source.a]\npreset = "cf7"\ncharset = "koi8-r"', Path("x.toml")).sources["a"]
    assert merged.charset == "koi8_r"


def test_what_was_escaped_for_a_page_is_told_by_its_characters() -> None:
    found = columns({"What&#039;s your name?": "", "fields": [{"label": "What&#039;s your name?", "value": "Anna"}]})
    assert found["firstName"] == "Anna"
    found = columns({"email": "&quot;Anna&quot; &lt;anna@example.com&gt;", "phone": "&#43;37120000001"})
    assert (found["email"], found["phone"]) == ("anna@example.com", "+37120000001")
    for inner in ('{"name":"Anna &quot;A&quot; O","email":"a@b.lv"}', "{&quot;name&quot;:&quot;Anna O&quot;}"):
        assert columns({"payload": inner, "phone": "+37120000001"})["firstName"] == "Anna"


@pytest.mark.parametrize(
    "label",
    ["First&nbsp;name&nbsp;*", "What&#39;s your first name?", "V&#257;rds", "Pr&eacute;nom"],
)
def test_a_label_that_was_escaped_for_a_page_means_the_same(label: str) -> None:
    assert columns({label: "Anna", "email": "a@b.lv"})["firstName"] == "Anna"


def test_words_of_escaped_labels_are_known() -> None:
    found = columns({"Name &amp; surname": "Anna Ozola", "Agent&#039;s email": "c@d.lv", "email": "a@b.lv"})
    assert (found["firstName"], found["lastName"], found["email"]) == ("Anna", "Ozola", "a@b.lv")


@pytest.mark.parametrize("label", ["Tom&#39;s &amp; Co?", "Tom's & Co?"])
def test_a_path_names_an_answer_whether_it_was_escaped_or_not(label: str) -> None:
    path = json.dumps(f'answers."{label}"')
    source = source_of(f'answers = {{list = "a", key = "q", value = "v"}}\nmap.offer = {path}')
    row = arrival(source, b'{"a":[{"q":"Tom&#039;s &amp; Co?","v":"Roof &amp; door"}],"email":"a@b.lv"}').interpreted()
    assert filled(row)["offer"] == "Roof & door"


def test_a_key_and_a_lead_of_several_stay_as_they_were_sent() -> None:
    leads = [{"id": f"a&amp;{n}", "email": f"a{n}@b.lv", "full_name": "&amp;lt;"} for n in (1, 2)]
    batch = read(leads, "meta-lead")
    assert [part.idempotency_key for part in batch.parts] == ["a&amp;1", "a&amp;2"]
    assert [json.loads(part.body or b"") for part in batch.parts] == leads
    sources = SourceRows(SimpleNamespace(get=PRESETS.get, version=1), max_decoded_bytes=1_000)  # type: ignore[arg-type]
    for part in batch.parts:
        again = sources.reread(part._replace(source="meta-lead"), at_leisure=True)
        assert again is not None
        assert filled(part)["firstName"] == filled(again)["firstName"] == "&lt;"


@pytest.mark.parametrize(
    ("preset", "document", "is_test"),
    [
        ("boberdoo", {"IsTest": "True"}, True),
        ("boberdoo", {"TEST": "1"}, True),
        ("boberdoo", {"test_mode": "1"}, True),
        ("boberdoo", {"lp-test": 1}, True),
        ("zapier", {"testLead": True}, True),
        ("zapier", {"Is Test": "TRUE"}, True),
        ("zapier", {"lead": {"IS_TEST": True}}, True),
        ("zapier", {"test": "A"}, False),
        ("zapier", {"testLead": False, "is_test": "0", "Test": ""}, False),
        ("html-form", {"Test-Mode": "1"}, True),
        ("html-form", {"test": "1"}, False),
        ("generic", {"testMode": {"on": True}}, False),
    ],
)
def test_a_flag_marks_a_test_however_its_name_is_written(preset: str, document: Any, is_test: bool) -> None:
    assert read({"name": "Anna", "email": "a@b.lv", **document}, preset).is_test is is_test


def test_a_flag_in_the_query_marks_a_test() -> None:
    assert asked("name=Anna&email=a@b.lv&IsTest=True").is_test


@pytest.mark.parametrize("id", ["l:5", "5", 5])
def test_an_id_of_facebooks_csv_is_the_same_key(id: Any) -> None:
    assert read({"id": id, "email": "a@b.lv"}, "meta-lead").idempotency_key == "5"


def test_other_ids_are_keys_as_they_are() -> None:
    assert read({"id": "l:a", "email": "a@b.lv"}, "meta-lead").idempotency_key == "l:a"


def test_a_member_that_a_path_uses_fills_no_other_column() -> None:
    found = columns({"Sub_ID": "pub7", "First_Name": "Anna", "Email": "a@b.lv"}, "boberdoo")
    assert (found["marker"], found["click_id"]) == ("pub7", None)
    assert columns({"Sub_ID": "pub7", "gclid": "pub7"}, "boberdoo")["click_id"] == "pub7"
    mapped = source_of('map.offer = ["utm_campaign", "source"]\nmap.marker = "email"')
    row = arrival(mapped, b'{"utm_campaign":"Camp","source":"Google","email":"a@b.lv"}').interpreted()
    found = filled(row)
    assert (found["offer"], found["sourcetype"]) == ("Camp", "Google")
    assert (found["marker"], found["email"]) == ("a@b.lv", "a@b.lv")


@pytest.mark.parametrize(
    ("label", "name", "first", "last"),
    [
        ("ФИО", "Иванов Иван Иванович", "Иван Иванович", "Иванов"),
        ("Ф.И.О. *", "Шевченко Ольга", "Ольга", "Шевченко"),
        ("ПІБ", "Коваль Марія Іванівна", "Марія Іванівна", "Коваль"),
        ("ФИО", "Анна Озола", "Анна", "Озола"),
        ("ФИО родителя", "Белова Анна", "Анна", "Белова"),
        ("Họ và tên *", "Trần Thị Mai", "Thị Mai", "Trần"),
        ("Họ tên của bạn", "Mai Trần", "Mai", "Trần"),
        ("ФИО", "Иван Иванов", "Иван", "Иванов"),
        ("ФИО", "Иван Иванович Иванов", "Иван", "Иванович Иванов"),
        ("ФИО", "Любов Петренко", "Любов", "Петренко"),
        ("ФИО", "Иванов", "Иванов", None),
        ("Фамилия Имя", "Озола Анна", "Анна", "Озола"),
        ("Фамилия, имя, отчество", "Ким Вера Львовна", "Вера Львовна", "Ким"),
        ("Фамилия Имя", "Иван Иванов", "Иван", "Иванов"),
        ("Прізвище та ім'я", "Бойко Тарас", "Тарас", "Бойко"),
        ("Uzvārds, vārds", "Ozola Anna", "Anna", "Ozola"),
        ("Имя и фамилия", "Анна Озола", "Анна", "Озола"),
        ("Nachname, Vorname", "Ozola, Anna", "Anna", "Ozola"),
        ("name", "Иванов Иван", "Иванов", "Иван"),
        ("Họ và tên", "Anna Ozola", "Anna", "Ozola"),
    ],
)
def test_a_name_whose_label_has_the_surname_first_is_split_so(
    label: str, name: str, first: str, last: str | None
) -> None:
    found = columns({label: name, "email": "a@b.lv"})
    assert (found["firstName"], found["lastName"]) == (first, last)


def test_a_surname_in_front_is_found_beside_its_own_field() -> None:
    for document in ({"ФИО": "Иванов Иван", "Фамилия": "Иванов"}, {"ФИО": "Иванов Иван", "first_name": "Иван"}):
        found = columns({**document, "email": "a@b.lv"})
        assert (found["firstName"], found["lastName"]) == ("Иван", "Иванов")
    found = columns({"name": "Annabel", "last_name": "Anna", "email": "a@b.lv"})
    assert (found["firstName"], found["lastName"]) == ("Annabel", "Anna")


@pytest.mark.parametrize(
    ("document", "email"),
    [
        ({"to": "sales@x.lv", "replyTo": "a@b.lv"}, "a@b.lv"),
        ({"to_email": "sales@x.lv", "reply_to": "a@b.lv"}, "a@b.lv"),
        ({"from": "wordpress@x.lv", "Reply-To": "a@b.lv", "to": "sales@x.lv"}, "a@b.lv"),
        ({"reply_to": "c@d.lv", "email": "a@b.lv"}, "a@b.lv"),
        ({"to": "sales@x.lv"}, None),
        ({"to_email": "sales@x.lv", "name": "Anna"}, None),
    ],
)
def test_an_email_goes_to_the_company_and_its_answer_to_the_lead(document: Any, email: str | None) -> None:
    assert columns(document)["email"] == email


@pytest.mark.parametrize("label", ["employee_full_name", "staff_name", "consultant_full_name", "ФИО сотрудника"])
def test_the_name_of_who_works_there_is_none_of_the_lead(label: str) -> None:
    assert columns({label: "Petr Bell", "email": "a@b.lv"})["firstName"] is None


@pytest.mark.parametrize(("type", "phone"), [("inbound_call", None), ("outbound_call", "+37120000001")])
def test_the_number_that_calendly_has_of_the_host_is_none_of_the_lead(type: str, phone: str | None) -> None:
    event = {"location": {"type": type, "location": "+37120000001"}}
    for contact in ({"email": "a@b.lv"}, {}):
        invitee = {"uri": "u", "name": "Anna", "scheduled_event": event, **contact}
        assert columns({"event": "invitee.created", "payload": invitee}, "calendly")["phone"] == phone


CSV = "name,email\r\nAnna Ozola,anna@example.com\r\n\r\nJuris,juris@example.com\r\n"
TWO_LEADS = '[{"name":"Anna Ozola","email":"anna@example.com"},{"name":"Juris","email":"juris@example.com"}]'
TWO_ELEMENTS = (
    "<leads><lead><name>Anna Ozola</name><email>anna@example.com</email></lead>"
    "<lead><name>Juris</name><email>juris@example.com</email></lead></leads>"
)


@pytest.mark.parametrize("text", [CSV, CSV.replace(",", ";"), TWO_LEADS, TWO_ELEMENTS])
def test_several_leads_in_a_file_or_a_field_are_a_lead_each_with_what_stands_beside(text: str) -> None:
    file = multipart([("campaign", "Autumn"), ("file", text)]).replace(b'"file"', b'"file"; filename="leads.csv"')
    beside = {"campaign": "Autumn", "data": text}
    for body, content_type in (
        (file, MULTIPART),
        (urlencode(beside).encode(), FORM),
        (json.dumps(beside).encode(), ""),
    ):
        row = arrival(PRESETS["generic"], body, content_type).interpreted(at_leisure=False)
        assert row.state is State.BATCH
        leads = [filled(part) for part in row.parts]
        assert [(lead["firstName"], lead["lastName"], lead["email"], lead["offer"]) for lead in leads] == [
            ("Anna", "Ozola", "anna@example.com", "Autumn"),
            ("Juris", None, "juris@example.com", "Autumn"),
        ]


def test_several_leads_in_a_member_are_one_where_the_sources_rules_look_for_others() -> None:
    body = json.dumps({"lead_id": "5", "event": "new", "file": CSV}).encode()
    keyed = arrival(source_of('key = ["lead_id"]'), body).interpreted()
    assert [part.key_sha256 for part in keyed.parts] == [None, None], "the key of the whole is none of each"
    for rules in (
        'only = { path = "event", is = ["new"] }',
        'verify = { kind = "body", path = "event" }\nsecret = "new"',
    ):
        row = arrival(source_of(rules), body).interpreted()
        assert (row.state, filled(row)["email"]) == (State.STORED, "anna@example.com")


def test_what_stands_beside_several_leads_is_not_repeated_if_it_is_long() -> None:
    body = json.dumps({"campaign": "Autumn", "note": "n" * 1_000, "file": CSV}).encode()
    parts = arrival(PRESETS["generic"], body).interpreted().parts
    assert [json.loads(part.body or b"") for part in parts] == [
        {"name": "Anna Ozola", "email": "anna@example.com"},
        {"name": "Juris", "email": "juris@example.com"},
    ]
