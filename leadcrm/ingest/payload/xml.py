"""Reads XML for the mapping of a source: elements as members, repeated ones as lists, attributes beside `value`.

Safe by what it refuses: a document type, and with it every entity of its own and everything outside the document.
"""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.effort import require_few_elements

MAX_ELEMENTS = 20_000
MAX_NESTING = 50


def read_xml(text: bytes, *, at_leisure: bool = True) -> dict[str, object]:
    """Return the content of the root element.

    Raises:
        InvalidPayload: The text is no XML, has a document type, or is too large or too deep.
        TooLaborious: Without leisure, the text cannot be read.
    """
    if not at_leisure:
        require_few_elements(text)
    if text.count(b"<") > 2 * MAX_ELEMENTS:
        raise InvalidPayload(f"the XML has more than {MAX_ELEMENTS} elements")
    parser, tree = expat.ParserCreate(), _Tree()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = tree.refuse_type
    parser.StartElementHandler = tree.begin
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.add_text
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise InvalidPayload("the body is no XML that can be read") from error
    root = tree.root
    return root if isinstance(root, dict) else {"value": root}


class _Tree:
    """What was read so far: for each open element its name, its members and its text."""

    def __init__(self) -> None:
        self.root: object = None
        self._open: list[tuple[str, dict[str, Any], list[str]]] = []

    def refuse_type(self, *_declared: object) -> None:
        raise InvalidPayload("the XML has a document type")

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_NESTING:
            raise InvalidPayload(f"the XML is nested deeper than {MAX_NESTING} levels")
        # A prefix of a namespace is of no use, and ADF writes <name part="first">.
        name = name.rpartition(":")[2]
        name = named_part(name, attributes.pop("part", ""))
        self._open.append((name, dict(attributes), []))

    def add_text(self, text: str) -> None:
        if self._open:
            self._open[-1][2].append(text)

    def end(self, _name: str) -> None:
        name, members, pieces = self._open.pop()
        text = "".join(pieces).strip()
        content: object = members or text
        if members and text:
            members["value"] = text
        if not self._open:
            self.root = content
            return
        add_element(self._open[-1][1], name, content)


def named_part(name: str, part: str) -> str:
    """Return the name of an element that is a part, such as the first of a name."""
    return f"{name} {part}" if part and part != "full" else name


def add_element(siblings: dict[str, Any], name: str, content: object) -> None:
    """Add an element to those beside it; repeated ones become a list."""
    if name not in siblings:
        siblings[name] = content
    elif isinstance(siblings[name], list):
        siblings[name].append(content)
    else:
        siblings[name] = [siblings[name], content]
