"""Objects that are one value: pairs such as `{"label": …, "value": …}`, choices, and emails and phones in pieces."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from typing import Any, TypeGuard

from leadcrm.sources.contacts import MIN_ASKED_DIGITS, PERSONS_FIELDS, Leaf, digits_in, is_about_person, is_contact
from leadcrm.sources.labels import KNOWN_MEANINGS, Effort, is_of_others, meaning

MAX_NAME = 40
"""Longer names of members are no words that are looked for here."""

LABELS = (
    "label", "title", "question", "name", "field", "column_name", "column_id", "caption", "prompt", "heading",
    "placeholder", "key", "slug", "code", "ref", "id", "type"
)  # fmt: skip
TITLE_NAMES = LABELS[:4]
VALUES = ("value", "values", "answer", "string_value", "raw_value", "text", "content", "response")
VALUE_NAMES = frozenset(VALUES)
_SPELLINGS = {
    **{name.replace("_", ""): name for name in (*LABELS, *VALUES)},
    **dict.fromkeys(("fieldlabel", "displaylabel"), "label"),
    **dict.fromkeys(("questiontext", "questiontitle", "questionlabel", "questionname"), "question"),
    **dict.fromkeys(("fieldname", "attributename", "attribute", "paramname"), "name"),
    **dict.fromkeys(("fieldkey", "fieldcode", "attributekey"), "key"),
    **dict.fromkeys(("fieldid", "questionid"), "id"),
    **dict.fromkeys(("questiontype", "fieldtype"), "type"),
    **dict.fromkeys(("fieldvalue", "attributevalue", "paramvalue", "uservalue"), "value"),
    **dict.fromkeys(("answertext", "answervalue", "useranswer"), "answer"),
}
"""What senders call the members of a pair, without case and `_`."""


PAIR_NAMES = frozenset((*LABELS, *VALUES))


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
        " ".join(words).title(),
    }


_SPELLED_VALUES = frozenset().union(
    *map(_spellings_of, VALUES),
    *map(_spellings_of, ("field_value", "attribute_value", "param_value", "user_value", "answer_text", "answer_value")),
    _spellings_of("user_answer"),
)
"""What a pair has at least one of, in the spellings that there are: so it is quick to see that an object is none."""

_MAX_SPELLED = 12
"""Members of an object that may be a pair whose members are spelled otherwise."""

_SHORT_PAIRS = (("q", "a"), ("k", "v"))
_OF_QUESTIONS = ("label", "title", "text", "name", "question", "slug", "key")
"""Members of a question that is an object, the best first."""

MAX_PAIR_MEMBERS = 5
_MAX_BESIDE = 60
"""Members of an object that are looked at for what they mean, where one of them might be the value of a pair."""
_MAX_CHOICE_MEMBERS = 4
_CONTACT_MEMBERS = ("normal", "e164", "international", "full", "formatted", "value", "address", "email", "phone")
"""Of an email or a phone in pieces, the member that is the whole, the best first."""

_PHONE_PIECES = ("country", "countrycode", "area", "areacode", "prefix", "line", "number", "phone")
"""The members of a phone in pieces, without case and blanks, in their order; it ends with one of the last three."""

_AREAS = _spellings_of("area") | _spellings_of("area_code")
"""Of which it has one."""

_DIAL_CODES = (
    "countrycallingcode", "callingcode", "dialcode", "dialingcode", "countrydialcode", "countrycode", "phonecode",
    "isdcode", "code", "prefix", "country"
)  # fmt: skip
_NUMBERS = ("number", "phonenumber", "nationalnumber", "national", "localnumber", "phone", "value")
"""The members of a phone whose country's code stands apart, without case and blanks, the surest first."""

_CODE_NAMES = frozenset().union(
    *map(_spellings_of, ("country_calling_code", "calling_code", "dial_code", "dialing_code", "country_dial_code")),
    *map(_spellings_of, ("country_code", "phone_code", "isd_code", "code", "prefix", "country")),
)
_NUMBER_NAMES = frozenset().union(*map(_spellings_of, ("number", "phone_number", "national_number", "local_number")))
_NUMBER_NAMES |= {"phone", "national", "value"}
"""Of both it has one, in the spellings that there are."""

DIAL_CODE_LABELS = frozenset().union(
    *map(_spellings_of, ("country_calling_code", "calling_code", "dial_code", "dialing_code", "country_dial_code")),
    *map(_spellings_of, ("country_code", "phone_code", "isd_code", "prefix", "phone_prefix", "phone_country_code")),
    *map(_spellings_of, ("tel_prefix", "telephone_prefix", "mobile_prefix", "mobile_code", "phone_dial_code")),
    *map(_spellings_of, ("country_phone_code", "mobile_country_code", "phone_number_prefix")),
)
"""Labels of a code beside a phone that is no object. The code of a country may be its letters: `dial_code` tells."""

_MIN_NATIONAL, _MIN_NATIONAL_OF_LARGE = 8, 10
"""Digits of a number without its country's code, which is short for the large countries."""

_PHONE_MEMBERS = frozenset((
    *_DIAL_CODES, *_NUMBERS, "iso", "iso2", "countryiso", "countryiso2", "countryname", "type", "kind", "extension",
    "ext", "valid", "isvalid", "verified", "primary", "isprimary"
))  # fmt: skip
"""An object with any other member is more than a phone."""

_DIAL_CODE = re.compile(r"(?:\+|00)?[1-9][0-9]{0,3}")
_MAX_PHONE_MEMBERS = 12

MARKS_OF_WHOLES = _SPELLED_VALUES.union(_CONTACT_MEMBERS, _AREAS, _NUMBER_NAMES, ("q", "k"))
"""An object without any of these is neither a pair nor a contact in pieces."""


def whole(label: str, value: dict[str, Any], effort: Effort | None, *, is_in_list: bool) -> Leaf | None:
    """Return an object's labels and value if it is a pair or a contact in pieces, else None.

    Raises:
        TooLaborious: There are more labels than there may be.
    """
    return (
        _phone_with_code(label, value)
        or _pair(label, value, effort, is_in_list=is_in_list)
        or _phone_in_parts(label, value)
        or _contact(label, value)
    )


def is_text(value: Any) -> TypeGuard[str]:
    """Say whether a value is a text that is not empty."""
    return type(value) is str and bool(value)


def plain(name: str) -> str:
    """Return a member's name without case, `_`, `-` and blanks."""
    return _known_plain(name) if len(name) <= MAX_NAME else name


@lru_cache(4_096)
def _known_plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _phone_with_code(label: str, value: dict[str, Any]) -> Leaf | None:
    """Return a phone whose country's code stands beside it, with the code in front, or None."""
    if _CODE_NAMES.isdisjoint(value) or _NUMBER_NAMES.isdisjoint(value):
        return None
    if not label or len(value) > _MAX_PHONE_MEMBERS:
        return None
    pieces = {plain(name): str(member) for name, member in value.items() if member and type(member) in (str, int)}
    if not pieces.keys() <= _PHONE_MEMBERS:
        return None
    code = next((code for name in _DIAL_CODES if (code := dial_code(pieces.get(name)))), "")
    name, number = next(((name, text) for name in _NUMBERS if (text := pieces.get(name, "").strip())), ("", ""))
    digits = digits_in(number)
    if not code or "@" in number or digits < MIN_ASKED_DIGITS or digits * 2 < len(number):
        return None
    labels = (label, "phone") if name.startswith("phone") else (label,)
    return labels, with_dial_code(code, number)


def dial_code(value: Any) -> str:
    """Return the code of a country, as it is dialled; empty if a value is none."""
    code = str(value).strip() if type(value) in (str, int) else ""
    return code if _DIAL_CODE.fullmatch(code) else ""


def with_dial_code(code: str, number: str) -> str:
    """Return a number with its country's code in front, which it may have already."""
    is_whole = number.startswith(("+", "00")) or _begins_with_code(number, code.lstrip("+0"))
    return number if is_whole else f"{code} {number}"


def _begins_with_code(number: str, code: str) -> bool:
    """Say whether a number has its country's code already, and does not just begin like it."""
    is_long = digits_in(number) - len(code) >= (_MIN_NATIONAL if len(code) > 2 else _MIN_NATIONAL_OF_LARGE)
    return is_long and number.startswith(code)


def phone_in_pieces(label: str, value: dict[str, Any]) -> Leaf | None:
    """Return a number that is sent in pieces, or None."""
    return _phone_with_code(label, value) or _phone_in_parts(label, value)


def _phone_in_parts(label: str, value: dict[str, Any]) -> Leaf | None:
    """Return a number that is sent as Jotform and Squarespace send it, with its area or as a whole, or None."""
    if not _AREAS.isdisjoint(value) and not any(name in value for name in _CONTACT_MEMBERS[:5]):
        pieces = {plain(name): member for name, member in value.items()}
        if any(is_text(pieces.get(name)) for name in _PHONE_PIECES[-3:]):
            return (label or "phone",), " ".join(filter(is_text, map(pieces.get, _PHONE_PIECES)))
    elif len(value) == 1 and not KNOWN_MEANINGS.get(label) and is_contact(full := value.get("full")):
        # Jotform's phone, also where the question's first words, which name it, do not tell.
        return None if "@" in full or is_of_others(label) else ((label, "phone"), full)
    return None


def _contact(label: str, value: dict[str, Any]) -> Leaf | None:
    """Return the whole of an email or a phone in pieces, or None."""
    if not _is_of_contacts(label):
        return None
    for name in _CONTACT_MEMBERS:
        if is_text(text := value.get(name)):
            return (label,), text
    return None


def _is_of_contacts(label: str) -> bool:
    return plain(label).startswith(("email", "phone", "mobile", "tel"))


def spelled(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the members of a pair under the names that are used here."""
    under_names: dict[str, Any] = {}
    for name, member in value.items():
        under_names.setdefault(_SPELLINGS.get(plain(name), name), member)
    return under_names


def _value_name(value: dict[str, Any]) -> str:
    for name in VALUES:
        if name in value:
            return name
    return ""


def _labels_in(value: dict[str, Any]) -> list[str]:
    """Return the texts of a pair's members that are labels, the best first."""
    texts: list[str] = []
    for member in LABELS:
        if member in value:
            text = value[member]
            if type(text) is dict:
                text = next((text[name] for name in _OF_QUESTIONS if is_text(text.get(name))), None)
            if is_text(text):
                texts.append(text)
    return texts


def _pair(label: str, value: dict[str, Any], effort: Effort | None, *, is_in_list: bool) -> Leaf | None:
    """Return an object's labels and value if it is a pair, else None."""
    members = value
    if _SPELLED_VALUES.isdisjoint(value):
        return _short_pair(value, effort)
    name = _value_name(value)
    has_labels = len(value) > 1 or not name
    labels = _labels_in(value) if name and has_labels else []
    if not labels and has_labels and len(value) <= _MAX_SPELLED:
        value = spelled(value)
        name = _value_name(value)
        labels = _labels_in(value)
    if not name or not (labels or label):
        return None
    is_document = not (label or is_in_list)
    if is_document and all(meaning(text, effort) is None for text in labels):
        # A whole document is somebody's name and message sooner than a question and an answer.
        return None
    if not members.keys() <= PAIR_NAMES:
        most = _MAX_BESIDE if is_in_list else 0 if is_document else 1
        if _is_record(members, effort, most=most):
            return None
    found = value[name]
    if type(found) is not str:
        found = _text_within(values_within(found))
        if type(found) is dict:
            return None
    if label:
        # A list called `questions` says nothing of each question, one called `emails` says more than each kind.
        if not is_in_list or _is_of_contacts(label):
            labels.insert(0, label)
        elif not any(is_text(value.get(name)) for name in TITLE_NAMES):
            labels.append(label)
    return tuple(labels), found


def _short_pair(value: dict[str, Any], effort: Effort | None) -> Leaf | None:
    """Return the label and value of a pair whose members have a letter each, or None."""
    for key, of in _SHORT_PAIRS:
        if key in value and of in value:
            label = value[key]
            is_pair = is_text(label) and not _is_record(value, effort, most=1)
            return ((label,), values_within(value[of])) if is_pair else None
    return None


def _text_within(found: Any) -> Any:
    """Return the text of an answer that is an object with nothing else but what tells of the answer."""
    if type(found) is dict and found.keys() <= PAIR_NAMES and is_text(text := found.get(_value_name(found))):
        return text
    return found


def _is_record(value: dict[str, Any], effort: Effort | None, *, most: int) -> bool:
    """Say whether an object tells of somebody, so that its `text` or `value` is one member among others.

    It does if a member beside those of a pair means a contact or a name, or if more than `most` mean anything.
    """
    meant_beside = 0
    for name, member in islice(value.items(), _MAX_BESIDE):
        if not member or plain(name) in _SPELLINGS:
            continue
        if type(member) is dict:
            if any(is_about_person(inner, effort) for inner in islice(member, 10)):
                return True
        elif type(member) is not list and (meant := meaning(name, effort)) is not None:
            if meant.field in PERSONS_FIELDS:
                return True
            meant_beside += 1
    return meant_beside > most


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
        values = [element.get(name) if type(element) is dict else element for element in found]
        return values[0] if len(values) == 1 and type(values[0]) is str else values
    if type(found) is dict and len(found) <= _MAX_CHOICE_MEMBERS and (name := _choice(found)):
        return found[name]
    return found


def _choice(value: dict[str, Any]) -> str:
    """Return the name of the member that says what was chosen, as of `{"id": 3, "label": "Latvia"}`, if any."""
    is_choice = len(value) <= _MAX_CHOICE_MEMBERS and "id" in value and is_text(value.get("label"))
    return "label" if is_choice else ""
