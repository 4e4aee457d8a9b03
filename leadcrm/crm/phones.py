"""Phones as people search for them: by their digits, with and without the country, however they are written."""

from __future__ import annotations

import re

from leadcrm.crm.dialects import Dialect

SHORTEST_NUMBER = 7
"""Digits of the shortest number that counts as the same with and without its country."""

LONGEST_NUMBER = 20
"""No number in the world has more than 15 digits; with what is dialled before it, some more."""

MAX_PREFIX = 4
"""Digits by which a number within a text may be longer than the same one: a country, or what is dialled before it."""

_RUN = re.compile(r"[0-9](?:[\s()+./\u00a0\u202f\u2010\u2011\u2013-]*[0-9])*", re.ASCII)

_NO_DIGITS = re.compile("[^0-9]+")

_PHONE = re.compile(r"[\d\s()+./\u00a0\u202f\u2010\u2011\u2013-]*", re.ASCII)


def is_phone(text: str) -> bool:
    """Say whether a text may be a phone or a part of one."""
    return bool(digits_of(text)) and _PHONE.fullmatch(text) is not None


def digits_of(text: str) -> str:
    """Return the digits of a phone, without the zero that some write beside the country: `+44 (0)20`."""
    return re.sub("[^0-9]", "", text.replace("(0)", ""))


def phone_prefixes(q: str) -> tuple[str, ...]:
    """Return how a phone may begin to match a text: as it was typed, and as its digits with and without a plus."""
    if not is_phone(q):
        return (q,)
    digits = digits_of(q).removeprefix("00")
    return tuple(dict.fromkeys((q, digits, f"+{digits}")))


def spellings_of(text: str) -> list[str]:
    """Return the digits of a number, as they are given and as they are dialled otherwise; empty if it is no number."""
    number = digits_of(text).lstrip("0")
    if not SHORTEST_NUMBER <= len(number) <= LONGEST_NUMBER or not is_phone(text):
        return []
    if len(number) == len("89161234567") and number[0] in "78":
        # The one country whose own prefix for long distance takes the place of its code.
        return [number, ("8" if number[0] == "7" else "7") + number[1:]]
    return [number]


def is_same_number(spellings: list[str], text: str) -> bool:
    """Say whether a text is a number, as `same_number` finds it."""
    number = digits_of(text).lstrip("0")
    return len(number) >= SHORTEST_NUMBER and any(
        number.endswith(spelling) or spelling.endswith(number) for spelling in spellings
    )


def has_number(spellings: list[str], text: str) -> bool:
    """Say whether a number stands somewhere in a text, however it is written and whatever stands beside it."""
    end = spellings[0][-SHORTEST_NUMBER:]
    if end not in _NO_DIGITS.sub("", text):
        return False
    for run in _RUN.finditer(text.replace("(0)", "")):
        groups = re.findall("[0-9]+", run[0])
        for start in range(len(groups)):
            number = ""
            for group in groups[start : start + LONGEST_NUMBER]:
                number = (number + group).lstrip("0")
                if len(number) > LONGEST_NUMBER:
                    break
                if number.endswith(end) and _is_one_of(spellings, number):
                    return True
    return False


def _is_one_of(spellings: list[str], number: str) -> bool:
    """Say whether digits from a text are a number. Longer ones with the same end may be an id or a time."""
    return is_same_number(spellings, number) and any(
        abs(len(number) - len(spelling)) <= MAX_PREFIX for spelling in spellings
    )


def same_number(dialect: Dialect, text: str) -> tuple[str, list[str]] | None:
    """Return the condition that a lead has this number, with its values; None where the text is no number.

    One number ends with the other: `26123456` is `+371 26 123 456` and `0037126123456`.
    """
    spellings = spellings_of(text)
    if not spellings:
        return None
    number = spellings[0]
    stored = f"ltrim({dialect.digits}, '0')"
    ends = (
        f"{stored} = ? OR (length({stored}) < length(?) AND substr(?, length(?) - length({stored}) + 1) = {stored}) "
        f"OR (length({stored}) > length(?) AND substr({stored}, length({stored}) - length(?) + 1) = ?)"
    )
    is_same = " OR ".join([ends] * len(spellings))
    # The index finds those with the same end, of which the condition leaves the same numbers.
    condition = f"lead.phone IS NOT NULL AND {dialect.phone_end}{dialect.bytewise} = ? AND ({is_same})"
    return condition, [number[-SHORTEST_NUMBER:], *(spelling for spelling in spellings for _ in range(7))]
