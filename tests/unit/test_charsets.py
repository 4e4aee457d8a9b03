"""Charsets that senders name: those that are true, and those of bytes that are UTF-8."""

# ruff: noqa: RUF001

from __future__ import annotations

from urllib.parse import quote_plus, urlencode

import pytest

from leadcrm.ingest.payload.charset import true_charset
from leadcrm.ingest.payload.document import read_document
from leadcrm.ingest.payload.reader import read_payload

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"

NATURAL = {
    "cp1251": "Анна Ольга Юлия Щукина РОССИЯ Ёлкин её Её Я Ні ні Ті Лі дії Їжак мої Ґанок Ђорђе њега №5 5°",
    "koi8_r": "Анна Щукина РОССИЯ Я",
    "cp866": "Анна там уже чай",
    "cp1250": "Łukasz więżą MĘŻCZYZNA WÓŁKA PODRÓŻ RŮŽENA RŮŽIČKA ORĂŞTIE FĂGĂRAŞ ŠKODA Żółć Győr ŐRSÉG",
    "iso8859_2": "Łukasz więżą MĘŻCZYZNA WÓŁKA PODRÓŻ RŮŽENA ŠKODA",
    "cp1252": "José Ángel ÉRIC MÜLLER Straße GROßE SÃO João Ærø café CAFÉ Zürich",
    "cp1253": "Γιώργος Αθήνα ΌΧΙ όχι Ή ή",
    "cp1254": "Ümit ÇELİK Şişli Özil",
    "cp1255": "אנה שלום",
    "cp1256": "سگ شک محمد",
    "cp1257": "Jānis ŽANIS Ķēniņš Šķēle Ā ā ž",
}
FROM_SCRIPTS = (
    "Анна и Ümit ümit José ÉRIC MALMÖ GROßE Åse Jānis Ā ž Ž š WÓŁKA Αθήνα שלום محمد 王小明 김철수 Nguyễn नमस्ते €5 😀"
)


@pytest.mark.parametrize("codec", NATURAL)
def test_natural_words_in_a_charset_are_not_taken_for_utf8(codec: str) -> None:
    taken = [word for word in NATURAL[codec].split() if true_charset(codec, [word.encode(codec)]) != codec]
    assert taken == []


@pytest.mark.parametrize("codec", NATURAL)
def test_words_in_utf8_are_read_as_such_whatever_charset_of_one_byte_is_named(codec: str) -> None:
    garbled = [word for word in FROM_SCRIPTS.split() if true_charset(codec, [word.encode()]) != "utf-8"]
    assert garbled == []


def test_a_charset_of_several_bytes_stays_as_it_is_named() -> None:
    for codec in ("gb18030", "big5hkscs", "cp932", "euc_jp", "cp949", "iso2022_jp"):
        assert true_charset(codec, ["Анна".encode()]) == codec


def _document(body: bytes, content_type: str, default: str = "utf-8") -> object:
    return read_document(
        body, content_type=content_type, content_encoding="", max_decoded_bytes=10_000, default=default
    )


def _payload(body: bytes, content_type: str) -> object:
    return read_payload(body, content_type=content_type, content_encoding="", max_decoded_bytes=10_000)


@pytest.mark.parametrize("label", ["windows-1251", "iso-8859-1", "koi8-r", "windows-1257", "'windows-1251'"])
def test_a_form_in_utf8_is_read_though_its_type_names_another_charset(label: str) -> None:
    form = f"firstName={quote_plus('Анна')}&lastName={quote_plus('Bērziņa')}".encode()
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in (("firstName", "Анна"), ("lastName", "Bērziņa"))
    )
    for body, content_type in ((form, URLENCODED), (f"{parts}--b--".encode(), MULTIPART)):
        for read in (_document, _payload):
            assert read(body, f"{content_type}; charset={label}") == {"firstName": "Анна", "lastName": "Bērziņa"}


NAMED = {"Имя": "Анна", "Телефон": "+79160000001"}


@pytest.mark.parametrize("is_in_field", [False, True])
def test_names_and_values_of_any_form_are_in_the_charset_that_is_named(is_in_field: bool) -> None:
    fields = {"_charset_": "windows-1251", **NAMED} if is_in_field else NAMED
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    file = '--b\r\nContent-Disposition: form-data; name="f"; filename="Анна.png"\r\n\r\n\0\r\n--b--'
    lines = "".join(f"{name}={value}\r\n" for name, value in fields.items())
    pairs = "&".join(f"{quote_plus(name, encoding='cp1251')}={value}" for name, value in fields.items())
    parameter = "" if is_in_field else "; charset=windows-1251"
    for text, content_type in ((parts + "--b--", MULTIPART), (lines, "text/plain"), (pairs, URLENCODED)):
        found = _document(text.replace("+", "%2B" if text is pairs else "+").encode("cp1251"), content_type + parameter)
        assert found == NAMED
    assert _document((parts + file).encode("cp1251"), MULTIPART + parameter) == {**NAMED, "f": "Анна.png"}


@pytest.mark.parametrize("codec", ["cp1251", "koi8_r", "gb18030"])
def test_what_names_no_charset_is_in_that_of_the_source_unless_it_is_utf8(codec: str) -> None:
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in NAMED.items()
    )
    pairs = urlencode({"Имя": "X", "Телефон": "+79160000001"}, encoding=codec)
    for text, content_type in (
        (pairs.replace("X", quote_plus("Анна", encoding=codec)), URLENCODED),
        (parts + "--b--", MULTIPART),
        ("".join(f"{name}={value}\r\n" for name, value in NAMED.items()), "text/plain"),
        ("Имя;Телефон\r\nАнна;+79160000001\r\n", "text/csv"),
        ('{"Имя":"Анна","Телефон":"+79160000001"}', "application/json"),
        ("{'Имя':'Анна','Телефон':'+79160000001',}", "application/json"),
        ("<a><Имя>Анна</Имя><Телефон>+79160000001</Телефон></a>", "text/xml"),
    ):
        assert _document(text.encode(codec), content_type, default=codec) == NAMED
    assert _document(urlencode(NAMED).encode(), URLENCODED, default=codec) == NAMED
    assert _document("Имя: Анна\nphone: 20000001".encode(codec), "", default=codec) == {
        "text": "Имя: Анна\nphone: 20000001"
    }
    for name in ("; charset=windows-1252", "&_charset_=windows-1252"):
        body, parameter = (b"a=%C0", name) if name[0] == ";" else (b"a=%C0" + name.encode(), "")
        assert _document(body, URLENCODED + parameter, default=codec) == {"a": "À"}
    mixed = f"name=%u0410&city={quote_plus('Рига', encoding=codec)}".encode()
    assert _document(mixed, URLENCODED, default=codec) == {"name": "А", "city": "Рига"}
    declared = '<?xml version="1.0" encoding="windows-1252"?><a><b>À</b></a>'
    assert _document(declared.encode("cp1252"), "", default=codec) == {"b": "À"}


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ('name="=?utf-8?B?0JjQvNGP?="', "Имя"),
        ('name="=?UTF-8?Q?=D0=98=D0=BC=D1=8F?="', "Имя"),
        ('name="=?windows-1251?q?=C8=EC=FF_1?= =?utf-8?b?0JjQvNGP?="', "Имя 1Имя"),
        ('name="=?utf-8?B?0JjQvNGP"', "=?utf-8?B?0JjQvNGP"),
        ('name="=?utf-8?B?x?="', "=?utf-8?B?x?="),
        ('name="%D0%98%D0%BC%D1%8F"', "Имя"),
        ('name="a%5Bb%5D %22c%22"', 'a[b] "c"'),
        ('name="100%"', "100%"),
        ('name="%C8%EC%FF"', "%C8%EC%FF"),
        ("name*=UTF-8''%D0%98%D0%BC%D1%8F", "Имя"),
        ("name*=utf-8'ru'%D0%98%D0%BC%D1%8F; x=y", "Имя"),
        ("name=\"Imja\"; name*=windows-1251''%C8%EC%FF%25", "Имя%"),
        ("Name*=\"''%D0%98%D0%BC%D1%8F\"", "Имя"),
        ('name="what?"', "what?"),
    ],
)
def test_names_of_fields_and_files_that_are_encoded_are_read(parameter: str, name: str) -> None:
    head = "--b\r\nContent-Disposition: form-data; "
    body = f"{head}{parameter}\r\n\r\nАнна\r\n--b--".encode()
    assert _document(body, MULTIPART) == {name: "Анна"}
    file = parameter.replace("name", "filename").replace("Name", "filename")
    body = f'{head}name="f"; {file}\r\n\r\n\0\r\n--b--'.encode()
    assert _document(body, MULTIPART) == {"f": name}


def test_an_encoded_file_name_stays_as_it_is_where_leads_come_as_such() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="ip"; filename="%D0%98"\r\n\r\n\0\r\n--b--'
    assert _payload(body, MULTIPART) == {"ip": "%D0%98"}


REFERRED = {"&#1048;&#1084;&#1103;": "&#1040;&#1085;&#1085;&#1072; caf\xe9 &#128512;", "phone": "+37120000001"}


def test_references_to_what_a_charset_lacks_are_read_in_names_and_values_of_any_form() -> None:
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in REFERRED.items()
    )
    lines = "".join(f"{name}={value}\r\n" for name, value in REFERRED.items())
    pairs = urlencode([*REFERRED.items(), ("a[]", "&#1041;"), ("a[]", "&#8364;")], encoding="cp1252")
    expected = {"Имя": "Анна café 😀", "phone": "+37120000001"}
    for text, content_type in ((parts + "--b--", MULTIPART), (lines, "text/plain"), (pairs, URLENCODED)):
        found = _document(text.encode("cp1252"), f"{content_type}; charset=windows-1252")
        assert found == ({**expected, "a": ["Б", "€"]} if text is pairs else expected)
    assert _document(b'{"a":"&#1040;"}', "application/json") == {"a": "&#1040;"}


def test_texts_tables_and_xml_are_in_the_charset_that_the_type_names() -> None:
    table = "Имя;Телефон\r\nАнна;+79160000001\r\n"
    assert _document(table.encode("cp1251"), "text/csv; charset=windows-1251") == NAMED
    xml = "<Заявка><Имя>Анна</Имя><Телефон>+79160000001</Телефон></Заявка>"
    for body in (xml.encode("cp1251"), xml.encode()):
        assert _document(body, "text/xml; charset=windows-1251") == NAMED
    mail = "Имя: Анна\nТелефон: +79160000001"
    assert _document(mail.encode("koi8_r"), "text/plain; charset=koi8-r") == {"text": mail}


@pytest.mark.parametrize("declared", ["utf-16", "UTF-8", "windows-1251", "nonsense"])
@pytest.mark.parametrize("true", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_xml_is_read_whatever_its_declaration_says(declared: str, true: str) -> None:
    xml = f'<?xml version="1.0" encoding="{declared}"?><lead><name>Анна</name></lead>'
    assert _document(xml.encode(true), "text/xml") == {"name": "Анна"}


def test_xml_in_the_charset_that_it_declares_is_read() -> None:
    for codec, label in (("cp1251", "windows-1251"), ("koi8_r", "KOI8-R"), ("iso8859_5", "iso-8859-5")):
        xml = f"<?xml version='1.0' encoding='{label}'?><lead><name>Анна</name></lead>"
        assert _document(xml.encode(codec), "text/xml") == {"name": "Анна"}


@pytest.mark.parametrize("charset", ["utf-16-le", "utf-16-be"])
def test_utf16_is_told_without_its_mark(charset: str) -> None:
    for text in ('{"name":"Анна"}', "name=Анна", "name,phone\nАнна,+79160000001"):
        found = _document(text.encode(charset), "")
        assert isinstance(found, dict)
        assert found["name"] == "Анна"
