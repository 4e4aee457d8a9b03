"""Phones as people search for them: by their digits, with and without the country, however they are written."""

from __future__ import annotations

import re

from leadcrm.crm.dialects import Dialect

SHORTEST_NUMBER = 7
"""Digits of the shortest number that counts as the same with and without its country."""

LONGEST_NUMBER = 20
"""No number in the world has more than 15 digits; with what is dialled before it, some more."""

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


def same_number(dialect: Dialect, text: str) -> tuple[str, list[str]] | None:
    """Return the condition that a lead has this number, with its values; None where the text is no number.

    One number ends with the other: `26123456` is `+371 26 123 456` and `0037126123456`.
    """
    number = digits_of(text).lstrip("0")
    if not SHORTEST_NUMBER <= len(number) <= LONGEST_NUMBER or not is_phone(text):
        return None
    spellings = [number]
    if len(number) == len("89161234567") and number[0] in "78":
        # The one country whose own prefix for long distance takes the place of its code.
        spellings.append(("8" if number[0] == "7" else "7") + number[1:])
    stored = f"ltrim({dialect.digits}, '0')"
    ends = (
        f"{stored} = ? OR (length({stored}) < length(?) AND substr(?, length(?) - length({stored}) + 1) = {stored}) "
        f"OR (length({stored}) > length(?) AND substr({stored}, length({stored}) - length(?) + 1) = ?)"
    )
    is_same = " OR ".join([ends] * len(spellings))
    # The index finds those with the same end, of which the condition leaves the same numbers.
    condition = f"lead.phone IS NOT NULL AND {dialect.phone_end}{dialect.bytewise} = ? AND ({is_same})"
    return condition, [number[-SHORTEST_NUMBER:], *(spelling for spelling in spellings for _ in range(7))]
