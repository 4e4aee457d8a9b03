"""Parts of multipart forms as mails have them: with a Content-Transfer-Encoding."""

from __future__ import annotations

from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from time import thread_time

import pytest

from leadcrm.errors import TooLaborious
from leadcrm.ingest.payload.document import read_document
from leadcrm.ingest.payload.reader import read_payload

MULTIPART = "multipart/form-data; boundary=b"


def _part(name: str, value: bytes, coding: str, parameters: str = "") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"{parameters}'
    head = f"--b\r\n{disposition}\r\nContent-Transfer-Encoding: {coding}\r\n\r\n"
    return head.encode() + value + b"\r\n"


def _read(body: bytes, content_type: str = MULTIPART) -> dict[str, object]:
    found = read_document(body, content_type=content_type, content_encoding="", max_decoded_bytes=10_000)
    assert isinstance(found, dict)
    payload = read_payload(body, content_type=content_type, content_encoding="", max_decoded_bytes=10_000)
    assert {name: found[name] for name in payload} == payload
    return found


@pytest.mark.parametrize(
    ("coding", "value", "text"),
    [
        ("quoted-printable", b"=D0=90=D0=BD=D0=BD=D0=B0", "Анна"),
        ("Quoted-Printable ", b"anna=2Eo@example=2ecom", "anna.o@example.com"),
        ("quoted-printable", b"one =\r\nlong line", "one long line"),
        ("quoted-printable", "Анна =3D".encode(), "Анна ="),
        ("quoted-printable", b"a=zz", "a=zz"),
        ("quoted-printable", b"a=", "a="),
        ("base64", b"0JDQvdC90LA=", "Анна"),
        ("BASE64", b"0JDQ\r\nvdC90LA=\r\n", "Анна"),
        ("base64", b"", ""),
        ("base64", b"anna@example.com", "anna@example.com"),
        ("8bit", "Анна=41".encode(), "Анна=41"),
        ("binary", b"0JDQ", "0JDQ"),
        ("7bit", b"=41", "=41"),
        ("nonsense", b"=41", "=41"),
    ],
)
def test_a_parts_content_is_read_with_its_coding_undone(coding: str, value: bytes, text: str) -> None:
    assert _read(_part("firstName", value, coding) + b"--b--") == {"firstName": text}


def test_the_text_of_a_coding_is_in_the_charset_of_its_part_or_form() -> None:
    value = b"=C0=ED=ED=E0"
    own = '\r\nContent-Type: text/plain; charset="windows-1251"'
    assert _read(_part("firstName", value, "quoted-printable", own) + b"--b--") == {"firstName": "Анна"}
    in_form = MULTIPART + "; charset=windows-1251"
    assert _read(_part("firstName", value, "quoted-printable") + b"--b--", in_form) == {"firstName": "Анна"}
    label = _part("_charset_", b"windows=2D1251", "quoted-printable")
    assert _read(label + _part("firstName", value, "quoted-printable") + b"--b--") == {"firstName": "Анна"}


def test_a_form_of_pythons_email_package_is_read() -> None:
    form = MIMEMultipart("form-data", boundary="b")
    for name, value in (("firstName", "Анна"), ("email", "anna@example.com")):
        part = MIMEText(value, _charset="utf-8")
        part.add_header("Content-Disposition", "form-data", name=name)
        form.attach(part)
    body = form.as_bytes().partition(b"\n\n")[2]
    found = read_document(body, content_type=MULTIPART, content_encoding="", max_decoded_bytes=10_000)
    assert found == {"firstName": "Анна", "email": "anna@example.com"}


def test_a_file_in_base64_counts_as_its_name_or_text() -> None:
    file = '; filename="a.png"'
    assert _read(_part("f", b"iVBORwD/", "base64", file) + b"--b--") == {"f": "a.png"}
    assert _read(_part("f", b"QW5uYQ==", "base64", file) + b"--b--") == {"f": "Anna"}


def test_a_hostile_coding_holds_nobody_up() -> None:
    for value, coding in ((b"=41" * 300_000, "quoted-printable"), (b"=\r\n" * 300_000, "quoted-printable")):
        body = _part("firstName", value, coding) + b"--b--"
        options = {"content_type": MULTIPART, "content_encoding": "", "max_decoded_bytes": len(body)}
        started = thread_time()
        with pytest.raises(TooLaborious):
            read_payload(body, **options, at_leisure=False)  # type: ignore[arg-type]
        assert thread_time() - started < 0.05
