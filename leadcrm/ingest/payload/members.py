"""The lead, or several, in a member of a document as text: a serialized form, XML such as ADF, a table, a list as JSON.

Plugins of web sites send `action=send_lead&data=name%3DAnna%26email%3D…`, programs XML or a file of leads in a field. A
text is read where the document has no other contact and the text has one by its labels: what people write stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.document import read_document
from leadcrm.ingest.payload.effort import require_few_elements
from leadcrm.ingest.payload.table import begins_as_table
from leadcrm.sources.contacts import is_asked_contact, reaches_lead
from leadcrm.sources.labels import Effort
from leadcrm.sources.leaves import MAX_LEAVES, leaves
from leadcrm.sources.several import are_leads, has_contact, leads_within

MAX_FORM = 65_536
"""A longer text is no form of a lead's fields."""

MAX_DEPTH = 3
MAX_TEXTS = 4
"""Of a document that are read."""

MAX_BESIDE = 1_000
"""Characters of the other members that each of several leads gets."""

_NAME = r"[\w.~!*'()\[\]%+-]{1,200}"
_FORM = re.compile(rf"{_NAME}=[^&\r\n]*(?:&{_NAME}=[^&\r\n]*)+")
"""A form, but no URL: other characters stand in front of its query."""

_BLANKS = "\ufeff \t\r\n"
_BEGINNINGS = frozenset(("<", "[", *_BLANKS))
_ADF = "<adf"
_MAX_PROLOG = 300

_NO_SIGNS_IN_JSON = bytes(set(range(256)) - set(b"<&\\"))
_NO_SIGNS_IN_FORM = bytes(set(range(256)) - set(b"<\n{"))
_ESCAPED_SIGN = re.compile(rb"%(?:26|3[Cc]|0[Aa]|[57][Bb])")
"""With one of these begins each text that may hold a lead, or a form has it between its fields, or a table its lines.

JSON has a backslash in front of a line break and of the quotes of JSON in it. Forms in parts have line breaks.
"""

_MAX_LOOKED_AT = 16_384
"""Of a longer body it is quicker to look at the members."""

_Place = tuple[dict[str, Any], str, str]
"""An object, the name of a member, and its text."""


def may_hold_leads(body: bytes) -> bool:
    """Say whether it is worth looking for such members in what a body holds."""
    if len(body) > _MAX_LOOKED_AT:
        return True
    if body[:1] == b"{":
        return bool(body.translate(None, _NO_SIGNS_IN_JSON))
    return bool(body.translate(None, _NO_SIGNS_IN_FORM)) or _ESCAPED_SIGN.search(body) is not None


def may_hold_adf(body: bytes) -> bool:
    """Say whether a text in a body that is not compressed may be ADF, however that is escaped."""
    return len(body) > _MAX_LOOKED_AT or _ADF[1:].encode() in body.lower()


def read_members(
    document: dict[str, Any], *, may_hold_adf: bool, takes_several: bool, has_keys: bool = False, at_leisure: bool
) -> dict[str, Any] | list[Any]:
    """Return a document with the lead that a member of it holds as text, or its leads; unchanged if none does.

    Args:
        document: What a body holds.
        may_hold_adf: A text may be ADF, which counts beside another contact too.
        takes_several: Several leads may take the place of the document.
        has_keys: A lead's key may be any member: one beside several leads is the key of none.
        at_leisure: Whether the reading may take long. Otherwise others wait for it.

    Raises:
        TooLaborious: Without leisure, it cannot be read.
    """
    effort = None if at_leisure else Effort()
    is_whole = has_contact(document, effort)
    if is_whole and not may_hold_adf:
        return document
    texts = list(islice(_texts(document, 0), MAX_TEXTS))
    if not texts:
        return document
    if is_whole:
        texts = list(filter(_is_adf, texts))
    elif takes_several and (found := _leads_in_json(texts, effort, at_leisure=at_leisure)):
        return found if has_keys else _with_beside(document, found, texts)
    elif _has_contact_beside({text for _, _, text in texts}, document, effort):
        texts = list(filter(_is_adf, texts))
    if texts and not at_leisure:
        require_few_elements("".join(text for _, _, text in texts).encode(errors="replace"))
    for place, name, text in texts:
        inner = _lead_in(text, effort, at_leisure=at_leisure)
        several = leads_within(inner, effort) if type(inner) is dict else inner
        if several and takes_several:
            return several if has_keys else _with_beside(document, several, texts)
        if inner:
            place[name] = inner
    return document


def _texts(place: dict[str, Any], depth: int) -> Iterator[_Place]:
    """Yield the members that may hold a lead as text."""
    for name, member in islice(place.items(), MAX_LEAVES):
        value = member[0] if type(member) is list and len(member) == 1 else member
        if type(value) is str:
            if value[:1] in _BEGINNINGS or "\n" in value or ("&" in value and _is_form(value)):
                yield place, name, value.strip(_BLANKS)
        elif type(value) is dict and depth < MAX_DEPTH:
            yield from _texts(value, depth + 1)


def _is_form(text: str) -> bool:
    return len(text) <= MAX_FORM and _FORM.fullmatch(text.strip(_BLANKS)) is not None


def _is_adf(place: _Place) -> bool:
    return place[2][:1] == "<" and _ADF in place[2][:_MAX_PROLOG].lower()


def _has_contact_beside(texts: set[str], document: dict[str, Any], effort: Effort | None) -> bool:
    return any(
        reaches_lead(labels, value, effort)
        for labels, value in leaves(document, effort)
        if type(value) is not str or value.strip(_BLANKS) not in texts
    )


def _leads_in_json(texts: list[_Place], effort: Effort | None, *, at_leisure: bool) -> list[Any]:
    """Return the leads of a list that is written as JSON; none if there are not several."""
    for _, _, text in texts:
        if text[:1] == "[":
            with suppress(InvalidPayload):
                found = _read(text, "", at_leisure=at_leisure)
                if type(found) is list and len(found) > 1 and are_leads(found, effort):
                    return found
    return []


def _lead_in(text: str, effort: Effort | None, *, at_leisure: bool) -> Any:
    """Return what a text holds, if it is XML, a table or a form with a contact by its labels; else None."""
    content_type = _type_of(text, effort)
    if not content_type:
        return None
    try:
        found = _read(text, content_type, at_leisure=at_leisure)
    except InvalidPayload:
        return None
    return found if any(is_asked_contact(labels, value, effort) for labels, value in leaves(found, effort)) else None


def _type_of(text: str, effort: Effort | None) -> str:
    if text[:1] == "<":
        return "text/xml"
    if "\n" in text:
        return "text/csv" if begins_as_table(text, effort) else ""
    return "application/x-www-form-urlencoded" if _is_form(text) else ""


def _read(text: str, content_type: str, *, at_leisure: bool) -> object:
    body = text.encode(errors="replace")
    return read_document(
        body, content_type=content_type, content_encoding="", max_decoded_bytes=len(body), at_leisure=at_leisure
    )


def _with_beside(document: dict[str, Any], leads: list[Any], texts: list[_Place]) -> list[Any]:
    """Return leads, each with what stands beside all of them, such as a campaign, if that is short."""
    own = {name for place, name, _ in texts if place is document}
    beside = {name: value for name, value in document.items() if name not in own and type(value) in (str, int, bool)}
    if sum(len(name) + len(str(value)) for name, value in beside.items()) > MAX_BESIDE:
        return leads
    return [{**beside, **lead} for lead in leads if type(lead) is dict]
