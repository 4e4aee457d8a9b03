"""Which texts are emails and phones, and which of a document's values reach the lead and nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard
from urllib.parse import unquote

from leadcrm.sources.cleaning import MAX_PHONE, bare_phone, has_scheme, visible
from leadcrm.sources.labels import (
    KNOWN_FOR_CONTACTS,
    NAME,
    Effort,
    is_of_others,
    is_of_recipient,
    may_ask_for_contact,
    meaning,
    meaning_of_rest,
    means_one_of,
)

MAX_CONTACT = 254
MIN_DIGITS, MAX_DIGITS = 7, 15

MIN_ASKED_DIGITS = 5
"""Of a phone whose label asks for one."""

FIELDS = frozenset(("email", "phone"))
PERSONS_FIELDS = FIELDS | {NAME, "first_name", "last_name"}

EMAIL = re.compile(r"[^\s@,;<>\"]{1,64}@[^\s@,;<>\"]{1,190}\.[^\s@,;<>\".]{2,24}")
_EMAIL_OF = re.compile(rf"[^<>]*<\s*{EMAIL.pattern}\s*>")
_BESIDE_EMAIL = re.compile(r"\s*\"?([^<>\"]*[^<>\"\s])\"?\s*<[^<>]*>")
_BETWEEN_EMAILS = re.compile(r"[\s,;]+")
_BETWEEN_PHONES = tuple(map(re.compile, (r"[,;|\n]", r"[,;|\n/]", r"[,;|\n/\s]*(?=\+)")))
"""What stands between numbers, the surest first: a slash may stand within one."""

MIN_SEVERAL = 2 * 7 + 1
"""The fewest characters of two numbers."""
_IN_PHONE = r"[\d\s().\-/\u2010-\u2015\u2212\uff08\uff09\uff0d]"
PHONE = re.compile(rf"[+\uff0b]?{_IN_PHONE}{{6,24}}(?:\s*(?:x|ext\.?)\s*\d{{1,6}})?")
PLUS_PHONE = re.compile(rf"[+\uff0b]\d{_IN_PHONE}{{6,22}}")
_DATE = re.compile(r"\s*(?:\d{4}[-./]\d{1,2}[-./]\d|\d{1,2}[-./]\d{1,2}[-./]\d{4})")
_TIME = re.compile(
    r"(?:\d{1,2}[-./]\d{1,2}[-./]\d\d|\d{1,2}([-./ ])\d{1,2}\1(?:19|20)\d\d|(?:19|20)\d\d([-./ ])\d{1,2}\2\d{1,2})"
    r"(?:[ T]+\d.*)?"
    r"|(?:[01]?\d|2[0-4])[.:]?(?:00|15|30|45)?\s*-\s*(?:[01]?\d|2[0-4])[.:]?(?:00|15|30|45)?"
)
"""Days, and hours such as `9.00 - 17.00`, which answer a question such as `When may we phone?`."""

_NUMBERED = re.compile(r"(?:[a-z_]*[_\-.\[])?\d+(?:\.\d+)?\]?")
"""Names such as `3`, `input_3` or `wpforms[fields][2]`, which say nothing about their value."""

Leaf = tuple[tuple[str, ...], Any]
"""The labels of a value, the best first, and the value."""

_PHONE_BEGINS = frozenset("+\uff0b(0123456789")
_OF_TIME = re.compile(r"\d:\d\d")
_MARK = re.compile(r"[^\W\d_]{1,12} ?[.:]\s*[+\uff0b(\d]")
_ESCAPED_AT = "%40"
_OF_WHATSAPP = ("@c.us", "@g.us", "@s.whatsapp.net")
"""How the addresses of its accounts and groups end, to which nobody can write an email."""
_MAILTO = "mailto:"
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))


def digits_in(text: str) -> int:
    """Return how many digits a text has."""
    if text.isascii():
        return len(text.encode().translate(None, _NO_DIGITS))
    return sum(map(str.isdecimal, text))


def is_contact(value: Any) -> TypeGuard[str]:
    """Say whether a value looks like an email or a phone."""
    if type(value) is not str or len(value) > MAX_CONTACT:
        return False
    if "@" in value:
        return True
    if len(value) < MIN_DIGITS:
        return False
    if value.lstrip()[:1] not in _PHONE_BEGINS:
        if value[0].isalpha() and not has_scheme(value):
            return False
        value = bare_phone(value)
        if not (value[:1] in _PHONE_BEGINS or value[:1].isdecimal()):
            return False
    digits = digits_in(value)
    return digits >= MIN_DIGITS and digits * 2 > len(value)


def is_sure_contact(value: Any) -> TypeGuard[str]:
    """Say whether a value is an email or a phone, whatever its label says."""
    if type(value) is not str or len(value) > MAX_CONTACT:
        return False
    return is_email(value) if "@" in value else is_phone(PLUS_PHONE, value)


def is_email(text: str) -> bool:
    """Say whether a text is an email, and no address of a page that names one or of WhatsApp."""
    return "://" not in text and EMAIL.fullmatch(text.strip()) is not None and not text.endswith(_OF_WHATSAPP)


def is_phone(pattern: re.Pattern[str], text: str) -> bool:
    """Say whether a text has a phone's pattern, and as many digits as a phone, and is no date."""
    text = bare_phone(text)
    has_pattern = pattern.fullmatch(text.strip()) and MIN_DIGITS <= digits_in(text) <= MAX_DIGITS
    return bool(has_pattern) and not _DATE.match(text)


def may_be_asked_phone(text: str) -> bool:
    """Say whether a text may be the phone that its label asks for, with words or marks around it."""
    if len(text) > MAX_PHONE:
        return False
    digits = digits_in(text)
    if (text.strip()[:1] in _PHONE_BEGINS or "+" in text) and digits >= MIN_ASKED_DIGITS:
        return True
    if "@" in text or _OF_TIME.search(text) or _DATE.search(text):
        return False
    if bare_phone(text).isdecimal():
        # Also of a number with an exponent.
        digits = len(bare_phone(text))
    return MIN_ASKED_DIGITS <= digits <= MAX_DIGITS and digits >= sum(map(str.isalpha, text))


def begins_with_word(text: str) -> bool:
    """Say whether a text begins with a word that is no mark of a number, as `tel.` and `mob:` are."""
    text = bare_phone(text.lstrip())
    return text[:1].isalpha() and _MARK.match(text) is None


def bare_email(text: str) -> str:
    """Return an email without what senders put around it; any other text as it is."""
    if text[:1].isalnum() and text[-1:].isalnum() and text.count("@") == 1 and ":" not in text:
        return text
    if len(text) > MAX_CONTACT:
        return text
    bare = visible(text)
    if bare[-1:] == ">" and bare.count("<") == 1:
        # Perhaps behind a name.
        bare = bare[bare.index("<") + 1 : -1].strip()
    if bare[: len(_MAILTO)].lower() == _MAILTO:
        bare = bare[len(_MAILTO) :].partition("?")[0].strip()
    if "@" not in bare and _ESCAPED_AT in bare:
        # A form that was encoded twice.
        bare = unquote(bare)
    elif bare.count("@") > 1 and all(map(EMAIL.fullmatch, emails := _BETWEEN_EMAILS.split(bare))):
        bare = emails[0]
    return bare if EMAIL.fullmatch(bare) else text


def name_beside_email(text: str) -> str:
    """Return the name in front of an email in `<>`, empty if there is none."""
    beside = _BESIDE_EMAIL.fullmatch(text) if len(text) <= MAX_CONTACT else None
    return "" if beside is None or is_contact(beside[1]) else beside[1]


def first_phone(text: str) -> str:
    """Return the first of several whole numbers; any other text as it is."""
    if len(text) > MAX_PHONE:
        return text
    for between in _BETWEEN_PHONES:
        phones = list(filter(None, map(str.strip, between.split(text))))
        if len(phones) > 1 and all(is_phone(PHONE, phone) for phone in phones):
            return phones[0]
    return text


def is_numbered(label: str) -> bool:
    """Say whether a label is a number, which says nothing about its value."""
    return (label[-1:].isdecimal() or label.endswith("]")) and _NUMBERED.fullmatch(label.lower()) is not None


def has_email_at_end(text: str) -> bool:
    """Say whether a text begins with an email, or ends with one in `<>` behind a name."""
    beginning = text.split(" ", 1)[0].rstrip(".,;:")
    return EMAIL.fullmatch(beginning) is not None or _EMAIL_OF.fullmatch(text) is not None


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


def is_asked_contact(labels: tuple[str, ...], value: Any, effort: Effort | None) -> bool:
    """Say whether a value is a contact, and a label asks for one.

    Raises:
        TooLaborious: That is more effort than there may be.
    """
    if not is_contact(str(value) if type(value) is int else value):
        return False
    return any(means_one_of(label, FIELDS, effort) for label in labels)


def is_about_person(label: str, effort: Effort | None) -> bool:
    """Say whether a label asks who the lead is or how to reach it.

    Raises:
        TooLaborious: That is more effort than there may be.
    """
    return means_one_of(label, PERSONS_FIELDS, effort)


def is_asked_phone(label: str, text: str, effort: Effort | None) -> bool:
    """Say whether a text is a phone, and a label asks for one beside a word such as `when`, as a time's does.

    Raises:
        TooLaborious: That is more effort than there may be.
    """
    meant = meaning_of_rest(label, effort)
    return meant is not None and meant.field == "phone" and is_phone(PHONE, text) and not _TIME.fullmatch(text.strip())


def contacts_at_last(found: Sequence[Leaf], effort: Effort | None) -> Iterator[tuple[str, Any, bool]]:
    """Yield what counts where the lead has no contact: the lead's own in words, then others', such as a partner's.

    Each is `email` or `phone`, the value, and whether it is others'.

    Raises:
        TooLaborious: That is more effort than there may be.
    """
    others: list[tuple[str, Any]] = []
    for labels, value in found:
        for label in labels:
            if KNOWN_FOR_CONTACTS.get(label) or (
                label not in KNOWN_FOR_CONTACTS and may_ask_for_contact(label, effort)
            ):
                break
        else:
            if type(value) is not str or value[-1:] != ">":
                continue
        if type(value) is list and value:
            value = value[0]  # noqa: PLW2901 - the first of several
        text = value if type(value) is str else str(value) if type(value) is int else ""
        if len(text) > MAX_CONTACT or not ("@" in text or MIN_DIGITS <= digits_in(text) <= MAX_DIGITS):
            continue
        is_others = any(is_of_others(label, effort) for label in labels)
        field = _field_at_last(labels, text.strip(), effort, is_others=is_others)
        if field and not is_others:
            yield field, value, False
        elif field and not any(map(is_of_recipient, labels)):
            others.append((field, value))
    yield from ((field, value, True) for field, value in others)


def _field_at_last(labels: tuple[str, ...], text: str, effort: Effort | None, *, is_others: bool) -> str:
    is_sure = is_sure_contact(text) if is_others else _EMAIL_OF.fullmatch(text) is not None
    asked = "" if is_sure else _asked_contact(labels, effort)
    if not (is_sure or asked) or "://" in text:
        return ""
    if EMAIL.search(text):
        return "email"
    is_number = is_sure or (asked == "phone" and not _DATE.search(text) and not _TIME.fullmatch(text))
    return "phone" if is_number and len(text) <= MAX_PHONE and "fax" not in labels[0].lower() else ""


def _asked_contact(labels: tuple[str, ...], effort: Effort | None) -> str:
    for label in labels:
        meant = meaning(label, effort) or meaning_of_rest(label, effort)
        if meant is not None:
            return meant.field if meant.field in FIELDS else ""
    return ""
