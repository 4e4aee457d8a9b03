"""Reads XML for the mapping of a source: elements as members, repeated ones as lists, attributes beside `value`.

Safe by what it refuses: a document type that defines anything, and with it every entity. One that only names itself, as
`<!DOCTYPE adf SYSTEM "adf.dtd">`, is left out before the text is read, so that nothing outside of it is asked for.
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import Any
from xml.parsers import expat

from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.effort import require_few_elements

MAX_ELEMENTS = 20_000
MAX_NESTING = 50

_DECLARED = re.compile(rb"<\?xml\s[^<>]{0,100}?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
_TYPE = re.compile(rb"<!DOCTYPE\s+(?!html[\s>])[^\[\]<>]{1,500}>", re.IGNORECASE)
"""A document type without definitions of its own. Pages of HTML are no leads."""

_MAX_PROLOG = 2_000
_ELEMENT = re.compile(rb"<[^\W\d]")
_SECTION = b"<![CDATA["
_AMPERSAND = re.compile(rb"&(?:([A-Za-z]\w{0,30});|(?!#))")
_OF_XML = (b"amp", b"lt", b"gt", b"quot", b"apos")


def read_xml(text: bytes, *, at_leisure: bool = True) -> dict[str, object]:
    """Return the content of the root element.

    Args:
        text: In UTF-8, whatever its declaration says.
        at_leisure: Whether the reading may take long. Otherwise others wait for it.

    Raises:
        InvalidPayload: The text is no XML, has a document type that defines anything, or is too large or too deep.
        TooLaborious: Without leisure, the text cannot be read.
    """
    if not at_leisure:
        require_few_elements(text)
    if text.count(b"<") > 2 * MAX_ELEMENTS:
        raise InvalidPayload(f"the XML has more than {MAX_ELEMENTS} elements")
    text = _without_type(text)
    try:
        root = _root(text)
    except expat.ExpatError:
        try:
            root = _root(_with_ampersands_escaped(text))
        except expat.ExpatError as error:
            raise InvalidPayload("the body is no XML that can be read") from error
    return root if isinstance(root, dict) else {"value": root}


def declared_charset(text: bytes) -> bytes:
    """Return the label of the charset that the declaration of an XML text names, empty if it names none."""
    declared = _DECLARED.match(text)
    return declared[1] if declared else b""


def _without_type(text: bytes) -> bytes:
    """Return a text without a document type that defines nothing."""
    found = _TYPE.search(text, 0, _MAX_PROLOG)
    if found is None or _ELEMENT.search(text, 0, found.start()):
        return text
    return text[: found.start()] + text[found.end() :]


def _with_ampersands_escaped(text: bytes) -> bytes:
    """Return XML with the ampersands escaped that begin no reference, and without the references of HTML."""
    outside, *sections = text.split(_SECTION)
    escaped = [_AMPERSAND.sub(_reference, outside)]
    for section in sections:
        inside, end, outside = section.partition(b"]]>")
        escaped.append(inside + end + _AMPERSAND.sub(_reference, outside))
    return _SECTION.join(escaped)


def _reference(ampersand: re.Match[bytes]) -> bytes:
    name = ampersand[1]
    if name is None:
        return b"&amp;"
    if name in _OF_XML:
        return ampersand[0]
    character = html5.get(f"{name.decode()};")
    # Those of markup would be markup.
    return b"&amp;" + ampersand[0][1:] if character is None or character.isascii() else character.encode()


def _root(text: bytes) -> object:
    parser, tree = expat.ParserCreate("utf-8"), _Tree()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = tree.refuse_type
    parser.StartElementHandler = tree.begin
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.add_text
    parser.Parse(text, True)
    return tree.root


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
