"""From documents to columns: labels in many languages, names that are split, and text that is never lost or guessed."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadcrm.configuration.tables import without_secrets
from leadcrm.database.entities import FIELD_COLUMNS
from leadcrm.errors import SourcesFault
from leadcrm.ingest.payload.document import read_document
from leadcrm.sources.catalogue import parse_catalogue, presets
from leadcrm.sources.labels import meaning
from leadcrm.sources.source import MAX_PARTS, Source, TooManyLeads


def source_of(text: str) -> Source:
    (source,) = parse_catalogue(text, Path("sources.toml")).sources.values()
    return source


def columns_of(source: Source, document: Any, query: dict[str, str] | None = None) -> dict[str, str]:
    (lead,) = source.leads(document, query or {}, {}, orjson.loads)
    return {name: value for name, value in zip(FIELD_COLUMNS, lead.columns, strict=True) if value is not None}


GENERIC = source_of("[source.x]")


@pytest.mark.parametrize(
    ("label", "field"),
    [
        ("E-mail *", "email"),
        ("your-email", "email"),
        ("Elektroniskais pasts / e-pasts", "email"),
        ("Электронная почта", "email"),
        ("What is your best email?", "email"),
        ("INPUT_PHONE_NUMBER", "phone"),
        ("Tālrunis", "phone"),
        ("Номер телефона", "phone"),
        ("Téléphone *", "phone"),
        ("Your mobile number", "phone"),
        ("FULL_NAME", "name"),
        ("Vārds, uzvārds", "name"),
        ("Имя", "name"),
        ("q3_name", "name"),
        ("Vorname", "first_name"),
        ("Name (First)", "first_name"),
        ("Uzvārds", "last_name"),
        ("utm_campaign", "offer"),
        ("gclid", "click_id"),
        ("Remote IP", "ip"),
        ("your-message", "description"),
        ("Укажите электронную почту", "email"),
        ("Введіть пошту", "email"),
        ("Din mejladress", "email"),
        ("メールアドレスを入力してください", "email"),
        ("您的邮箱", "email"),
        ("이메일을 입력하세요", "email"),
        ("elektronski naslov", "email"),
        ("Adres poczty elektronicznej", "email"),
        ("Wat is je telefoonnummer?", "phone"),
        ("Số điện thoại của bạn", "phone"),
        ("Контактный номер", "phone"),
        ("Numero de contacto", "phone"),
        ("What number can we call you on?", "phone"),
        ("Tālr. nr.", "phone"),
        ("tel. č.", "phone"),
        ("電話番号を入力", "phone"),
        ("연락처를 입력", "phone"),
        ("Handynummer für Rückfragen", "phone"),
        ("Etunimesi", "first_name"),
        ("Sukunimesi", "last_name"),
        ("Mikä on nimesi?", "name"),
        ("Hvad er dit navn?", "name"),
        ("お名前を入力してください", "name"),
        ("Nama lengkap Anda", "name"),
        ("Kontaktpersona", "name"),
        ("Ansprechpartner", "name"),
        ("Numele dumneavoastră", "name"),
        ("What should we call you?", "name"),
        ("Which country are you from?", "country"),
        ("In welchem Land wohnen Sie?", "country"),
        ("Kraj zamieszkania", "country"),
        ("Tell us about your project", "description"),
        ("Anything else?", "description"),
        ("Uwagi", "description"),
        ("Anmerkungen", "description"),
        ("お問い合わせ", "description"),
        ("Language preference", "lang"),
    ],
)
def test_a_label_means_a_field(label: str, field: str) -> None:
    meant = meaning(label)
    assert meant is not None
    assert meant.field == field


@pytest.mark.parametrize(
    "label",
    [
        "form_name",
        "company name",
        "username",
        "email_consent",
        "phone_type",
        "date",
        "",
        "?",
        "x" * 5000,
        "May we call you?",
        "When should we call you?",
        "Kundennummer",
        "Номер заказа",
        "Company phone",
    ],
)
def test_a_label_of_something_else_means_no_field(label: str) -> None:
    assert meaning(label) is None


@pytest.mark.parametrize(
    ("document", "first", "last"),
    [
        ({"name": "Una Ozola"}, "Una", "Ozola"),
        ({"name": "  Una  Anna Ozola "}, "Una", "Anna Ozola"),
        ({"name": "Ozola, Una"}, "Una", "Ozola"),
        ({"name": "Una"}, "Una", None),
        ({"Vārds": "Una", "Uzvārds": "Ozola"}, "Una", "Ozola"),
        ({"Имя": "Уна", "Фамилия": "Озола"}, "Уна", "Озола"),
        ({"prénom": "Una", "nom": "Ozola"}, "Una", "Ozola"),
        ({"first_name": "Una", "name": "Una Ozola"}, "Una", "Ozola"),
    ],
)
def test_a_name_is_split(document: dict[str, str], first: str | None, last: str | None) -> None:
    columns = columns_of(GENERIC, document)
    assert (columns.get("first_name"), columns.get("last_name")) == (first, last)


@pytest.mark.parametrize(
    "document",
    [
        {"email": "u@example.com", "phone": "+37120000000"},
        {"lead": {"contact": {"E-Mail": "u@example.com", "Tel.": "+37120000000"}}},
        {"fields": [{"label": "Email", "value": "u@example.com"}, {"label": "Phone", "value": "+37120000000"}]},
        {"q": [{"question": "Your email?", "answer": "u@example.com"}, {"question": "Tel", "answer": "+37120000000"}]},
        {"payload": '{"e-pasts":"u@example.com","telefons":"+37120000000"}'},
        {"properties": {"email": {"value": "u@example.com"}, "phone": {"value": "+37120000000"}}},
        {"7": "u@example.com", "8": "+37120000000", "form_id": "20000001"},
        {"email": ["u@example.com"], "phone_number": ["+37120000000"]},
    ],
)  # fmt: skip
def test_generic_finds_email_and_phone_wherever_they_stand(document: dict[str, Any]) -> None:
    columns = columns_of(GENERIC, document)
    assert (columns["email"], columns["phone"]) == ("u@example.com", "+37120000000")


def test_the_query_counts_where_the_body_has_nothing() -> None:
    assert columns_of(GENERIC, {"email": "a@b.example"}, {"email": "x@y.example", "gclid": "g"}) == {
        "email": "a@b.example",
        "click_id": "g",
    }
    assert "click_id" not in columns_of(
        source_of("[source.x]\nquery = false"), {"email": "a@b.example"}, {"gclid": "g"}
    )


def test_a_source_overrides_single_names_of_its_preset() -> None:
    source = source_of(
        """
        [source.x]
        preset = "snapchat"
        map.offer = ["form_name"]
        map.creo = []
        set.sourcetype = "snap"
        respond.created = 201
        """
    )
    columns = columns_of(source, {"campaign_name": "C", "form_name": "F", "ad_name": "A", "ad_squad_name": "S"})
    assert columns == {"offer": "F", "marker": "S", "sourcetype": "snap"}
    assert (source.replies.statuses["created"], source.replies.statuses["duplicate"]) == (201, 200)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r\r\n", "\n\n\n", "\n,\n", "\n , \n"])
def test_no_row_of_a_table_is_left_out(line_break: str) -> None:
    for rows in (MAX_PARTS, MAX_PARTS + 200):
        text = line_break.join(["name,email", *(f"Anna,anna{number}@example.com" for number in range(rows))]).encode()
        document = read_document(text, content_type="text/csv", content_encoding="", max_decoded_bytes=len(text))
        with nullcontext() if rows == MAX_PARTS else pytest.raises(TooManyLeads):
            assert len(GENERIC.leads(document, {}, {}, orjson.loads)) == rows


@pytest.mark.parametrize(
    "text",
    [b"Email,Phone,Email\nanna@example.com,+37120000001,", b"Email,anna@example.com\nPhone,+37120000001\nEmail,"],
)
def test_an_empty_column_takes_no_other_of_its_name_away(text: bytes) -> None:
    document = read_document(text, content_type="text/csv", content_encoding="", max_decoded_bytes=len(text))
    assert columns_of(GENERIC, document) == {"email": "anna@example.com", "phone": "+37120000001"}


def test_only_what_is_adf_is_read_as_adf() -> None:
    text = b'{"prospect":{"emails":["a@example.com"],"attributes":{"phone":"+37120000001"},"text":"Hi","value":5}}'
    document = read_document(text, content_type="", content_encoding="", max_decoded_bytes=len(text))
    assert document == orjson.loads(text), "the paths that somebody mapped by are those of the body"


def test_numbers_booleans_and_lists_become_text() -> None:
    source = source_of('[source.x]\nmap = {offer = "n", creo = "b", marker = "l", description = "o"}')
    document = {"n": 37120000012, "b": True, "l": ["a", None, 2], "o": {"x": [1]}}
    assert columns_of(source, document) == {
        "offer": "37120000012", "creo": "true", "marker": "a, 2", "description": '{"x":[1]}',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[source.x]\n\nmap.email = 'a-b'", 3, "must be quoted"),
        ("[source.x]\npreset = 'gogle'", 2, "no preset"),
        ("[source.a]\n[source.x]\nmapp = 1", 3, "no 'mapp'"),
        ("[source.x]\n[source.x.map]\nemial = 'a'", 3, "no 'emial'"),
        ("[source.X]", 1, "small letters"),
        ("[source.api]", 1, "api"),
        ("[source.x]\nrespond.created = 404", 2, "end of the source"),
        ("[source.x]\nsecret = ''", 2, "not empty"),
        ("[source.x]\nsecret_file = '/nowhere/at/all'", 2, "cannot be read"),
        ('[source.x]\nsecret_file = "\\u0000"', 2, "cannot be read"),
        ("[source.x]\nverify = {kind = 'hmac'}", 2, "name of a header"),
        ("[source.x]\nenabled = 'yes'", 2, "true nor false"),
        ("[source.x]\ncharset = 'cp1251x'", 2, "no charset's label"),
        ("[source.x]\ncharset = ''", 2, "no charset's label"),
        ("[source.x]\ncharset = 1251", 2, "no text"),
        ("[source.x]\nkey = 1", 2, "list of paths"),
        ("[sauce.x]", 1, "no table"),
        ("[source.x", 1, "line 1"),
        (f"[source.x]\nset.offer = 0x{'f' * 5000}", 1, "a value cannot be used"),
        (f"[source.x]\nrespond.body.created{'.a' * 5000} = 1", 1, "nested too deeply"),
    ],
)
def test_a_fault_is_named_with_its_line_and_reason(text: str, line: int, reason: str) -> None:
    with pytest.raises(SourcesFault) as raised:
        parse_catalogue(text, Path("sources.toml"))
    assert f"line {line}" in str(raised.value)
    assert reason in str(raised.value)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(SourcesFault) as raised:
        parse_catalogue("[source.x]\npreset = 'a'\n[source.y]\npreset = 'b'", Path("sources.toml"))
    assert len(raised.value.faults) == 2


def test_the_text_that_is_kept_has_no_secret() -> None:
    text = """
    [source.a]
    secret = "sesame"
    [source.b]
    secret = ["sesame", 'sesame 2']
    [source]
    c = {preset = "generic", secret = "sesame"}
    d.secret = "sesame"
    secret_file = "sources"
    e.secret = ["se]same", # was "other]
      'sesame 2']
    f.'secret' = "ses]ame"
    """
    kept = without_secrets(text)
    assert not any(secret in kept for secret in ("sesame", "same", "ame"))
    assert kept.count('secret = "***"') == 5
    assert kept.count("""'secret' = "***\"""") == 1
    assert 'secret_file = "sources"' in kept


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(
                ["email", "name", "value", "label", "answers", "fields", "data", "form_response", "payload"]
            )
            | st.text(max_size=8),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)
ALL_PRESETS = parse_catalogue(
    "".join(f"[source.{name}]\npreset = '{name}'\n" for name in presets()), Path("all")
).sources


def parsed_or_none(text: str) -> Any:
    """Return what a JSON text holds; None if it is none, as a source's requests are read."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


@settings(max_examples=60)
@given(VALUES, st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3))
def test_no_document_makes_a_mapping_raise(document: Any, query: dict[str, str]) -> None:
    for source in ALL_PRESETS.values():
        for lead in source.leads(document, query, {}, parsed_or_none):
            assert all(column is None or isinstance(column, str) for column in lead.columns)


def hostile(kind: str) -> Any:
    return {
        "pairs": {"user_column_data": [{"column_id": f"c{n}", "string_value": "v"} for n in range(20_000)]},
        "members": {f"name of a field {n}": "v" for n in range(30_000)},
        "nested": orjson.loads(b'{"a":' * 250 + b"1" + b"}" * 250),
        "lists": {"data": [[[]] * 500] * 100, "field_data": [{}] * 100_000},
        "text": {"email": "@" * 900_000, "7": "1" * 200_000, "name": "a " * 100_000},
    }[kind]


@pytest.mark.parametrize("kind", ["pairs", "members", "nested", "lists", "text"])
def test_a_hostile_document_is_mapped_within_a_bound(kind: str) -> None:
    document = hostile(kind)
    for name, source in ALL_PRESETS.items():
        source.leads(document, {}, {}, orjson.loads)
        took = []
        for _ in range(3):
            started = time.thread_time()
            source.leads(document, {}, {}, orjson.loads)
            took.append(time.thread_time() - started)
        assert min(took) < 0.02, name


OBJECTS = source_of("""[source.x]
answers = { list = "answers", key = "question", value = "answer" }
map.country = ['answers."Where do you live?".country']
map.offer = ['answers."Which plan?"']
""")


def answered(**answers: Any) -> dict[str, str]:
    pairs = [{"question": question.replace("_", " "), "answer": answer} for question, answer in answers.items()]
    return columns_of(OBJECTS, {"answers": pairs})


def test_an_answer_that_is_an_object_is_read_by_paths_and_names_nobody_unless_it_is_asked_for_a_person() -> None:
    plan, place = {"name": "Gold", "price": 10}, {"country": "LV", "city": "Riga"}
    asked = {"Which_plan?": plan, "Where_do_you_live?": place}
    found = {"offer": '{"name":"Gold","price":10}', "country": "LV"}
    assert answered(**asked) == found
    slot = {"name": "Slot 3", "start": "2026-01-15T10:00:00Z", "email": "calendar@b.co"}
    assert answered(**asked, Slot=slot, Email="a@b.co") == {**found, "email": "a@b.co"}
    anna = {"first_name": "Anna", "last_name": "Ozola"}
    assert answered(Your_name={"first": "Anna", "last": "Ozola"}, Email={"address": "a@b.co"}) == anna | {
        "email": "a@b.co"
    }
    assert answered(Booking={**anna, "email": "a@b.co"}, **asked) == {**found, **anna, "email": "a@b.co"}


@pytest.mark.parametrize(
    ("phone", "email", "expected"),
    [
        ({"e164": "+37120000001", "valid": True}, {"address": "a@b.co"}, ("+37120000001", "a@b.co")),
        ({"number": 20000001, "country": "LV"}, {"email": "a@b.co"}, ("20000001", "a@b.co")),
        ({"number": "n/a", "full": "(212) 555 1234"}, {"value": "a@b.co"}, ("(212) 555 1234", "a@b.co")),
        (
            {"area": "212", "number": "5551234"},
            [{"address": "a@b.co"}, {"address": "c@b.co"}],
            ("212 5551234", "a@b.co"),
        ),
        ({"email": "a@b.co", "phone": "+37120000001"}, {"phone": "1", "email": "a@b.co"}, ("+37120000001", "a@b.co")),
        ({"home": {"no": "20000001"}}, {"own": "a@b.co"}, ('{"home":{"no":"20000001"}}', '{"own":"a@b.co"}')),
        ({"value": None, "at": 1700000000}, {"value": "", "at": "@"}, (None, None)),
        ({"country": "LV", "number": None}, {"verified": False}, (None, None)),
    ],
)
def test_a_path_to_an_object_finds_the_contact_in_it(phone: Any, email: Any, expected: tuple[str, str]) -> None:
    source = source_of("[source.x]\nmap.phone = 'to.p'\nmap.email = 'to.e'\nmap.name = 'to.n'\nmap.ip = 'to.ip'")
    document = {"to": {"p": phone, "e": email, "n": {"full": "Anna Ozola"}, "ip": {"number": "5"}}}
    found = columns_of(source, document)
    assert (found.get("phone"), found.get("email")) == expected
    assert (found["first_name"], found["last_name"], found.get("ip")) == ("Anna", "Ozola", None)


TWO = [{"name": "Anna", "email": "anna@example.com"}, {"name": "Zane", "email": "zane@example.com"}]


@pytest.mark.parametrize(
    ("text", "document", "leads"),
    [
        ("[source.x]", {"leads": TWO}, 2),
        ("[source.x]", {"data": {"items": TWO}}, 2),
        ("[source.x]", {"data": TWO, "total": 2}, 2),
        ("[source.x]", {"id": 7, "leads": TWO}, 2),
        # Of one lead there may be several contacts, and a lead may have a list beside it.
        ("[source.x]", {"contacts": TWO}, 1),
        ("[source.x]", {"email": "lead@example.com", "items": TWO}, 1),
        ("[source.x]", {"items": [{"name": "Shoe"}, {"name": "Hat"}]}, 1),
        ("[source.x]", {"data": [{"name": "email", "value": "a@example.com"}, {"name": "name", "value": "Anna"}]}, 1),
        # With a key for the whole, its tries would not be known again by its parts.
        ("[source.x]\nkey = ['id']", {"id": 7, "leads": TWO}, 1),
        ("[source.x]\nkey = ['id']", {"leads": TWO}, 2),
    ],
)
def test_a_list_of_leads_within_an_object_is_a_lead_each(text: str, document: Any, leads: int) -> None:
    assert len(source_of(text).leads(document, {}, {})) == leads


@pytest.mark.parametrize(
    "key", ["{{1.id}}", '={{ $json["id"] }}', "{{ $json.id }}", "{id}", "${uuid}", "(empty)", "#N/A", "OPTIONAL", "-"]
)
def test_what_stands_where_an_id_is_missing_is_no_key(key: str) -> None:
    (lead,) = source_of("[source.x]\nkey = ['id']").leads({"id": key, "email": "a@example.com"}, {}, {})
    assert lead.key is None


def test_each_goal_of_a_click_is_a_lead_of_its_own() -> None:
    postback = source_of("[source.x]\npreset = 'postback'")
    queries: list[dict[str, str]] = [
        {"transaction_id": "T1", "event_id": "0"},
        {"transaction_id": "T1", "event_id": "7", "payout": "20"},
        {"txid": "T1", "et": "deposit"},
        {"tid": "T1", "cnv_status": "hold"},
    ]
    keys = [postback.leads({}, query, {})[0].key for query in queries]
    assert keys == ["T1", "T1\n7", "T1\ndeposit", "T1\nhold"]


def test_a_nonce_out_of_a_cache_makes_no_two_people_one() -> None:
    page = source_of("[source.x]\npreset = 'html-form'")
    anna, again, zane, bare = (
        page.leads({"nonce": "a1b2c3d4e5", **fields}, {}, {})[0].key
        for fields in ({"email": "a@example.com"}, {"email": "a@example.com"}, {"phone": "+37120000001"}, {})
    )
    assert anna == again
    assert len({anna, zane, bare}) == 3
