"""Which field of a lead a sender means by a name or a label: `E-mail *`, `your-phone`, `What is your name?`.

`names.toml` lists the usual labels in the languages of the senders that were looked at. A label is looked for there as
a whole, then without the words beside it, then by parts of questions. The result is remembered for each label, so that
a form's labels cost a look-up each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple
from unicodedata import normalize

from leadcrm.sources.toml import read_toml

MAX_LABEL = 160
"""Longer labels are texts, not names."""

NAME = "name"
"""The pseudo-field of a whole name, which is split into first and last."""

SURE, BETWEEN_WORDS, PART_OF_QUESTION = 0, 1000, 2000
"""The first rank of each kind of meaning; within one, the order of the lists."""

_WORDS = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Meaning(NamedTuple):
    """A field's column, and how sure it is that a label means it: the lower the rank, the surer."""

    field: str
    rank: int


@lru_cache(4096)
def fold(label: str) -> str:
    """Return a label without case, accents, blanks and punctuation, as labels are compared."""
    return "".join(filter(str.isalnum, normalize("NFKD", label[:MAX_LABEL].casefold())))


class _Names:
    """The lists of `names.toml`, folded."""

    def __init__(self, lists: Mapping[str, Mapping[str, str]]) -> None:
        self.meanings: dict[str, Meaning] = {}
        for field, labels in lists["names"].items():
            for rank, label in enumerate(labels.split("|")):
                self.meanings.setdefault(fold(label), Meaning(field, rank))
        self.parts = [(field, _folded(labels)) for field, labels in lists["parts"].items()]
        self.other_things = _folded(lists["other"]["things"])
        self.beside = frozenset(_folded(lists["other"]["beside"]))
        self.never = frozenset(_folded(lists["other"]["never"]))


@cache
def _names() -> _Names:
    return _Names(read_toml(files(__package__).joinpath("names.toml").read_text(encoding="utf-8")))


def _folded(labels: str) -> list[str]:
    return [fold(label) for label in labels.split("|")]


@lru_cache(8192)
def meaning(label: str) -> Meaning | None:
    """Return which field a label means, or None."""
    if len(label) > MAX_LABEL:
        return None
    names = _names()
    folded = fold(label)
    found = names.meanings.get(folded)
    if found is None and folded and folded not in names.never:
        found = _between_words(label, folded, names) or _part_of_question(folded, names)
    return found


def _between_words(label: str, folded: str, names: _Names) -> Meaning | None:
    words = [word for word in map(fold, _WORDS.findall(_CAMEL.sub(" ", label))) if word]
    core = "".join(word for word in words if word not in names.beside and not word.isdecimal())
    found = names.meanings.get(core) if core and core != folded else None
    return found and Meaning(found.field, BETWEEN_WORDS + found.rank)


def _part_of_question(folded: str, names: _Names) -> Meaning | None:
    if any(part in folded for part in names.other_things):
        return None
    for field, parts in names.parts:
        if any(part in folded for part in parts):
            return Meaning(field, PART_OF_QUESTION)
    return None
