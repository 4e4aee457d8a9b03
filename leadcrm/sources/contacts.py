"""Which texts are emails and phones, and which of a document's values reach the lead and nobody else."""

from __future__ import annotations

import re
from typing import Any, TypeGuard

from leadcrm.sources.labels import NAME, Effort, is_of_others, meaning

MAX_CONTACT, MIN_DIGITS, MAX_DIGITS = 254, 7, 15

FIELDS = frozenset(("email", "phone"))
_PERSONS_FIELDS = FIELDS | {NAME, "first_name", "last_name"}

EMAIL = re.compile(r"[^\s@,;<>\"]{1,64}@[^\s@,;<>\"]{1,190}\.[^\s@,;<>\".]{2,24}")
PHONE = re.compile(r"\+?[\d\s().\-/]{6,24}(?:\s*(?:x|ext\.?)\s*\d{1,6})?")
PLUS_PHONE = re.compile(r"\+\d[\d\s().\-/]{6,22}")
_DATE = re.compile(r"\s*(?:\d{4}[-./]\d{1,2}[-./]\d|\d{1,2}[-./]\d{1,2}[-./]\d{4})")
_NUMBERED = re.compile(r"(?:[a-z_]*[_\-.\[])?\d+(?:\.\d+)?\]?")
"""Names such as `3`, `input_3` or `wpforms[fields][2]`, which say nothing about their value."""

_PHONE_BEGINS = frozenset("+(0123456789")
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))


def digits_in(text: str) -> int:
    """Return how many digits a text has."""
    if text.isascii():
        return len(text.encode().translate(None, _NO_DIGITS))
    return sum(map(str.isdigit, text))


def is_contact(value: Any) -> TypeGuard[str]:
    """Say whether a value looks like an email or a phone."""
    if type(value) is not str or len(value) > MAX_CONTACT:
        return False
    if "@" in value:
        return True
    if len(value) < MIN_DIGITS or value.lstrip()[:1] not in _PHONE_BEGINS:
        return False
    digits = digits_in(value)
    return digits >= MIN_DIGITS and digits * 2 > len(value)


def is_sure_contact(value: Any) -> TypeGuard[str]:
    """Say whether a value is an email or a phone, whatever its label says."""
    if type(value) is not str or len(value) > MAX_CONTACT:
        return False
    return bool(EMAIL.fullmatch(value)) if "@" in value else is_phone(PLUS_PHONE, value)


def is_phone(pattern: re.Pattern[str], text: str) -> bool:
    """Say whether a text has a phone's pattern, and as many digits as a phone, and is no date."""
    has_pattern = pattern.fullmatch(text.strip()) and MIN_DIGITS <= digits_in(text) <= MAX_DIGITS
    return bool(has_pattern) and not _DATE.match(text)


def is_numbered(label: str) -> bool:
    """Say whether a label is a number, which says nothing about its value."""
    return (label[-1:].isdecimal() or label.endswith("]")) and _NUMBERED.fullmatch(label.lower()) is not None


def reaches_lead(labels: tuple[str, ...], value: Any, effort: Effort | None) -> bool:
    """Say whether a labelled value is a contact of the lead's own, not a date, an order's number or an agent's email.

    Raises:
        TooLaborious: That is more effort than there may be.
    """
    if type(value) is int:
        value = str(value)
    if not is_contact(value):
        return False
    for label in labels:
        meant = meaning(label, effort)
        if meant is not None and meant.field in FIELDS:
            return True
        if meant is None and is_of_others(label, effort):
            return False
    return is_sure_contact(value) or (is_numbered(labels[-1]) and is_phone(PHONE, value))


def is_about_person(label: str, effort: Effort | None) -> bool:
    """Say whether a label asks who the lead is or how to reach it.

    Raises:
        TooLaborious: That is more effort than there may be.
    """
    meant = meaning(label, effort)
    return meant is not None and meant.field in _PERSONS_FIELDS
