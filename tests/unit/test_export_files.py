"""Exported files: no cell that runs in a spreadsheet, and workbooks that other programs read."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from datetime import datetime
from itertools import product
from uuid import UUID
from xml.etree import ElementTree

import pytest

from leadcrm.crm import xlsx
from leadcrm.crm.files import EXPORT_NAMES, SEPARATORS, cell_text, new_file
from leadcrm.crm.leads import Lead
from leadcrm.database.entities import FIELD_COLUMNS

NOW = datetime(2024, 1, 15)
SPACE = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def lead(**fields: str) -> Lead:
    return Lead(
        UUID(int=1), *(fields.get(name) for name in FIELD_COLUMNS), "new", None, NOW, NOW, 3, "api", False, None
    )


def cells_as_a_spreadsheet_reads_them(text: str, separator: str) -> Iterator[str]:
    """Yield the cells as LibreOffice splits a CSV: quotes count only where they begin a cell, and may stay open."""
    at, end = 0, len(text)
    while at < end:
        cell = ""
        if text[at] == '"':
            at += 1
            while at < end:
                if text[at] == '"' and text[at + 1 : at + 2] != '"':
                    at += 1
                    break
                at += 1 + (text[at] == '"')
                cell += text[at - 1]
        rest = re.compile(f"[^{separator}\r\n]*").match(text, at)
        assert rest is not None
        yield cell + rest[0]
        at = rest.end() + 1


FORMULAS = ["=1+1", "=cmd|'/c calc'!A0", "+1+1", "-1+1", "@SUM(1)", '=HYPERLINK("http://x")', "\uff1d1+1", "+1-202"]
FRONTS = [
    "",
    "a;",
    'a;"',
    'a;""',
    "a\n",
    'a\n"',
    "a\r",
    "a\r\n",
    "a\t",
    'a\t"',
    'a";"',
    "a,",
    'a,"',
    "\n",
    '"',
    'a";\n',
]
BACKS = ["", ";b", '";b', "\nb", ',"', "\t", '""']


@pytest.mark.parametrize("separator", SEPARATORS)
def test_no_text_of_a_csv_is_a_formula_whichever_separator_the_spreadsheet_takes(separator: str) -> None:
    for front, formula, back in product(FRONTS, FORMULAS, BACKS):
        text = f"{front}{formula}{back}"
        file = new_file("csv", separator)
        written = (file.begin() + file.add([lead(first_name=text, email=text, phone="+37120000000")])).decode(
            "utf-8-sig"
        )
        for read in SEPARATORS.values():
            for cell in cells_as_a_spreadsheet_reads_them(written, read):
                is_phone = cell.startswith("+37120000000")
                assert is_phone or not cell.lstrip("\0").startswith(tuple("=+-@\uff1d")), (text, read, cell)


def test_the_reader_in_these_tests_finds_formulas_in_an_unguarded_file() -> None:
    text = io.StringIO()
    csv.writer(text).writerow(["1", 'a;"=1+1;b', "a\n=2+2;b"])
    cells = list(cells_as_a_spreadsheet_reads_them(text.getvalue(), ";"))
    assert [cell for cell in cells if cell.startswith("=")] == ["=1+1", "=2+2"]


def in_a_csv(phone: str) -> str:
    file = new_file("csv")
    written = (file.begin() + file.add([lead(phone=phone)])).decode("utf-8-sig")
    return next(csv.DictReader(io.StringIO(written)))["phone"]


@pytest.mark.parametrize(
    "phone", ["+37120000000", "+371 20000000", "+371 2000 0000", "+1 (202) 555-0100", "+49(30)1234567", "0037120000000"]
)
def test_a_phone_stays_as_it_is(phone: str) -> None:
    assert in_a_csv(phone) == phone


@pytest.mark.parametrize("text", ["+1-202-555-0100", "+1+1", "-5", "+12", "+cmd|' /C calc'!A0", "+3712000000*1"])
def test_what_a_spreadsheet_would_calculate_is_no_phone(text: str) -> None:
    assert in_a_csv(text) == f"'{text}"


def texts_of(content: bytes) -> list[list[list[str]]]:
    """Return the sheets' rows of texts."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        workbook = ElementTree.fromstring(archive.read("xl/workbook.xml"))
        sheets = []
        for number in range(1, len(workbook.findall(".//m:sheet", SPACE)) + 1):
            root = ElementTree.fromstring(archive.read(f"xl/worksheets/sheet{number}.xml"))
            assert root.findall(".//m:f", SPACE) == [], "no formula"
            sheets.append(
                [[cell.findtext(".//m:t", "", SPACE) for cell in row] for row in root.iter(f"{{{SPACE['m']}}}row")]
            )
        return sheets


def test_a_workbook_has_every_text_as_a_text() -> None:
    file = new_file("xlsx")
    leads = [lead(phone="+37120000000", email="=1+1", description='a\n"<&>\x00\x1b\r_x0041_ \u0101', ip=" 007 ")]
    content = file.begin() + file.add(leads) + file.add([lead(description="x" * 40_000)]) + file.end()
    ((head, first, second),) = texts_of(content)
    assert head == list(EXPORT_NAMES)
    row = dict(zip(EXPORT_NAMES, first, strict=True))
    assert (row["phone"], row["email"], row["ip"]) == ("+37120000000", "=1+1", " 007 ")
    assert row["description"] == 'a\n"<&>_x0000__x001B__x000D__x005F_x0041_ \u0101'
    assert row["createdAt"] == cell_text(NOW)
    long = dict(zip(EXPORT_NAMES, second, strict=True))["description"]
    assert (len(long), long[-1]) == (32_767, "\u2026")


def test_rows_beyond_a_sheet_go_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "MAX_ROWS", 3)
    file = new_file("xlsx")
    content = file.begin() + file.add(lead(email=str(number)) for number in range(5)) + file.end()
    column = EXPORT_NAMES.index("email")
    assert [[row[column] for row in sheet] for sheet in texts_of(content)] == [
        ["email", "0", "1"],
        ["email", "2", "3"],
        ["email", "4"],
    ]


def test_a_workbook_is_written_in_pieces() -> None:
    file = new_file("xlsx")
    file.begin()
    pieces = [
        file.add([lead(description=str(UUID(int=number**9)) * 900) for number in range(at, at + 50)])
        for at in range(0, 1_000, 50)
    ]
    assert max(map(len, pieces)) < 1_000_000
    assert sum(map(len, pieces)) > 100_000
