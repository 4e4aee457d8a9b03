"""The labelled values in a document: a form's fields, answers as lists of pairs, objects within objects.

Nearly every sender sends one of these: members named as the fields, or a list of `{"label": …, "value": …}`. Both are
read to (labels, value), those on the outside first. Bounded: only so many values of a document are looked at.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeGuard

from leadcrm.sources.labels import Effort, meaning
from leadcrm.sources.texts import MAX_CHARACTERS, json_in, lines_in, may_hold_more

MAX_LEAVES = 400
MAX_DEPTH = 8

MAX_CONTACT, MIN_DIGITS = 254, 7
_PHONE_BEGINS = frozenset("+(0123456789")

MAX_NAME = 40
"""Longer names of members are no words that are looked for here."""

_LABELS = ("label", "title", "question", "name", "field", "column_name", "column_id", "key", "ref", "id", "type")
_TITLE_NAMES = _LABELS[:4]
_TITLES = frozenset(_TITLE_NAMES)
_VALUES = ("value", "values", "answer", "string_value", "raw_value", "text", "content", "response")
_VALUE_NAMES = frozenset(_VALUES)
_SPELLINGS = {
    **{name.replace("_", ""): name for name in (*_LABELS, *_VALUES)},
    **dict.fromkeys(("fieldlabel", "displaylabel"), "label"),
    **dict.fromkeys(("questiontext", "questiontitle", "questionlabel", "questionname"), "question"),
    **dict.fromkeys(("fieldname", "attributename", "paramname"), "name"),
    **dict.fromkeys(("fieldkey", "fieldcode", "attributekey"), "key"),
    **dict.fromkeys(("fieldid", "questionid"), "id"),
    **dict.fromkeys(("questiontype", "fieldtype"), "type"),
    **dict.fromkeys(("fieldvalue", "attributevalue", "paramvalue", "uservalue"), "value"),
    **dict.fromkeys(("answertext", "answervalue", "useranswer"), "answer"),
}
"""What senders call the members of a pair, without case and `_`."""


def _spellings_of(name: str) -> set[str]:
    words = name.split("_")
    pascal = "".join(map(str.capitalize, words))
    return {
        name,
        name.upper(),
        "".join(words),
        pascal,
        words[0] + pascal[len(words[0]) :],
        " ".join(words).capitalize(),
    }


_SPELLED_VALUES = frozenset().union(
    *map(_spellings_of, _VALUES),
    *map(_spellings_of, ("field_value", "attribute_value", "param_value", "user_value", "answer_text", "answer_value")),
    _spellings_of("user_answer"),
)
"""What a pair has at least one of, in the spellings that there are: so it is quick to see that an object is none."""

_MAX_SPELLED = 12
"""Members of an object that may be a pair whose members are spelled otherwise."""

_MAX_PAIR_MEMBERS = 5
_MAX_CHOICE_MEMBERS = 4
_INNER = frozenset(("value", "full", "text", "raw_value", "formatted", "number"))
"""Members that hold the value of the object around them: `{"phone": {"full": …}}`."""

_CONTACT_MEMBERS = ("normal", "e164", "international", "full", "formatted", "value", "address", "email", "phone")
"""Of an email or a phone in pieces, the member that is the whole, the best first."""

_MARKS_OF_WHOLES = _SPELLED_VALUES.union(_CONTACT_MEMBERS, ("area",))
"""An object without any of these is neither a pair nor a contact in pieces."""

_OTHER_THINGS = frozenset(
    ("form", "page", "site", "campaign", "ad", "adset", "adgroup", "account", "company", "product", "file", "event")
) | {"workspace", "organization", "organisation", "survey", "list", "definition", "meta", "metadata", "owner", "agent"}
"""Objects whose `name` is no person's, unless a contact stands beside it."""

_OTHER_PEOPLE = frozenset(
    (
        "account",
        "admin",
        "agent",
        "assignedto",
        "assigneduser",
        "assignee",
        "business",
        "company",
        "createdby",
        "dealer",
    )
) | {"eventmemberships", "headers", "host", "manager", "operator", "organization", "organisation", "organizer", "owner"}
_OTHER_PEOPLE |= {
    "from",
    "provider",
    "fromfull",
    "recipient",
    "replyto",
    "sender",
    "to",
    "tofull",
    "salesperson",
    "salesrep",
    "seller",
    "shop",
    "staff",
    "store",
    "updatedby",
    "user",
    "vendor",
}
"""Objects that tell whom a lead goes to. They count only where no other contact stands."""

_CONTACTS = frozenset(("email", "Email", "mail", "phone", "Phone", "tel"))

_SUBFIELD = re.compile(r"(?:input_)?(\d+)[._](\d+)")
_NAME_PARTS = {"2": None, "3": "first name", "4": None, "6": "last name", "8": None}
"""Of a name's inputs in Gravity Forms (https://docs.gravityforms.com/field-object); no other field has these alone."""

Leaf = tuple[tuple[str, ...], Any]
"""The labels of a value, the best first, and the value."""


def leaves(document: Any, effort: Effort | None = None) -> list[Leaf]:
    """Return the labelled values of a document, those on the outside first.

    Raises:
        TooLaborious: There are more labels that say what a value within is than there may be.
    """
    return _flat(document) or _walk(document, effort)


def _flat(document: Any) -> list[Leaf] | None:
    """Return the values of an object that holds no other, as most forms are; None of any other document."""
    if type(document) is not dict or len(document) > MAX_LEAVES or not _VALUE_NAMES.isdisjoint(document):
        return None
    found: list[Leaf] = []
    for name, value in document.items():
        kind = type(value)
        if kind is dict or kind is list or (kind is str and may_hold_more(value)):
            return None
        found.append(((name,), value))
    return found


def is_one_lead(items: list[Any]) -> bool:
    """Say whether a list is one lead's names and values, not a lead each."""
    labels: set[str] = set()
    for item in items[:MAX_LEAVES]:
        if type(item) is not dict or len(item) > _MAX_PAIR_MEMBERS:
            return False
        spelled = _spelled(item)
        if not any(name in spelled for name in _VALUES[:4]):
            return False
        labels.update(text for name in _LABELS if type(text := spelled.get(name)) is str)
    return any((meant := meaning(label)) is not None and meant.field in ("email", "phone") for label in labels)


_Waiting = tuple[str, Any, int, bool, bool]
"""A label, an object or a list that it may mean, its depth, whether what stands beside it has given the label, and
whether it is a list's."""


def _walk(document: Any, effort: Effort | None) -> list[Leaf]:
    aside: list[_Waiting] = []
    found = _walked(deque([("", document, 0, False, False)]), aside, effort)
    if aside and not any(is_contact(value) for _, value in found):
        found += _walked(deque(aside), [], effort)
    return found


def _walked(queue: deque[_Waiting], aside: list[_Waiting], effort: Effort | None) -> list[Leaf]:  # noqa: PLR0912 - a line for each shape
    found: list[Leaf] = []
    left, texts_left = MAX_LEAVES, MAX_CHARACTERS
    while queue and left > 0:
        label, value, depth, is_given, is_in_list = queue.popleft()
        kind = type(value)
        if kind is dict:
            if not _MARKS_OF_WHOLES.isdisjoint(value):
                whole = _pair(label, value, is_in_list=is_in_list) or _phone(label, value) or _contact(label, value)
                if whole is not None:
                    found.append(whole)
                    continue
            beside = label if is_given else _label_beside(value, effort)
            may_be_aside = depth > 0 or len(value) > 1
            for name, member in value.items():
                left -= 1
                if left < 0:
                    return found
                member_kind = type(member)
                if member_kind is dict or (member_kind is list and _holds_objects(member)):
                    if depth < MAX_DEPTH:
                        place = aside if may_be_aside and _plain(name) in _OTHER_PEOPLE else queue
                        place.append((beside or name, member, depth + 1, bool(beside), False))
                elif member_kind is str and len(member) <= texts_left and may_hold_more(member):
                    texts_left -= len(member)
                    inner = json_in(member)
                    if inner is None:
                        found.append(((name,), member))
                        inner = lines_in(member, effort)
                    if inner is not None:
                        queue.append((name, inner, depth + 1, False, False))
                elif label and (name in _INNER or (not name.strip("0123456789") and meaning(label, effort))):
                    found.append(((label,), member))
                elif beside and not is_given and name in _LABELS:
                    # It is a label, of what stands within.
                    continue
                elif name != "name" or label.lower() not in _OTHER_THINGS or not _CONTACTS.isdisjoint(value):
                    found.append(((name,), member))
        elif kind is list and depth < MAX_DEPTH:
            inner_values = value[:left]
            left -= len(inner_values)
            for element in inner_values:
                if type(element) is list and len(element) == 2 and _is_text(element[0]) and _is_scalar(element[1]):
                    found.append(((element[0],), element[1]))
                elif type(element) is dict or type(element) is list:
                    queue.append((label, element, depth + 1, is_given, True))
    return found


def _subfield(label: str) -> tuple[str, str] | None:
    return _known_subfield(label) if len(label) <= MAX_NAME else None


@lru_cache(4_096)
def _known_subfield(label: str) -> tuple[str, str] | None:
    part = _SUBFIELD.fullmatch(label)
    return part and (part[1], part[2])


def is_part_of_name(label: str) -> bool:
    """Say whether a label may be the number of a part of a name, as `parts_of_names` reads them."""
    return label[-1:].isdecimal() and _subfield(label) is not None


def parts_of_names(found: Iterable[Leaf]) -> list[Leaf]:
    """Return the parts of names whose inputs have numbers alone, such as `1.3` and `1.6`, under labels that say it."""
    parts: dict[str, dict[str, Any]] = {}
    for labels, value in found:
        if labels[0][-1:].isdecimal() and (part := _subfield(labels[0])):
            whole, number = part
            parts.setdefault(whole, {})[number] = value
    return [
        ((name,), value)
        for values in parts.values()
        if values.keys() <= _NAME_PARTS.keys()
        for number, value in values.items()
        if (name := _NAME_PARTS[number])
    ]


def _label_beside(value: dict[str, Any], effort: Effort | None) -> str:
    """Return the label of what stands within an object, as in `{"name": "Email", "details": {"answer": …}}`, if any."""
    if len(value) > _MAX_PAIR_MEMBERS or _TITLES.isdisjoint(value) or not _CONTACTS.isdisjoint(value):
        return ""
    if not any(type(member) is dict for member in value.values()):
        return ""
    for name in _TITLE_NAMES:
        if _is_text(text := value.get(name)) and meaning(text, effort) is not None:
            return text
    return ""


def _is_text(value: Any) -> TypeGuard[str]:
    return type(value) is str and bool(value)


def _is_scalar(value: Any) -> bool:
    return type(value) is not dict and type(value) is not list


def is_contact(value: Any) -> bool:
    """Say whether a value looks like an email or a phone."""
    if type(value) is not str or len(value) > MAX_CONTACT:
        return False
    if "@" in value:
        return True
    if len(value) < MIN_DIGITS or value.lstrip()[:1] not in _PHONE_BEGINS:
        return False
    digits = sum(map(str.isdigit, value))
    return digits >= MIN_DIGITS and digits * 2 > len(value)


def _plain(name: str) -> str:
    return _known_plain(name) if len(name) <= MAX_NAME else name


@lru_cache(4_096)
def _known_plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _holds_objects(value: list[Any]) -> bool:
    return bool(value) and type(value[0]) in (dict, list)


def _phone(label: str, value: dict[str, Any]) -> Leaf | None:
    """Return a number that is sent in pieces, as Jotform sends it, or None."""
    if type(area := value.get("area")) is str and type(number := value.get("phone")) is str:
        country = value.get("country")
        return (label or "phone",), " ".join(piece for piece in (country, area, number) if type(piece) is str and piece)
    return None


def _contact(label: str, value: dict[str, Any]) -> Leaf | None:
    """Return the whole of an email or a phone in pieces, or None."""
    if not _is_of_contacts(label):
        return None
    for name in _CONTACT_MEMBERS:
        if _is_text(whole := value.get(name)):
            return (label,), whole
    return None


def _is_of_contacts(label: str) -> bool:
    return _plain(label).startswith(("email", "phone", "mobile", "tel"))


def _spelled(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the members of a pair under the names that are used here."""
    spelled: dict[str, Any] = {}
    for name, member in value.items():
        spelled.setdefault(_SPELLINGS.get(_plain(name), name), member)
    return spelled


def _value_name(value: dict[str, Any]) -> str:
    for name in _VALUES:
        if name in value:
            return name
    return ""


def _labels_in(value: dict[str, Any]) -> list[str]:
    """Return the texts of a pair's members that are labels, the best first."""
    return [text for member in _LABELS if member in value and _is_text(text := value[member])]


def _pair(label: str, value: dict[str, Any], *, is_in_list: bool) -> Leaf | None:
    """Return an object's labels and value if it is a pair, else None."""
    if label and len(value) == 1 and type(text := value.get("value")) is str:
        return (label,), text
    if _SPELLED_VALUES.isdisjoint(value):
        return None
    name = _value_name(value)
    has_labels = len(value) > 1 or not name
    labels = _labels_in(value) if name and has_labels else []
    if not labels and has_labels and len(value) <= _MAX_SPELLED:
        value = _spelled(value)
        name = _value_name(value)
        labels = _labels_in(value)
    if not name or not (labels or label):
        return None
    found = value[name]
    if type(found) is not str:
        found = values_within(found)
        if type(found) is dict:
            return None
    if label:
        # A list called `questions` says less than each question, one called `emails` says more than each kind.
        labels.insert(len(labels) if is_in_list and not _is_of_contacts(label) else 0, label)
    return tuple(labels), found


def values_within(found: Any) -> Any:
    """Return a list's values where each is an object with a value, as CRMs send them; else what was found."""
    if type(found) is list and len(found) == 1 and type(found[0]) is str:
        return found[0]
    if type(found) is dict and found and all(name.isdecimal() for name in found):
        # A form's `values[0]`.
        found = list(found.values())
    if (
        type(found) is list
        and found
        and type(found[0]) is dict
        and (name := _value_name(found[0]) or _choice(found[0]))
    ):
        return [element.get(name) if type(element) is dict else element for element in found]
    if type(found) is dict and len(found) <= _MAX_CHOICE_MEMBERS and (name := _choice(found)):
        return found[name]
    return found


def _choice(value: dict[str, Any]) -> str:
    """Return the name of the member that says what was chosen, as of `{"id": 3, "label": "Latvia"}`, if any."""
    is_choice = len(value) <= _MAX_CHOICE_MEMBERS and "id" in value and _is_text(value.get("label"))
    return "label" if is_choice else ""
