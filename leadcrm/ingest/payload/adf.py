"""ADF, the format of car dealers' leads, as a converter made an object of its XML.

Converters agree on elements, not on attributes and texts: `{"@part": "first", "#text": "Anna"}` of one is
`{"$": {"part": "first"}, "_": "Anna"}` of another.
"""

from __future__ import annotations

from typing import Any

from leadcrm.ingest.payload.xml import MAX_NESTING, add_element, named_part

_ROOT = "adf"
_INNER_ROOT = "prospect"
_OWN_OF_INNER_ROOT = "customer"
"""Every prospect of ADF has one. Those of others, such as CRMs, are read as they are."""

_ATTRIBUTES = ("$", "@", "@attributes", "_attributes", "attributes", "attr")
_TEXTS = ("#text", "_", "__text", "_text", "$t", "#", "content", "text", "value")
_PREFIXES = "@-_$"


def read_adf(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with its ADF as `read_xml` reads that of a text; unchanged if it has none."""
    for name, value in document.items():
        if type(value) is dict and _is_root(name.lower(), value):
            return {**document, name: _element(value, 0)[1]}
    return document


def _is_root(name: str, value: dict[str, Any]) -> bool:
    return name == _ROOT or (name == _INNER_ROOT and any(member.lower() == _OWN_OF_INNER_ROOT for member in value))


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
