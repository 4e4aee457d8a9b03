"""Writes a workbook of text cells (ECMA-376, part 1) piece by piece, in constant memory.

Text cells run no formula in any spreadsheet, and phones keep their plus and their zeros.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

from leadcrm.crm.events import Event
from leadcrm.crm.leads import Lead

MAX_ROWS = 1_048_576
"""Rows of a sheet, in every spreadsheet; further ones go to another sheet."""

MAX_SHEET_BYTES = 1_000_000_000
"""A sheet stays below the four gigabytes from which on an archive needs the fields of Zip64."""

MAX_CELL = 32_767
"""Characters of a cell, in every spreadsheet: a longer text is cut and ends with an ellipsis."""

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'

# XML cannot hold them. A workbook writes them as _xHHHH_, and so must a text that looks like that already.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|\r|_(?=x[0-9A-Fa-f]{4}_)")


class _Archive(ZipFile):
    def __del__(self) -> None:
        """Leave it as it is: a download that was given up has no end, and closing it in the middle would fail."""


class XlsxFile:
    """A workbook with one sheet, or several where there are too many rows for one."""

    def __init__(self, names: Sequence[str], cells_of: Callable[[Lead, Sequence[Event]], list[str]]) -> None:
        """Set the names in the first row, and what makes the cells of a lead with its notes."""
        self._names = names
        self._cells_of = cells_of
        self._target = _Pieces()
        # A target that cannot be read or sought makes the archive a stream.
        self._archive = _Archive(self._target, "w", ZIP_DEFLATED)
        self._sheet: IO[bytes] | None = None
        self._sheets = 0
        self._rows = 0
        self._bytes = 0

    def begin(self) -> bytes:
        """Return the beginning of the archive."""
        self._begin_sheet()
        return self._target.take()

    def add(self, leads: Iterable[Lead], notes: Sequence[Event] = ()) -> bytes:
        """Return what the compression lets go of so far."""
        for lead in leads:
            if self._rows >= MAX_ROWS or self._bytes >= MAX_SHEET_BYTES:
                self._end_sheet()
                self._begin_sheet()
            self._write_row(self._cells_of(lead, notes))
        return self._target.take()

    def end(self) -> bytes:
        """Return the rest: the end of the sheet, the parts that name the sheets, and the archive's directory."""
        self._end_sheet()
        numbers = range(1, self._sheets + 1)
        sheets = "".join(f'<sheet name="Leads {n}" sheetId="{n}" r:id="rId{n}"/>' for n in numbers)
        overrides = "".join(
            f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{_MEDIA_TYPE}.worksheet+xml"/>'
            for n in numbers
        )
        sheet_relations = "".join(_relation(n, "worksheet", f"worksheets/sheet{n}.xml") for n in numbers)
        parts = {
            "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>{sheets}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": _relations(sheet_relations),
            "_rels/.rels": _relations(_relation(1, "officeDocument", "xl/workbook.xml")),
            "[Content_Types].xml": (
                f'<Types xmlns="{_PACKAGE}/content-types">'
                f'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
                f'<Default Extension="xml" ContentType="application/xml"/>'
                f'<Override PartName="/xl/workbook.xml" ContentType="{_MEDIA_TYPE}.sheet.main+xml"/>{overrides}</Types>'
            ),
        }
        for name, text in parts.items():
            self._archive.writestr(name, _XML + text)
        self._archive.close()
        return self._target.take()

    def _begin_sheet(self) -> None:
        self._sheets += 1
        self._rows = self._bytes = 0
        self._sheet = self._archive.open(f"xl/worksheets/sheet{self._sheets}.xml", "w")
        self._write(f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>')
        self._write_row(self._names)

    def _end_sheet(self) -> None:
        assert self._sheet is not None
        self._write("</sheetData></worksheet>")
        self._sheet.close()

    def _write_row(self, texts: Iterable[str]) -> None:
        self._rows += 1
        self._write(f"<row>{''.join(map(_cell, texts))}</row>")

    def _write(self, text: str) -> None:
        assert self._sheet is not None
        self._bytes += self._sheet.write(text.encode())


class _Pieces(io.RawIOBase):
    """A target that gives away what was written."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _cell(text: str) -> str:
    if not text:
        return "<c/>"
    if len(text) > MAX_CELL:
        text = text[: MAX_CELL - 1] + "\u2026"
    text = _UNWRITABLE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'


def _relation(number: int, kind: str, target: str) -> str:
    return f'<Relationship Id="rId{number}" Type="{_RELATIONS}/{kind}" Target="{target}"/>'


def _relations(relations: str) -> str:
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{relations}</Relationships>'
