"""ADF, the format of car dealers' leads, within JSON: as a text of XML, or as a converter made an object of the XML.

Converters agree on elements, not on attributes and texts: `{"@part": "first", "#text": "Anna"}` of one is
`{"$": {"part": "first"}, "_": "Anna"}` of another.
"""

from __future__ import annotations

from typing import Any

from leadcrm.ingest.payload.xml import MAX_NESTING, add_element, named_part, read_xml

_ROOTS = frozenset(("adf", "prospect"))
_ATTRIBUTES = ("$", "@", "@attributes", "_attributes", "attributes", "attr")
_TEXTS = ("#text", "_", "__text", "_text", "$t", "#", "content", "text", "value")
_PREFIXES = "@-_$"


def read_adf(document: dict[str, Any], *, at_leisure: bool) -> dict[str, Any]:
    """Return a document with its ADF as `read_xml` reads it; unchanged if it has none.

    Raises:
        InvalidPayload: A text of XML cannot be read.
        TooLaborious: Without leisure, it cannot be read.
    """
    for name, value in document.items():
        if type(value) is str and value.lstrip()[:1] == "<" and "<adf" in value[:300].lower():
            return {**document, name: read_xml(value.strip().encode(errors="replace"), at_leisure=at_leisure)}
        if name.lower() in _ROOTS and type(value) is dict:
            return {**document, name: _element(value, 0)[1]}
    return document


def _element(value: Any, depth: int) -> tuple[str, object]:
    """Return an element's part, such as the first of a name, and its content."""
    if type(value) is not dict or depth > MAX_NESTING:
        return "", value
    part, text = "", None
    members: dict[str, Any] = {}
    for name, member in value.items():
        if name in _ATTRIBUTES and type(member) is dict:
            attributes = member
        elif type(member) is str and name.lstrip(_PREFIXES) == "part":
            attributes = {"part": member}
        elif name in _TEXTS and type(member) is not dict:
            text = member
            continue
        else:
            for element in member if type(member) is list else [member]:
                its_part, content = _element(element, depth + 1)
                add_element(members, named_part(name.lstrip(_PREFIXES), its_part), content)
            continue
        part = str(attributes.get("part", part))
        members.update((key, said) for key, said in attributes.items() if key != "part")
    if members and text is not None:
        members["value"] = text
    return part, members or text
