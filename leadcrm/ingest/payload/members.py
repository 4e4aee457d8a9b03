"""The lead in a member of a document, as text: a form that a script serialized into a field of another.

Plugins of web sites send `action=send_lead&data=name%3DAnna%26email%3D…`. A text is read where the document has no
other contact and the text has one by its labels: what people write stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.document import read_document
from leadcrm.sources.contacts import is_asked_contact, reaches_lead
from leadcrm.sources.labels import Effort
from leadcrm.sources.leaves import MAX_LEAVES, leaves

MAX_CHARACTERS = 65_536
"""A longer text is no form of a lead's fields."""

MAX_DEPTH = 3
MAX_TEXTS = 4
"""Of a document that are read."""

_FORM_TYPE = "application/x-www-form-urlencoded"
_NAME = r"[\w.~!*'()\[\]%+-]{1,200}"
_FORM = re.compile(rf"{_NAME}=[^&\r\n]*(?:&{_NAME}=[^&\r\n]*)+")
"""A form, but no URL: other characters stand in front of its query."""

_Place = tuple[dict[str, Any], str, str]
"""An object, the name of a member, and its text."""


def may_hold_leads(body: bytes) -> bool:
    """Say whether it is worth looking for such members in what a body holds."""
    if body[:1] == b"{":
        return b"&" in body or b"\\u0026" in body
    # Of a form in the URL's encoding, or of one in parts.
    return b"%26" in body or b"form-data" in body


def read_members(document: dict[str, Any], *, at_leisure: bool) -> dict[str, Any]:
    """Return a document with the lead that a member of it holds as text; unchanged if none does.

    Raises:
        TooLaborious: Without leisure, it cannot be read.
    """
    texts = list(islice(_texts(document, 0), MAX_TEXTS))
    if not texts:
        return document
    effort = None if at_leisure else Effort()
    own = {text for _, _, text in texts}
    found = leaves(document, effort)
    if any(
        (type(value) is not str or value not in own) and reaches_lead(labels, value, effort) for labels, value in found
    ):
        return document
    for place, name, text in texts:
        with suppress(InvalidPayload):
            inner = _read(text, _FORM_TYPE, at_leisure=at_leisure)
            if any(is_asked_contact(labels, value, effort) for labels, value in leaves(inner, effort)):
                place[name] = inner
    return document


def _texts(place: dict[str, Any], depth: int) -> Iterator[_Place]:
    """Yield the members that may hold a lead as text."""
    for name, member in islice(place.items(), MAX_LEAVES):
        value = member[0] if type(member) is list and len(member) == 1 else member
        if type(value) is str:
            if "&" in value and len(value) <= MAX_CHARACTERS and _FORM.fullmatch(value):
                yield place, name, value
        elif type(value) is dict and depth < MAX_DEPTH:
            yield from _texts(value, depth + 1)


def _has_contact_beside(texts: set[str], document: dict[str, Any], effort: Effort | None) -> bool:
    return any(
        reaches_lead(labels, value, effort)
        for labels, value in leaves(document, effort)
        if type(value) is not str or value not in texts
    )


def _read(text: str, content_type: str, *, at_leisure: bool) -> object:
    body = text.encode(errors="replace")
    return read_document(
        body, content_type=content_type, content_encoding="", max_decoded_bytes=len(body), at_leisure=at_leisure
    )
