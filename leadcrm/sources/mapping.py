"""A source's mapping: from one lead's document to the 14 columns, by constants, paths and labels.

For each column the first that has something counts: the constant of `set`, the paths of `map`, then what the labels
mean. A column that the source itself maps is left to its paths. A mapping never raises: what is not there is NULL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from leadcrm.database.entities import FIELD_COLUMNS
from leadcrm.sources.answers import Answers
from leadcrm.sources.cleaning import (
    BEFORE_NOTHING,
    MAX_PHONE,
    bare_ip,
    bare_phone,
    has_scheme,
    is_ip,
    is_of_test,
    says_nothing,
)
from leadcrm.sources.contacts import (
    EMAIL,
    MAX_CONTACT,
    MIN_DIGITS,
    MIN_SEVERAL,
    PHONE,
    PLUS_PHONE,
    Leaf,
    bare_email,
    begins_with_word,
    contacts_at_last,
    digits_in,
    first_phone,
    has_email_at_end,
    is_asked_phone,
    is_email,
    is_numbered,
    is_phone,
    is_sure_contact,
    may_be_asked_phone,
    name_beside_email,
)
from leadcrm.sources.fullnames import surname_apart
from leadcrm.sources.labels import (
    BETWEEN_WORDS,
    KNOWN_MEANINGS,
    NAME,
    PART_OF_QUESTION,
    Effort,
    Meaning,
    fold,
    is_of_others,
    meaning,
)
from leadcrm.sources.leaves import is_part_of_name, labels_alike, leaves, parts_of_names
from leadcrm.sources.paths import NUMBERS, Inputs, Path
from leadcrm.sources.wholes import DIAL_CODE_LABELS, dial_code, phone_in_pieces, with_dial_code

MAX_JOINED = 100
"""Values of a list that are joined to one text, such as several choices."""

MAX_NAME = 500
"""Longer texts are no names."""

MAX_BLANKS_OF_EMAIL = 4
"""Beside an address a name may stand, but a text with more is one that tells of an address, as consents do."""

_TURKISH = ("soyad", "soyisim", "eposta", "telefonnumara", "ceptel")
"""How labels begin that only Turkish and Azerbaijani forms have."""

_MIN_END = 6
"""Digits at the end of two phones by which they are the same."""

_MAX_TRUNK = 2
"""Digits in front of a phone that are not dialled from abroad: `0`, `8` or `06`."""

_COUNTRY_CODE = re.compile(r"(?=.*\d)\+?\d{1,4}")

INDEX_OF_COLUMN = {column: index for index, column in enumerate((*FIELD_COLUMNS, NAME))}
"""The whole name, which is split, has a place behind the columns until then."""

_FIELDS = tuple(INDEX_OF_COLUMN)
_EMAIL_INDEX, _PHONE_INDEX = INDEX_OF_COLUMN["email"], INDEX_OF_COLUMN["phone"]
BY_ANOTHER_LABEL = 1_500
"""How much less sure a type is, such as `email`, than a question that is understood."""

IMPLAUSIBLE = 9_000
"""The rank of a value that its label surely means, such as an email that is `-`."""

_SURE_LABELS = {NAME: 8}
"""How many of a field's labels surely mean it, where it is not the first alone."""

_PEOPLES_FIELDS = frozenset(("email", "phone", "ip", NAME, "first_name", "last_name"))
_CONTACT_FIELDS = frozenset(("email", "phone"))
_CONTACT_INDICES = frozenset((_EMAIL_INDEX, _PHONE_INDEX))
_PEOPLES_INDICES = frozenset(map(INDEX_OF_COLUMN.__getitem__, _PEOPLES_FIELDS))
_FIRST_INDEX, _LAST_INDEX = INDEX_OF_COLUMN["first_name"], INDEX_OF_COLUMN["last_name"]
_NAME_FIELDS = frozenset((NAME, "first_name", "last_name"))
_NAME_INDEX, _IP_INDEX = INDEX_OF_COLUMN[NAME], INDEX_OF_COLUMN["ip"]
_NAME_INDICES = (_FIRST_INDEX, _LAST_INDEX, _NAME_INDEX)

_WHOLES = ("e164", "international", "full", "formatted", "normal", "phone", "number", "email", "address", "text", "raw")
_WHOLE_NAMES = ("full", "full_name", "fullName", "formatted", "name", "text")
"""Of an object that a path leads to, the members that may be the whole, the best first."""


@dataclass(frozen=True, slots=True)
class LeadMapping:
    """The compiled mapping of a source.

    Attributes:
        constants: By the index of the column.
        paths: By the index of the column, or of the whole name.
        claims: The indices of the columns to which paths lead, by the names of the members there.
        own: The indices of the columns that are left to their paths, although these find nothing.
        answers: Where the answers are; without any, all of the document's values are looked at.
        names_answers: A path names an answer by its label.
        with_query: The fields of the query string count, where the body has none.
    """

    constants: Sequence[tuple[int, str]]
    paths: Sequence[tuple[int, Path]]
    claims: Mapping[str, Sequence[int]]
    own: frozenset[int]
    answers: Sequence[Answers]
    names_answers: bool
    with_query: bool

    def read_answers(self, inputs: Inputs) -> list[Leaf] | None:
        """Find the answers, which paths may then name, and return them; None if there is no place for answers."""
        places = [(rule, place) for rule in self.answers if (place := rule.place(inputs)) is not None]
        if not places:
            return None
        found: list[Leaf] = []
        for rule, place in places:
            found += rule.read(place, inputs)
        if self.names_answers:
            by_label: dict[str, Any] = {}
            for labels, value in found:
                for label in labels:
                    by_label.setdefault(fold(label, inputs.effort), value)
            inputs.answers = by_label
        return found

    def columns(self, inputs: Inputs, answers: Sequence[Leaf] | None) -> list[str | None]:
        """Return the columns of a lead, in the order of `FIELD_COLUMNS`.

        Args:
            inputs: What its paths lead into.
            answers: The labelled values; None to look at all values of the document.
        """
        columns: list[str | None] = [None] * len(INDEX_OF_COLUMN)
        for index, path in self.paths:
            value = path(inputs)
            if value is not None:
                text = value if type(value) is str else _text_at(index, value, inputs)
                columns[index] = None if not text or (text[0] in BEFORE_NOTHING and says_nothing(text)) else text
        if self.paths:
            self._mend(columns)
        found = leaves(inputs.document, inputs.effort) if answers is None else answers
        self._fill(columns, found, inputs)
        if self.with_query and inputs.query:
            asked: list[Leaf] = []
            for label, value in inputs.query.items():
                is_text = type(value) is str and value[:1] not in ("{", "[")
                asked += [((label,), value)] if is_text else leaves({label: value}, inputs.effort)
            self._fill(columns, asked, inputs)
            found = [*found, *asked]
        is_nameless = columns[-1] is None and columns[_FIRST_INDEX] is None and columns[_LAST_INDEX] is None
        if is_nameless and (alike := labels_alike(found, inputs.effort)):
            self._fill(columns, alike, inputs)
        if _says_nothing(columns[_EMAIL_INDEX]) and _says_nothing(columns[_PHONE_INDEX]):
            self._fill_at_last(columns, found, inputs)
        email, phone = columns[_EMAIL_INDEX], columns[_PHONE_INDEX]
        if email and (bare := bare_email(email)) is not email:
            columns[_EMAIL_INDEX] = bare
            self._take_name_beside(columns, email)
        if phone:
            phone = bare_phone(phone) or phone
            columns[_PHONE_INDEX] = _with_country_code(phone if len(phone) < MIN_SEVERAL else first_phone(phone), found)
        if name := columns.pop():
            _split_name(columns, name, self.own)
        for index, constant in self.constants:
            columns[index] = constant
        return columns

    def _fill(self, columns: list[str | None], found: Sequence[Leaf], inputs: Inputs) -> None:  # noqa: PLR0912 - in one pass
        """Fill the columns that are empty by what the labels mean."""
        effort, own, claims = inputs.effort, self.own, self.claims
        ranks: dict[int, int] = {}
        unlabelled: list[Leaf] = []
        may_be_parts = False
        for labels, value in found:
            if not value and type(value) not in NUMBERS:
                continue
            if type(value) is str and value[0] in BEFORE_NOTHING and says_nothing(value):
                inputs.is_test = inputs.is_test or is_of_test(value)
                continue
            less_sure = 0
            for label in labels:
                try:
                    meant = KNOWN_MEANINGS[label]
                except KeyError:
                    meant = meaning(label, effort)
                if meant is None or (meant.rank >= BETWEEN_WORDS and _is_misled(meant, value)):
                    if len(labels) > 1 and is_of_others(label, effort):
                        break
                    less_sure = BY_ANOTHER_LABEL
                    continue
                field, rank = meant
                if field == "creo" and label.lower() == "ad" and _are_turkish(found, effort):
                    field, rank = NAME, 0
                rank += less_sure
                index = INDEX_OF_COLUMN[field]
                if label in claims and _is_used(columns, claims[label], index, value):
                    break
                known = ranks.get(index)
                if (columns[index] is None if known is None else rank < known) and index not in own:
                    text = value if type(value) is str and _PLAUSIBLE[field](value) else None
                    if text is None:
                        text, rank = _likely(field, value, rank, inputs)
                    if text and (known is None or rank < known):
                        columns[index] = surname_apart(text, label) if field == NAME else text
                        ranks[index] = rank
                    elif not text and field in _PEOPLES_FIELDS:
                        # Perhaps a way to reach somebody, although not what was asked for.
                        unlabelled.append((labels, value))
                break
            else:
                unlabelled.append((labels, value))
                may_be_parts = may_be_parts or (labels[0][-1:].isdecimal() and is_part_of_name(labels[0]))
        if may_be_parts:
            self._fill(columns, parts_of_names(found), inputs)
        if unlabelled and not (columns[_EMAIL_INDEX] and columns[_PHONE_INDEX]):
            self._recognize(columns, unlabelled, effort)

    def _fill_at_last(self, columns: list[str | None], found: Sequence[Leaf], inputs: Inputs) -> None:
        """Take the lead's contact in words, or else somebody else's: a lead whom nobody can reach is lost."""
        is_others: bool | None = None
        for field, value, is_anothers in contacts_at_last(found, inputs.effort):
            index = INDEX_OF_COLUMN[field]
            if _says_nothing(columns[index]) and index not in self.own and is_others in (None, is_anothers):
                columns[index], is_others = scalar_of(value, inputs), is_anothers

    def _mend(self, columns: list[str | None]) -> None:
        """Mend what paths have led to: a contact as a name, an email as a phone or a phone as an email, ports."""
        for index in _NAME_INDICES:
            text = columns[index]
            if text and index not in self.own and not _may_be_name(text) and _is_contact(text):
                columns[index] = None
        if (text := columns[_IP_INDEX]) and not text.replace(".", "").isdecimal():
            columns[_IP_INDEX] = bare_ip(text)
        email, phone = columns[_EMAIL_INDEX], columns[_PHONE_INDEX]
        if not (email or phone) or not self.own.isdisjoint(_CONTACT_INDICES):
            return
        if phone and _is_other_contact("phone", phone):
            columns[_PHONE_INDEX] = None
            columns[_EMAIL_INDEX] = email if email and "@" in email else phone
        if email and _is_other_contact("email", email):
            columns[_PHONE_INDEX] = columns[_PHONE_INDEX] or email
            columns[_EMAIL_INDEX] = None if columns[_EMAIL_INDEX] == email else columns[_EMAIL_INDEX]

    def _take_name_beside(self, columns: list[str | None], email: str) -> None:
        """Take the name in front of an email, where no other came."""
        if not any(columns[index] or index in self.own for index in _NAME_INDICES):
            columns[_NAME_INDEX] = name_beside_email(email) or None

    def _recognize(self, columns: list[str | None], unlabelled: Sequence[Leaf], effort: Effort | None) -> None:
        """Recognize an email and a phone by themselves, where no label says what they are."""
        local: str | None = None
        takes_email = columns[_EMAIL_INDEX] is None and _EMAIL_INDEX not in self.own
        takes_phone = columns[_PHONE_INDEX] is None and _PHONE_INDEX not in self.own
        for labels, value in unlabelled:
            if type(value) is int and takes_phone and is_asked_phone(labels[0], str(value), effort):
                value = str(value)  # noqa: PLW2901 - a phone that is sent as a number
            if type(value) is not str or len(value) > 254:
                continue
            label = labels[-1]
            if "@" in value:
                if takes_email and is_email(value) and not is_of_others(label, effort):
                    columns[_EMAIL_INDEX] = value
                    takes_email = False
            elif takes_phone and (not value[0].isalpha() or has_scheme(value)):
                has_plus = "+" in value and is_phone(PLUS_PHONE, value)
                if not (has_plus or (local is None and _is_local(labels, value, effort))):
                    continue
                if "fax" in label.lower() or is_of_others(label, effort):
                    continue
                if has_plus:
                    columns[_PHONE_INDEX] = value
                    takes_phone = False
                else:
                    local = value
        if takes_phone:
            # One with a plus is surely a phone; one without may be any number.
            columns[_PHONE_INDEX] = local


def _are_turkish(found: Sequence[Leaf], effort: Effort | None) -> bool:
    """Say whether labels are those of a Turkish form, where `ad` asks for the name."""
    return any(fold(label, effort).startswith(_TURKISH) for labels, _ in found for label in labels)


def _is_used(columns: Sequence[str | None], indices: Sequence[int], index: int, value: Any) -> bool:
    """Say whether a path has put a member's value into another column, and it is no contact."""
    if index in indices or index in (_EMAIL_INDEX, _PHONE_INDEX) or type(value) is dict:
        return False
    return any(columns[used] is not None and columns[used] == str(value) for used in indices)


def _is_local(labels: tuple[str, ...], text: str, effort: Effort | None) -> bool:
    meant = KNOWN_MEANINGS.get(labels[0])
    # In place of an email or a name, nobody writes a number that is none of a phone.
    is_in_place = meant is not None and meant.field in _PEOPLES_FIELDS
    return is_phone(PHONE, text) if is_in_place or is_numbered(labels[-1]) else is_asked_phone(labels[0], text, effort)


def _says_nothing(contact: str | None) -> bool:
    """Say whether there is no contact: `n/a` is none."""
    return contact is None or (len(contact) < MIN_DIGITS and "@" not in contact and not digits_in(contact))


def _with_country_code(phone: str, found: Sequence[Leaf]) -> str:
    """Return the same phone with its country's code, if another value has it: scripts of forms send both."""
    if "+" in phone or not phone.isascii():
        return phone
    digits = phone if phone.isdecimal() else "".join(filter(str.isdecimal, phone))
    if len(digits) < _MIN_END:
        return phone
    end, code = digits[-max(_MIN_END, len(digits) - _MAX_TRUNK) :], ""
    for labels, value in found:
        if type(value) is str and "+" in value and len(value) <= MAX_PHONE and is_phone(PLUS_PHONE, value):
            whole = bare_phone(value)
            if "".join(filter(str.isdecimal, whole)).endswith(end):
                return whole
        if labels[0] in DIAL_CODE_LABELS:
            code = code or dial_code(value)
    return with_dial_code(code, phone) if code else phone


def _is_misled(meant: Meaning, value: Any) -> bool:
    """Say whether words of a label seem to mean another value than this.

    They may mean a text and ask for a contact, as `Send text messages to` does, or ask for a thing, as `Which phone
    system do you have?` does.
    """
    if meant.field in _CONTACT_FIELDS:
        is_words = meant.field == "phone" and meant.rank >= PART_OF_QUESTION and type(value) is str
        return is_words and "+" not in value and begins_with_word(value)
    return is_sure_contact(value)


def text_of(value: Any, inputs: Inputs) -> str | None:  # noqa: PLR0911 - a line for each type
    """Return a value as a column's text: a list's scalars joined, an object's JSON; None if it is empty."""
    kind = type(value)
    if kind is str:
        return value or None
    if value is None:
        return None
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value)
    if kind is float:
        inputs.is_inexact = True
        return repr(value)
    if kind is list and len(value) == 1 and type(value[0]) is str:
        return value[0] or None
    if kind is list and all(type(element) not in (dict, list) for element in value[:MAX_JOINED]):
        texts = [
            text for element in value[:MAX_JOINED] if (text := text_of(element, inputs)) and not says_nothing(text)
        ]
        return ", ".join(texts) or None
    try:
        return orjson.dumps(value).decode() if value else None
    except (TypeError, ValueError):
        return None


def _text_at(index: int, value: Any, inputs: Inputs) -> str | None:
    """Return the text of a path's value. No object is a name or a contact, but it may hold one, as HubSpot's do."""
    if index not in _PEOPLES_INDICES:
        return text_of(value, inputs)
    if type(value) is list and value and type(value[0]) is dict:
        value = value[0]
    if type(value) is not dict:
        return text_of(value, inputs)
    if text := scalar_of(value.get("value"), inputs):
        return text
    field = _FIELDS[index]
    pieces = phone_in_pieces("phone", value) if field == "phone" else None
    for found in (pieces and pieces[1], *map(value.get, _WHOLES if field in _CONTACT_FIELDS else _WHOLE_NAMES)):
        text = scalar_of(found, inputs)
        if text and field != "ip" and _PLAUSIBLE[field](text):
            return text
    # An ugly contact is better than none.
    text = text_of(value, inputs) if field in _CONTACT_FIELDS and "value" not in value else None
    return text if text and ("@" in text if field == "email" else digits_in(text) >= MIN_DIGITS) else None


def scalar_of(value: Any, inputs: Inputs) -> str | None:
    """Return a scalar's text, or None of anything else."""
    return text_of(value, inputs) if type(value) in (str, int, float, bool) else None


def _likely(field: str, value: Any, rank: int, inputs: Inputs) -> tuple[str | None, int]:
    """Return the text of a value whose label means a field, and how sure it is: `Email me` names other things too."""
    if type(value) is not dict and not (type(value) is bool and field in _PEOPLES_FIELDS):
        text = text_of(value, inputs)
        if text is not None and _PLAUSIBLE[field](text):
            return text, rank
        if text is not None and _is_else(field, text):
            return None, rank
        if text is not None and field == "ip":
            return bare_ip(text), rank
    if (
        rank < _SURE_LABELS.get(field, 1)
        and type(value) is not bool
        and not (type(value) is dict and field in _PEOPLES_FIELDS)
    ):
        # Better than nothing, where nothing else is found.
        return text_of(value, inputs), IMPLAUSIBLE
    return None, rank


def _may_be_email_with_words(text: str) -> bool:
    text = text.strip()
    return text.count(" ") <= MAX_BLANKS_OF_EMAIL or (len(text) <= MAX_CONTACT and has_email_at_end(text))


def _is_else(field: str, text: str) -> bool:
    """Say whether a text that is implausible in a field is a contact, which another field takes."""
    return _is_contact(text) if field in _NAME_FIELDS else field in _CONTACT_FIELDS and _is_other_contact(field, text)


def _is_contact(text: str) -> bool:
    return EMAIL.fullmatch(bare_email(text)) is not None or is_phone(PHONE, text)


def _is_other_contact(field: str, text: str) -> bool:
    """Say whether a text is surely no email but a phone, or no phone but an email."""
    if ("@" in text) is (field == "email"):
        return False
    return is_phone(PHONE, text) if field == "email" else EMAIL.fullmatch(bare_email(text)) is not None


def _may_be_name(text: str) -> bool:
    return text.isalpha() or ("@" not in text and any(map(str.isalpha, text)))


_PLAUSIBLE: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(INDEX_OF_COLUMN, len),
    "email": lambda text: (
        (" " not in text or _may_be_email_with_words(text)) if "@" in text else "@" in bare_email(text)
    ),
    "phone": may_be_asked_phone,
    "ip": is_ip,
    "country": lambda text: text.isalpha() or not _COUNTRY_CODE.fullmatch(text),
    **dict.fromkeys((NAME, "first_name", "last_name"), _may_be_name),
}
"""By field, whether a text may be one; of most fields it is enough that there is a text."""


def _split_name(columns: list[str | None], name: str, own: frozenset[int]) -> None:
    """Fill first and last name by a whole name, which may be a first name alone if there is a last name."""
    words = name.split() if len(name) <= MAX_NAME else [name]
    if not words:
        return
    first, last = columns[_FIRST_INDEX], columns[_LAST_INDEX]
    if first is None and last is None:
        if name.count(",") == 1 and (parts := [part.strip() for part in name.split(",")]) and all(parts):
            last, first = parts
        else:
            first, last = words[0], " ".join(words[1:]) or None
    elif first is None and last is not None:
        whole = " ".join(words)
        is_behind = whole.startswith((f"{last} ", f"{last},"))
        first = (whole.removeprefix(last) if is_behind else whole.removesuffix(last)).strip(" ,") or whole
    elif last is None and first is not None:
        whole = " ".join(words)
        last = whole.removeprefix(first).strip() if whole.startswith(f"{first} ") else None
        if last is None and whole.endswith(f", {first}"):
            last = whole.removesuffix(f", {first}")
        if last is None and whole != first and " " not in whole:
            # French and others: `nom` beside `prénom` is the last name.
            last = whole
    if _FIRST_INDEX not in own:
        columns[_FIRST_INDEX] = first
    if _LAST_INDEX not in own:
        columns[_LAST_INDEX] = last
