"""Whole names whose surname stands first, as labels such as `ФИО` and `Фамилия Имя` ask for them."""

from __future__ import annotations

from leadcrm.sources.labels import names_surname_first

_MIN_SURNAME, _MAX_WORDS = 5, 4
_SURNAMES = (
    "ов", "ова", "ев", "ева", "ёв", "ёва", "ский", "ская", "цкий", "цкая", "ський", "ська", "енко", "ук", "юк", "дзе",
    "швили"
)  # fmt: skip
_PATRONYMICS = (
    "ович", "евич", "ёвич", "йович", "ьич", "мич", "кич", "овна", "евна", "ёвна", "ївна", "івна", "ична", "оглы",
    "кызы", "улы"
)  # fmt: skip
"""How such words end in the languages of these labels."""

_VIETNAMESE = frozenset((
    "bùi", "đặng", "đinh", "đỗ", "dương", "hồ", "hoàng", "huỳnh", "lê", "lý", "ngô", "nguyễn", "phạm", "phan", "trần",
    "trịnh", "võ", "vũ"
))  # fmt: skip
"""The surnames of nine in ten people in Vietnam, who write them first."""

_FIRST_NAMES = frozenset(("любов",))
"""They end as surnames do."""


def surname_apart(name: str, label: str) -> str:
    """Return a name with a comma behind the surname, if that stands first by its label and nothing tells otherwise."""
    is_first = names_surname_first(label)
    words = name.split() if is_first is not False else []
    if not 2 <= len(words) <= _MAX_WORDS or "," in name:
        return name
    surname, first, *rest = words
    if _is_patronymic(first) or (_is_surname(first) and not _is_surname(surname)):
        return name
    if is_first is None and not (_is_surname(surname) or (rest and _is_patronymic(rest[0]))):
        # People write their first name first where a label has initials alone.
        return name
    return f"{surname}, {' '.join(words[1:])}"


def _is_surname(word: str) -> bool:
    word = word.casefold()
    is_long = len(word) >= _MIN_SURNAME
    return (is_long and word not in _FIRST_NAMES and word.endswith(_SURNAMES)) or word in _VIETNAMESE


def _is_patronymic(word: str) -> bool:
    return word.casefold().endswith(_PATRONYMICS)
