"""Tables and XML as programs write them: with quoted heads, a line for Excel, ampersands and names of HTML."""

from __future__ import annotations

import csv
from io import StringIO
from time import thread_time

import pytest

from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.document import read_document

TYPES = ("text/csv", "text/plain", "application/octet-stream", "application/json", "application/x-www-form-urlencoded")
LEAD = {"name": "Anna Ozola", "email": "anna@example.com", "message": "one\r\ntwo, a=b&c=d"}


def _read(text: str, content_type: str = "") -> object:
    return read_document(text.encode(), content_type=content_type, content_encoding="", max_decoded_bytes=2_000_000)


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_quoted_cells_is_a_table_whatever_its_type(content_type: str, delimiter: str) -> None:
    file = StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, delimiter=delimiter)
    writer.writerows([LEAD, LEAD.values(), ("Juris", "juris@example.com", '"q"')])
    others = dict(zip(LEAD, ("Juris", "juris@example.com", '"q"'), strict=True))
    assert _read(file.getvalue(), content_type) == [LEAD, others]


@pytest.mark.parametrize("content_type", TYPES[:3])
@pytest.mark.parametrize("line", ["sep=;\r\n", "SEP=;\n", '"sep=;"\r\n'])
def test_the_line_that_tells_excel_the_separator_is_no_head(content_type: str, line: str) -> None:
    table = "name;email,phone\r\nAnna Ozola;anna@example.com\r\n"
    assert _read(line + table, content_type) == {"name": "Anna Ozola", "email,phone": "anna@example.com"}


def test_a_json_string_of_a_form_is_that_form_and_one_that_is_cut_off_is_nothing() -> None:
    assert _read('"name=Anna&phone=%2B371"') == {"name": "Anna", "phone": "+371"}
    for text in ('"name=Anna', '"hello"', '"a","b"\r\n'):
        with pytest.raises(InvalidPayload):
            _read(text)


def test_ampersands_and_names_of_html_are_read_in_xml() -> None:
    texts = "<a>A & B &amp; C&lt;D Q&A; &foo;</a><b>&copy;&eacute;&nbsp;&#257;</b><c><![CDATA[&nbsp; & ]]>&</c>"
    read = {"a": "A & B & C<D Q&A; &foo;", "b": "\xa9\xe9\xa0\u0101", "c": "&nbsp; & &"}
    assert _read(f'<l u="/?a=1&b=2">{texts}</l>') == {"u": "/?a=1&b=2", **read}
    for refused in ("<a>&#0; & </a>", "<a> & <b></a>", '<!DOCTYPE a [<!ENTITY x "y">]><a>& &x;</a>'):
        with pytest.raises(InvalidPayload):
            _read(refused)


def test_hostile_ampersands_take_a_time_in_proportion_to_their_number() -> None:
    for unit in ("&", "&amp", "&a;", "<![CDATA[", "&#", "& <![CDATA[ ]]>"):
        started = thread_time()
        with pytest.raises(InvalidPayload):
            _read("<a>" + unit * (1_000_000 // len(unit)))
        assert thread_time() - started < 3
