"""A source's mapping: from one lead's document to the 14 columns, by constants, paths and labels.

For each column the first that has something counts: the constant of `set`, the paths of `map`, then what the labels
mean. A column that the source itself maps is left to its paths. A mapping never raises: what is not there is NULL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import orjson

from leadcrm.database.entities import FIELD_COLUMNS
from leadcrm.sources.answers import Answers
from leadcrm.sources.labels import BETWEEN_WORDS, NAME, Effort, Meaning, fold, is_of_others, meaning
from leadcrm.sources.leaves import Leaf, leaves
from leadcrm.sources.paths import NUMBERS, Inputs, Path

MAX_JOINED = 100
"""Values of a list that are joined to one text, such as several choices."""

MAX_NAME, MAX_PHONE = 500, 100
"""Longer texts are no names and no phones."""

_EMAIL = re.compile(r"[^\s@,;<>\"]{1,64}@[^\s@,;<>\"]{1,190}\.[^\s@,;<>\".]{2,24}")
_PHONE = re.compile(r"\+?[\d\s().\-/]{6,24}(?:\s*(?:x|ext\.?)\s*\d{1,6})?")
_PLUS_PHONE = re.compile(r"\+\d[\d\s().\-/]{6,22}")
_DATE = re.compile(r"\s*(?:\d{4}[-./]\d{1,2}[-./]\d|\d{1,2}[-./]\d{1,2}[-./]\d{4})")
_NUMBERED = re.compile(r"(?:[a-z_]*[_\-.\[])?\d+(?:\.\d+)?\]?")
"""Names such as `3`, `input_3` or `wpforms[fields][2]`, which say nothing about their value."""

_COUNTRY_CODE = re.compile(r"(?=.*\d)\+?\d{1,4}")

_INDEX_OF_COLUMN = {column: index for index, column in enumerate(FIELD_COLUMNS)}
_EMAIL_INDEX, _PHONE_INDEX = _INDEX_OF_COLUMN["email"], _INDEX_OF_COLUMN["phone"]
IMPLAUSIBLE = 9_000
"""The rank of a value that its label surely means, such as an email that is `-`."""

_PEOPLES_FIELDS = frozenset(("email", "phone", "ip", NAME, "first_name", "last_name"))
_CONTACT_FIELDS = frozenset(("email", "phone"))
_FIRST_INDEX, _LAST_INDEX = _INDEX_OF_COLUMN["first_name"], _INDEX_OF_COLUMN["last_name"]


@dataclass(frozen=True, slots=True)
class LeadMapping:
    """The compiled mapping of a source.

    Attributes:
        constants: By column.
        paths: By the index of the column; None is that of the whole name, which is split.
        own: The columns that are left to their paths, although these find nothing.
        answers: Where the answers are; without any, all of the document's values are looked at.
        names_answers: A path names an answer by its label.
        with_query: The fields of the query string count, where the body has none.
    """

    constants: Mapping[str, str]
    paths: Sequence[tuple[int | None, Path]]
    own: frozenset[str]
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
        columns: list[str | None] = [None] * len(FIELD_COLUMNS)
        name: str | None = None
        for index, path in self.paths:
            value = path(inputs)
            if value is None:
                continue
            text = value or None if type(value) is str else text_of(value, inputs)
            if index is None:
                name = text
            else:
                columns[index] = text
        name = self._fill(columns, name, leaves(inputs.document, inputs.effort) if answers is None else answers, inputs)
        if self.with_query and inputs.query:
            name = self._fill(columns, name, (((label,), text) for label, text in inputs.query.items()), inputs)
        if name:
            _split_name(columns, name, self.own)
        for column, constant in self.constants.items():
            columns[_INDEX_OF_COLUMN[column]] = constant
        return columns

    def _fill(self, columns: list[str | None], name: str | None, found: Iterable[Leaf], inputs: Inputs) -> str | None:
        """Fill the columns that are empty by what the labels mean; return the whole name."""
        effort = inputs.effort
        best: dict[str, tuple[int, Any]] = {}
        unlabelled: list[tuple[str, Any]] = []
        for labels, value in found:
            if not value and type(value) not in NUMBERS:
                continue
            for label in labels:
                if (meant := meaning(label, effort)) and not _is_misled(meant, value):
                    field, rank = meant
                    if name if field == NAME else columns[_INDEX_OF_COLUMN[field]] is not None:
                        # A path has found it.
                        break
                    if (known := best.get(field)) is None or rank < known[0]:
                        text, rank = _likely(field, value, rank, inputs)
                        if text and (known is None or rank < known[0]):
                            best[field] = (rank, text)
                    break
            else:
                unlabelled.append((labels[-1], value))
        for field, (_, text) in best.items():
            if field == NAME:
                name = name or text
            elif field not in self.own and columns[_INDEX_OF_COLUMN[field]] is None:
                columns[_INDEX_OF_COLUMN[field]] = text
        if unlabelled and not (columns[_EMAIL_INDEX] and columns[_PHONE_INDEX]):
            self._recognize(columns, unlabelled, effort)
        return name

    def _recognize(
        self, columns: list[str | None], unlabelled: Sequence[tuple[str, Any]], effort: Effort | None
    ) -> None:
        """Recognize an email and a phone by themselves, where no label says what they are."""
        local: str | None = None
        for label, value in unlabelled:
            if type(value) is not str or len(value) > 254:
                continue
            if not _may_be_contact(value) or is_of_others(label, effort):
                continue
            if columns[_EMAIL_INDEX] is None and "email" not in self.own and _EMAIL.fullmatch(value.strip()):
                columns[_EMAIL_INDEX] = value
            elif columns[_PHONE_INDEX] is None and "phone" not in self.own and "fax" not in label.lower():
                if _is_phone(_PLUS_PHONE, value):
                    columns[_PHONE_INDEX] = value
                elif local is None and _NUMBERED.fullmatch(label.lower()) and _is_phone(_PHONE, value):
                    local = value
        if columns[_PHONE_INDEX] is None:
            # One with a plus is surely a phone; one without may be any number.
            columns[_PHONE_INDEX] = local


def _is_phone(pattern: re.Pattern[str], text: str) -> bool:
    is_phone = pattern.fullmatch(text.strip()) and 7 <= sum(map(str.isdigit, text)) <= 15
    return bool(is_phone) and not _DATE.match(text)


def _may_be_contact(text: str) -> bool:
    return "@" in text or sum(map(str.isdigit, text)) >= 7


def _is_contact(value: Any) -> bool:
    return type(value) is str and len(value) <= 254 and bool(_EMAIL.fullmatch(value) or _is_phone(_PLUS_PHONE, value))


def _is_misled(meant: Meaning, value: Any) -> bool:
    """Say whether a label seems to mean a text, but asks for a contact, as `Send text messages to` does."""
    return meant.rank >= BETWEEN_WORDS and meant.field not in _CONTACT_FIELDS and _is_contact(value)


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
    if kind is list and all(type(element) not in (dict, list) for element in value[:MAX_JOINED]):
        texts = [text for element in value[:MAX_JOINED] if (text := text_of(element, inputs))]
        return ", ".join(texts) or None
    try:
        return orjson.dumps(value).decode() if value else None
    except (TypeError, ValueError):
        return None


def scalar_of(value: Any, inputs: Inputs) -> str | None:
    """Return a scalar's text, or None of anything else."""
    return text_of(value, inputs) if type(value) in (str, int, float, bool) else None


def _likely(field: str, value: Any, rank: int, inputs: Inputs) -> tuple[str | None, int]:
    """Return the text of a value whose label means a field, and how sure it is."""
    text = _plausible(field, value, inputs)
    if text is None and rank < 1 and type(value) is not bool:
        # Better than nothing, where nothing else is found.
        return text_of(value, inputs), IMPLAUSIBLE
    return text, rank


def _plausible(field: str, value: Any, inputs: Inputs) -> str | None:  # noqa: PLR0911 - a line for each field
    """Return the text of a value that may be of the field, or None: labels such as `Email me` name other things too."""
    if (type(value) is bool and field in _PEOPLES_FIELDS) or type(value) is dict:
        return None
    text = text_of(value, inputs)
    if text is None:
        return None
    if field == "email":
        return text if "@" in text else None
    if field == "phone":
        is_number = text.strip()[:1] in "+(0123456789" or "+" in text
        return text if is_number and len(text) <= MAX_PHONE and sum(map(str.isdigit, text)) >= 5 else None
    if field == "ip":
        return text if _is_ip(text) else None
    if field == "country":
        return None if _COUNTRY_CODE.fullmatch(text) else text
    if field in (NAME, "first_name", "last_name"):
        return text if "@" not in text and any(map(str.isalpha, text)) else None
    return text


def _is_ip(text: str) -> bool:
    try:
        return bool(ip_address(text.strip()))
    except ValueError:
        return False


def _split_name(columns: list[str | None], name: str, own: frozenset[str]) -> None:
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
        first = whole.removesuffix(last).strip() or whole
    elif last is None and first is not None:
        whole = " ".join(words)
        last = whole.removeprefix(first).strip() if whole.startswith(f"{first} ") else None
        if last is None and whole != first and " " not in whole:
            # French and others: `nom` beside `prénom` is the last name.
            last = whole
    if "first_name" not in own:
        columns[_FIRST_INDEX] = first
    if "last_name" not in own:
        columns[_LAST_INDEX] = last
