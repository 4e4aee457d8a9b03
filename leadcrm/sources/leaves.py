"""The labelled values in a document: a form's fields, answers as lists of pairs, objects within objects.

Nearly every sender sends one of these: members named as the fields, or a list of `{"label": …, "value": …}`. Both are
read to (labels, value), those on the outside first. Bounded: only so many values of a document are looked at.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, wraps
from itertools import islice
from typing import Any, TypeVar

from leadcrm.sources.contacts import FIELDS, PERSONS_FIELDS, Leaf, is_about_person, is_contact, reaches_lead
from leadcrm.sources.labels import (
    AT_WORK,
    BETWEEN_WORDS,
    NAME,
    Effort,
    is_of_organization,
    meaning,
    means_one_of,
    words_in,
)
from leadcrm.sources.texts import BEGINNINGS, MAX_CHARACTERS, json_in, lines_in, may_hold_more
from leadcrm.sources.wholes import (
    LABELS,
    MARKS_OF_WHOLES,
    MAX_NAME,
    MAX_PAIR_MEMBERS,
    TITLE_NAMES,
    VALUE_NAMES,
    is_text,
    plain,
    whole,
)

Found = TypeVar("Found")
Other = TypeVar("Other")

MAX_LEAVES = 400
MAX_DEPTH = 8

_TITLES = frozenset(TITLE_NAMES)
_INNER = frozenset(("value", "full", "text", "raw_value", "formatted", "number"))
"""Members that hold the value of the object around them: `{"phone": {"full": …}}`."""

_PERSONS = frozenset((
    "applicant", "application", "attendee", "author", "billing", "buyer", "caller", "candidate", "client", "cliente",
    "consumer", "contact", "contacto", "contato", "customer", "enquirer", "enquiry", "gast", "guest", "individual",
    "inquirer", "inquiry", "interesado", "interessado", "interessent", "invitee", "kandidat", "kandydat", "klient",
    "klients", "kontakt", "kunde", "lead", "me", "member", "participant", "patient", "payer", "people", "person",
    "persona", "prospect", "purchaser", "recipient", "registrant", "registration", "requester", "respondent", "self",
    "sender", "shipping", "student", "submitter", "subscriber", "tenant", "traveler", "traveller", "user", "usuario",
    "visitor", "you", "заявка", "клиент", "клієнт", "контакт", "контакты", "покупатель",
))  # fmt: skip
_CONTAINERS = frozenset((
    "answer", "attribute", "body", "content", "data", "detail", "document", "entry", "field", "info", "information",
    "input", "json", "main", "name", "object", "param", "parameter", "payload", "personal", "post", "profile",
    "properties", "query", "record", "request", "response", "result", "row", "submission", "value", "variable",
))  # fmt: skip
_WHOSE_NAME = _PERSONS | _CONTAINERS
"""The last words of the names of objects whose `name` is somebody's. That of any other, such as a status or a city, is
its own, unless a contact stands beside it."""

_PERHAPS_OTHERS = frozenset(("account", "from", "fromfull", "replyto", "sender", "user"))
_OTHER_PEOPLE = _PERHAPS_OTHERS | frozenset((
    "admin", "advertiser", "advisor", "agency", "agent", "assignedto", "assigneduser", "assignee", "branch", "broker",
    "business", "clinic", "company", "consultant", "createdby", "dealer", "dealership", "department", "doctor",
    "employer", "eventmemberships", "headers", "host", "hotel", "landlord", "manager", "modifiedby", "office",
    "operator", "organisation", "organization", "organizer", "owner", "physician", "portal", "provider", "publisher",
    "realtor", "recipient", "recruiter", "reference", "responsible", "responsibleuser", "restaurant", "salesperson",
    "salesrep", "school", "seller", "shop", "showroom", "staff", "store", "supplier", "teacher", "to", "tofull",
    "updatedby", "vendor"
))  # fmt: skip
"""Objects that tell whom a lead goes to. They count only where no other contact stands, those that may be the lead's
own before the others."""

_LAST_OF_OTHERS = frozenset((
    "advisor", "agence", "agencja", "agency", "agent", "agentas", "agente", "agents", "agentura", "agenzia", "asesor",
    "assignee", "berater", "branch", "broker", "conseiller", "consulente", "consultor", "corretor", "darbinieks",
    "dealer", "doradca", "employee", "imobiliaria", "inmobiliaria", "makler", "manager", "office", "operator", "owner",
    "recruiter", "rekruter", "rep", "seller", "vadybininkas", "vendedor", "vendeur", "venditore", "verkaufer",
    "агент", "агентство", "менеджер", "оператор", "офис", "продавец", "рекрутер", "сотрудник", "филиал"
))  # fmt: skip
"""The last words of names of such objects without accents, as of `listing_agent`."""

_LABELS_APART = frozenset((
    "columns", "fieldLabels", "fieldNames", "field_labels", "field_names", "fields", "header", "headers", "keys",
    "labels", "names", "questions", "titles"
))  # fmt: skip
"""Members that hold the labels of what stands in another, by the same keys or in the same order."""

_MAX_BESIDE_LABELS, _MAX_LABELS_APART = 12, 100
"""Members that are looked at for such labels, and labels."""

_TEXT, _OF_TEXT = "text", "text body"
"""A member that holds a message where a contact stands beside it, and its label then: `text` is a field's type too."""

_OF_THINGS = frozenset(("name", "description"))
_REQUESTS = frozenset(("case", "issue", "problem", "ticket"))
"""Objects whose description is what the lead writes, while their name is a title."""

_CONTACTS = frozenset(("email", "Email", "mail", "phone", "Phone", "tel"))

_WITH_NAME = PERSONS_FIELDS - {NAME}
"""Fields that stand beside somebody's name."""

_OF_WRITERS = PERSONS_FIELDS | {"description"}
_PLACE_AND_NAME = re.compile(r"(.+[_\-.:\[ ])([^\W\d_]+)\]?")
"""The name of a form's place or of the form in front of a field's, as in `popup_phone`."""

_SUBFIELD = re.compile(r"(?:input_)?(\d+)[._](\d+)")
_NAME_PARTS = {"2": None, "3": "first name", "4": None, "6": "last name", "8": None}
"""Of a name's inputs in Gravity Forms (https://docs.gravityforms.com/field-object); no other field has these alone."""


def _remembered(otherwise: Other) -> Callable[[Callable[[str], Found]], Callable[[str], Found | Other]]:
    """Remember what a function says of names, which come again and again; of a long one it says `otherwise`."""

    def remembered(function: Callable[[str], Found]) -> Callable[[str], Found | Other]:
        known = lru_cache(4_096)(function)
        return wraps(function)(lambda name: known(name) if len(name) <= MAX_NAME else otherwise)

    return remembered


def leaves(document: Any, effort: Effort | None = None) -> list[Leaf]:
    """Return the labelled values of a document, those on the outside first.

    Raises:
        TooLaborious: There are more labels that say what a value within is than there may be.
    """
    return _flat(document) or _walk(document, effort)


def _flat(document: Any) -> list[Leaf] | None:
    """Return the values of an object that holds no other, as most forms are; None of any other document."""
    if type(document) is not dict or len(document) > MAX_LEAVES or not VALUE_NAMES.isdisjoint(document):
        return None
    found: list[Leaf] = []
    for name, value in document.items():
        kind = type(value)
        if kind is str:
            if (value[:1] in BEGINNINGS or "\n" in value) and may_hold_more(value):
                return None
        elif kind is dict or kind is list:
            return None
        found.append(((name,), value))
    return found


_Waiting = tuple[str, Any, int, bool, bool]
"""A label, an object or a list that it may mean, its depth, whether what stands beside it has given the label, and
whether it is a list's."""


def _walk(document: Any, effort: Effort | None) -> list[Leaf]:
    aside: list[_Waiting] = []
    found = _walked(deque([("", document, 0, False, False)]), aside, effort)
    if aside:
        perhaps = [waiting for waiting in aside if plain(waiting[0]) in _PERHAPS_OTHERS]
        surely = [waiting for waiting in aside if plain(waiting[0]) not in _PERHAPS_OTHERS]
        for others in (perhaps, surely):
            if others and not any(reaches_lead(labels, value, effort) for labels, value in found):
                found += _walked(deque(others), [], effort)
    return found


def _walked(queue: deque[_Waiting], aside: list[_Waiting], effort: Effort | None) -> list[Leaf]:  # noqa: PLR0912 - a line for each shape
    found: list[Leaf] = []
    left, texts_left = MAX_LEAVES, MAX_CHARACTERS
    while queue and left > 0:
        label, value, depth, is_given, is_in_list = queue.popleft()
        kind = type(value)
        if kind is dict:
            if label and len(value) == 1 and type(text := value.get("value")) is str:
                found.append(((label,), text))
                continue
            if not MARKS_OF_WHOLES.isdisjoint(value):
                leaf = whole(label, value, effort, is_in_list=is_in_list)
                if leaf is not None:
                    found.append(leaf)
                    continue
            if not _LABELS_APART.isdisjoint(value):
                found += _labelled_apart(value, effort)
            beside = label if is_given else _label_beside(value, effort)
            may_be_aside = depth > 0 or len(value) > 1
            for name, member in value.items():
                left -= 1
                if left < 0:
                    return found
                member_kind = type(member)
                if member_kind is list and len(member) == 1 and type(member[0]) is str:
                    member, member_kind = member[0], str  # noqa: PLW2901 - a list of one is that one
                if member_kind is dict or (member_kind is list and _holds_objects(member)):
                    if depth < MAX_DEPTH:
                        place = aside if may_be_aside and _tells_of_others(name) else queue
                        place.append((beside or name, member, depth + 1, bool(beside), False))
                elif (
                    member_kind is str
                    and (member[:1] in BEGINNINGS or "\n" in member)
                    and len(member) <= texts_left
                    and may_hold_more(member)
                ):
                    texts_left -= len(member)
                    inner = json_in(member)
                    if inner is None:
                        found.append(((_OF_TEXT if _is_message(name, label, value, effort) else name,), member))
                        inner = lines_in(member, effort)
                    if inner is not None:
                        queue.append((name, inner, depth + 1, False, False))
                elif _is_message(name, label, value, effort) and not is_contact(member):
                    found.append(((_OF_TEXT,), member))
                elif label and (name in _INNER or (not name.strip("0123456789") and meaning(label, effort))):
                    found.append(((label,), member))
                elif beside and not is_given and name in LABELS:
                    # It is a label, of what stands within.
                    continue
                elif named := _label_of(name, label, value, effort, is_given=is_given):
                    found.append(((named,), member))
        elif kind is list and depth < MAX_DEPTH:
            inner_values = value[:left]
            left -= len(inner_values)
            for element in inner_values:
                if type(element) is list and len(element) == 2 and is_text(element[0]) and _is_scalar(element[1]):
                    found.append(((element[0],), element[1]))
                elif type(element) is dict or type(element) is list:
                    queue.append((label, element, depth + 1, is_given, True))
    return found


@_remembered(None)
def _subfield(label: str) -> tuple[str, str] | None:
    part = _SUBFIELD.fullmatch(label)
    return part and (part[1], part[2])


def is_part_of_name(label: str) -> bool:
    """Say whether a label that ends with a digit is the number of a part, as `parts_of_names` reads them."""
    return _subfield(label) is not None


def parts_of_names(found: Iterable[Leaf]) -> list[Leaf]:
    """Return the parts of names whose inputs have numbers alone, such as `1.3` and `1.6`, under labels that say it."""
    parts: dict[str, dict[str, Any]] = {}
    for labels, value in found:
        if labels[0][-1:].isdecimal() and (part := _subfield(labels[0])):
            field, number = part
            parts.setdefault(field, {})[number] = value
    return [
        ((name,), value)
        for values in parts.values()
        if values.keys() <= _NAME_PARTS.keys()
        for number, value in values.items()
        if (name := _NAME_PARTS[number])
    ]


def labels_alike(found: Sequence[Leaf], effort: Effort | None) -> list[Leaf]:
    """Return the values whose labels begin as a contact's does, such as `popup_name` beside `popup_phone`, under what
    follows there, if that says who the lead is or what it writes.
    """
    beginnings = {beginning for labels, _ in found if (beginning := _beginning(labels[0], effort))}
    alike: list[Leaf] = []
    for labels, value in found if beginnings else ():
        beginning, rest = _parted(labels[0])
        if beginning in beginnings and meaning(labels[0], effort) is None and _means(rest, _OF_WRITERS, effort):
            alike.append(((rest,), value))
    return alike


def _beginning(label: str, effort: Effort | None) -> str:
    """Return what stands in front of the word for a contact in a label of the lead's own, if any."""
    beginning, rest = _parted(label)
    if not beginning or (meant := meaning(label, effort)) is None or meant.rank >= AT_WORK:
        return ""
    return beginning if _means(rest, FIELDS, effort) and not is_of_organization(beginning) else ""


@_remembered(("", ""))
def _parted(label: str) -> tuple[str, str]:
    """Return a label's beginning, with the mark behind it, and its last word; two empty texts if it has no such."""
    parts = _PLACE_AND_NAME.fullmatch(label)
    return (parts[1], parts[2]) if parts else ("", "")


def _means(word: str, fields: frozenset[str], effort: Effort | None) -> bool:
    """Say whether a word alone surely means one of some fields."""
    meant = meaning(word, effort)
    return meant is not None and meant.rank < BETWEEN_WORDS and meant.field in fields


def _label_beside(value: dict[str, Any], effort: Effort | None) -> str:
    """Return the label of what stands within an object, as in `{"name": "Email", "details": {"answer": …}}`, if any."""
    if len(value) > MAX_PAIR_MEMBERS or _TITLES.isdisjoint(value) or not _CONTACTS.isdisjoint(value):
        return ""
    if not any(type(member) is dict for member in value.values()):
        return ""
    for name in TITLE_NAMES:
        if is_text(text := value.get(name)) and meaning(text, effort) is not None:
            return text
    return ""


def _labelled_apart(value: dict[str, Any], effort: Effort | None) -> list[Leaf]:
    """Return the values of a member whose labels stand in another: `{"headers": ["Name", …], "row": ["Anna", …]}`."""
    members = list(islice(value.items(), _MAX_BESIDE_LABELS))
    for name, labels in members:
        if name not in _LABELS_APART or type(labels) not in (dict, list) or len(labels) > _MAX_LABELS_APART:
            continue
        for other, values in members:
            if other != name and type(values) is type(labels):
                pairs = _pairs_of(labels, values)
                if _are_labelled(pairs, effort):
                    return [((label,), scalar) for label, scalar in pairs]
    return []


def _pairs_of(labels: Any, values: Any) -> list[tuple[Any, Any]]:
    if type(labels) is list:
        return list(zip(labels, values, strict=True)) if len(labels) == len(values) else []
    return [(labels[key], values[key]) for key in labels if key in values] if values.keys() <= labels.keys() else []


def _are_labelled(pairs: list[tuple[Any, Any]], effort: Effort | None) -> bool:
    """Say whether all are a label and a scalar, and one is a contact and its label asks for one."""
    return all(is_text(label) and not is_contact(label) and _is_scalar(scalar) for label, scalar in pairs) and any(
        is_contact(scalar) and means_one_of(label, FIELDS, effort) for label, scalar in pairs
    )


def _label_of(name: str, label: str, value: dict[str, Any], effort: Effort | None, *, is_given: bool) -> str:
    """Return the label of a member of an object with a label; an empty one for the name of a thing that no lead has."""
    if label[:3].lower() == "utm" and name[:3].lower() != "utm":
        return f"utm_{name}"
    if name not in _OF_THINGS or not label or is_given or _is_persons(label, value, effort):
        return name
    if name == "description" and plain(label) in _REQUESTS:
        return name
    return label if name == "name" and _has_name(label, effort) else ""


def _is_persons(label: str, value: dict[str, Any], effort: Effort | None) -> bool:
    """Say whether the name within an object is somebody's: by the object's own name, or by what stands beside it."""
    return _tells_of_person(label) or any(
        means_one_of(name, _WITH_NAME, effort) for name, member in islice(value.items(), MAX_LEAVES) if member
    )


def _is_message(name: str, label: str, value: dict[str, Any], effort: Effort | None) -> bool:
    """Say whether a member is somebody's message, called text: a contact or a name stands beside it."""
    return (
        name == _TEXT
        and meaning(label, effort) is None
        and any(is_about_person(beside, effort) for beside, member in islice(value.items(), MAX_LEAVES) if member)
    )


@_remembered(False)
def _tells_of_others(name: str) -> bool:
    words = [word for word in words_in(name) if word not in ("data", "details", "info")]
    return plain(name) in _OTHER_PEOPLE or not _LAST_OF_OTHERS.isdisjoint(words[-1:])


@_remembered(False)
def _tells_of_person(label: str) -> bool:
    words = words_in(label)
    last = words[-1] if words else ""
    # Without words it is the number of an element.
    return not words or last.isdecimal() or last in _WHOSE_NAME or (last[-1:] == "s" and last[:-1] in _WHOSE_NAME)


def _has_name(label: str, effort: Effort | None) -> bool:
    """Say whether a lead has the name of a thing that is called so, such as its country's or its campaign's."""
    meant = meaning(label, effort)
    return meant is not None and meant.field not in PERSONS_FIELDS


def _is_scalar(value: Any) -> bool:
    return type(value) is not dict and type(value) is not list


def _holds_objects(value: list[Any]) -> bool:
    return bool(value) and type(value[0]) in (dict, list)
