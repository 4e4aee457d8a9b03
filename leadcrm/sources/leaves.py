"""The labelled values in a document: a form's fields, answers as lists of pairs, objects within objects.

Nearly every sender sends one of these: members named as the fields, or a list of `{"label": …, "value": …}`. Both are
read to (labels, value), those on the outside first. Bounded: only so many values of a document are looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from leadcrm.sources.labels import meaning

MAX_LEAVES = 400
MAX_DEPTH = 8

MAX_JSON = 65_536
"""Characters of JSON that stand in texts of a document."""

_LABELS = ("label", "title", "question", "name", "field", "column_name", "column_id", "key", "ref", "id", "type")
_VALUES = ("value", "values", "answer", "string_value", "raw_value", "text", "content", "response")
_MAX_PAIR_MEMBERS = 5
_INNER = frozenset(("value", "full", "text", "raw_value", "formatted", "number"))
"""Members that hold the value of the object around them: `{"phone": {"full": …}}`."""

_OTHER_THINGS = frozenset(
    ("form", "page", "site", "campaign", "ad", "adset", "adgroup", "account", "company", "product", "file", "event")
) | {"workspace", "organization", "organisation", "survey", "list", "definition", "meta", "metadata", "owner", "agent"}
"""Objects whose `name` is no person's, unless a contact stands beside it."""

_CONTACTS = frozenset(("email", "Email", "mail", "phone", "Phone", "tel"))

Leaf = tuple[tuple[str, ...], Any]
"""The labels of a value, the best first, and the value."""


def leaves(document: Any) -> Iterable[Leaf]:
    """Return the labelled values of a document, those on the outside first."""
    return _flat(document) or _walk(document)


def _flat(document: Any) -> list[Leaf] | None:
    """Return the values of an object that holds no other, as most forms are; None of any other document."""
    if type(document) is not dict or len(document) > MAX_LEAVES:
        return None
    found: list[Leaf] = []
    for name, value in document.items():
        kind = type(value)
        if kind is dict or kind is list or name in _VALUES or (kind is str and value[:1] in ("{", "[")):
            return None
        found.append(((name,), value))
    return found


def is_one_lead(items: list[Any]) -> bool:
    """Say whether a list is one lead's names and values, not a lead each."""
    labels: set[str] = set()
    for item in items[:MAX_LEAVES]:
        if type(item) is not dict or len(item) > _MAX_PAIR_MEMBERS or not any(name in item for name in _VALUES[:4]):
            return False
        labels.update(text for name in _LABELS if type(text := item.get(name)) is str)
    return any((meant := meaning(label)) is not None and meant.field in ("email", "phone") for label in labels)


def _walk(document: Any) -> Iterator[Leaf]:
    queue: deque[tuple[str, Any, int]] = deque([("", document, 0)])
    left, json_left = MAX_LEAVES, MAX_JSON
    while queue and left > 0:
        label, value, depth = queue.popleft()
        kind = type(value)
        if kind is dict:
            pair = _pair(label, value) or _phone(label, value)
            if pair is not None:
                yield pair
                continue
            for name, member in value.items():
                left -= 1
                if left < 0:
                    return
                member_kind = type(member)
                if member_kind is dict or (member_kind is list and _holds_objects(member)):
                    if depth < MAX_DEPTH:
                        queue.append((name, member, depth + 1))
                elif (
                    member_kind is str
                    and member[:1] in ("{", "[")
                    and len(member) <= json_left
                    and (inner := _json(member)) is not None
                ):
                    json_left -= len(member)
                    queue.append((name, inner, depth + 1))
                elif name in _INNER and label:
                    yield (label,), member
                elif name != "name" or label.lower() not in _OTHER_THINGS or not _CONTACTS.isdisjoint(value):
                    yield (name,), member
        elif kind is list and depth < MAX_DEPTH:
            inner_values = value[:left]
            left -= len(inner_values)
            queue.extend((label, element, depth + 1) for element in inner_values if type(element) in (dict, list))


def _holds_objects(value: list[Any]) -> bool:
    return bool(value) and type(value[0]) in (dict, list)


def _json(text: str) -> Any:
    """Return the JSON in a text that begins like an object or a list, or None."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _phone(label: str, value: dict[str, Any]) -> Leaf | None:
    """Return a number that is sent in pieces, as Jotform sends it, or None."""
    if type(area := value.get("area")) is str and type(number := value.get("phone")) is str:
        country = value.get("country")
        return (label or "phone",), " ".join(piece for piece in (country, area, number) if type(piece) is str and piece)
    return None


def _pair(label: str, value: dict[str, Any]) -> Leaf | None:
    """Return an object's labels and value if it is a pair, else None."""
    for value_name in _VALUES:
        if value_name in value:
            found = value[value_name]
            break
    else:
        return None
    if type(found) is dict:
        return None
    labels = [text for name in _LABELS if type(text := value.get(name)) is str and text]
    if not labels and not label:
        return None
    if label:
        labels.insert(0, label)
    return tuple(labels), found
