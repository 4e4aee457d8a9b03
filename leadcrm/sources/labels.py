"""Which field of a lead a sender means by a name or a label: `E-mail *`, `your-phone`, `What is your name?`.

`names.toml` lists the usual labels in the languages of the senders that were looked at. A label is looked for there as
a whole, then without the words beside it, then by parts of questions. The result is remembered for each label, so that
a form's labels cost a look-up each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from functools import cache
from html import unescape
from importlib.resources import files
from typing import Any, NamedTuple
from unicodedata import normalize

from leadcrm.configuration.toml import read_toml
from leadcrm.errors import TooLaborious

MAX_LABEL = 160
"""Longer labels are texts, not names."""

MAX_FOLDED = 320

NAME = "name"
"""The pseudo-field of a whole name, which is split into first and last."""

MAX_NEW_LABELS = 60
"""That are looked up while others wait. Forms seldom have more fields."""

MAX_KNOWN = 8_192

ANOTHER = 1500
"""How much less sure `email_2` is than `email_1`, or an alternative phone than `your best number`."""

SURE, BETWEEN_WORDS, PART_OF_QUESTION, AT_WORK = 0, 1000, 2000, 3000
"""The first rank of each kind of meaning; within one, the order of the lists. A contact at work is the least sure."""

_SERVERS = frozenset(("server", "host", "dedicated", "proxy"))
"""Words beside which an IP address is not the lead's."""

_BESIDE_LABEL = re.compile(r"<[^<>]*>|\([^()]*\)|\[[^\[\]]*\]|（[^（）]*）")  # noqa: RUF001 - as Japanese forms write them
_IN_BRACKETS = re.compile(r"[(（]([^()（）]*)[)）]")  # noqa: RUF001
_BETWEEN_PIECES = re.compile(r"[/|\n\u2013\u2014]| - ")
_ID = re.compile(r"(?:[_\- ]|(?<=[a-z])(?=I))(?:id|uuid|hash|key)$", re.IGNORECASE)
"""The end of names such as `messageId`, which tell of a message."""

_FIRST_OF_BOTH = re.compile(r"\b(?:f[oö]r|vor|voor|ees|etu)-", re.IGNORECASE)
"""What is left of the first name where a label asks for both, as `Voor- en achternaam` does."""

_WORDS = re.compile(r"[^\W\d_]+|\d+")
_BESIDE_LETTERS = re.compile(r"[^\w|]|_")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ACCENTS = re.compile("[\u0300-\u036f]+")
_NOT_ALPHANUMERIC = {code: None for code in range(128) if not chr(code).isalnum()}


class Meaning(NamedTuple):
    """A field's column, and how sure it is that a label means it: the lower the rank, the surer."""

    field: str
    rank: int


class Effort:
    """Counts the labels that are met for the first time, each of which takes some hundred times as long as a known one.

    It is for a reading without leisure: `take` raises `TooLaborious` after `MAX_NEW_LABELS`.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_NEW_LABELS

    def take(self) -> None:
        """Count a label.

        Raises:
            TooLaborious: There were too many.
        """
        if self._left == 0:
            raise TooLaborious
        self._left -= 1


def fold(label: str, effort: Effort | None = None) -> str:
    """Return a label without case, accents, blanks and punctuation, as labels are compared."""
    if len(label) > MAX_LABEL:
        # What is remembered is short.
        label = label[:MAX_LABEL]
    folded = _folds.get(label)
    if folded is None:
        if effort is not None:
            effort.take()
        folded = _folded_anew(label)
        _remember(_folds, label, folded)
    return folded


def _folded_anew(label: str) -> str:
    label = _unescaped(label)
    if label.isascii():
        return label.lower().translate(_NOT_ALPHANUMERIC)
    # Some characters stand for a whole sentence.
    return "".join(filter(str.isalnum, normalize("NFKD", label.casefold())[:MAX_FOLDED]))


def _unescaped(label: str) -> str:
    """Return a label without the escaping for a page of HTML, as in `First&nbsp;name`."""
    return unescape(label) if "&" in label and ";" in label else label


def _remember(known: dict[str, Any], label: str, result: Any) -> None:
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[label] = result


_folds: dict[str, str] = {}
_meanings: dict[str, Meaning | None] = {}
_of_others: dict[str, bool] = {}
_rests: dict[str, Meaning | None] = {}
_contacts: dict[str, bool] = {}
_orders: dict[str, bool | None] = {}
_UNKNOWN: Any = object()

KNOWN_MEANINGS: Mapping[str, Meaning | None] = _meanings
KNOWN_FOR_CONTACTS: Mapping[str, bool] = _contacts
"""Of the labels that were met before, for who looks up all labels of a lead and counts microseconds."""


class _Names:
    """The lists of `names.toml`, folded."""

    def __init__(self, lists: Mapping[str, Mapping[str, str]]) -> None:
        self.meanings: dict[str, Meaning] = {}
        for field, labels in lists["names"].items():
            for rank, label in enumerate(_folded(labels)):
                self.meanings.setdefault(label, Meaning(field, rank))
        for field, labels in lists["work"].items():
            for rank, label in enumerate(_folded(labels)):
                self.meanings[label] = Meaning(field, AT_WORK + rank)
        self.other_things = frozenset(_folded(lists["other"]["things"]))
        self.fields_of_parts = tuple(lists["parts"])
        self._parts: dict[str, list[tuple[str, str | None]]] = {}
        """By their first two characters, with the field that they mean, or None if they mean something else."""
        for field, labels in lists["parts"].items():
            self._learn_parts(_folded(labels), field)
        self._learn_parts(self.other_things, None)
        self.beside = frozenset(_folded(lists["other"]["beside"]))
        self.recipients = frozenset(_folded(lists["other"]["recipients"]))
        self.people = self.recipients.union(_folded(lists["other"]["people"]))
        self.surname_first = frozenset(_folded(lists["other"]["surname_first"]))
        self.desks = frozenset(_folded(lists["other"]["desks"]))
        self.never = frozenset(_folded(lists["other"]["never"]))
        self.apart = frozenset(_folded(lists["other"]["apart"]))
        self.another = frozenset(_folded(lists["other"]["another"]))
        self.organizations = frozenset(_folded(lists["other"]["organizations"]))

    def _learn_parts(self, parts: Iterable[str], field: str | None) -> None:
        for part in parts:
            self._parts.setdefault(part[:2], []).append((part, field))

    def fields_of_parts_in(self, folded: str) -> set[str | None]:
        """Return what parts of a label mean, of which None is something else."""
        return {
            field
            for start in {folded[at : at + 2] for at in range(len(folded) - 1)}
            for part, field in self._parts.get(start, ())
            if part in folded
        }

    def is_of_others(self, words: list[str]) -> bool:
        """Say whether a label's words are about somebody else than the lead."""
        if len(words) == 2 and (words[1] == "to" or words[0] in self.desks):
            return True
        return words[:1] == ["to"] or not self.people.isdisjoint(words)

    def without_others(self, words: list[str]) -> list[str]:
        """Return a label's words without those about other people or times."""
        desks = self.desks if len(words) == 2 else ()
        return [
            word for word in words if not (word in self.people or word in self.apart or word == "to" or word in desks)
        ]


def read_names() -> None:
    """Read `names.toml`, so that no request waits some 10 ms for it."""
    _names()


@cache
def _names() -> _Names:
    return _Names(read_toml(files(__package__).joinpath("names.toml").read_text(encoding="utf-8")))


def _folded(labels: str) -> list[str]:
    """Return the labels of a list as `fold` returns each."""
    return _BESIDE_LETTERS.sub("", normalize("NFKD", labels.casefold())).split("|")


def meaning(label: str, effort: Effort | None = None) -> Meaning | None:
    """Return which field a label means, or None.

    Raises:
        TooLaborious: The label is new, and that is more effort than there may be.
    """
    found: Meaning | None = _meanings.get(label, _UNKNOWN)
    if found is not _UNKNOWN:
        return found
    if len(label) > MAX_LABEL:
        return None
    if effort is not None:
        effort.take()
    found = _meaning_anew(label)
    _remember(_meanings, label, found)
    return found


def means_one_of(label: str, fields: Set[str], effort: Effort | None = None) -> bool:
    """Say whether a label means one of some fields.

    Raises:
        TooLaborious: The label is new, and that is more effort than there may be.
    """
    meant = meaning(label, effort)
    return meant is not None and meant.field in fields


def _meaning_anew(label: str) -> Meaning | None:
    label = _unescaped(label)
    names = _names()
    folded = _folded_anew(label)
    found = names.meanings.get(folded)
    if found is None and folded and folded not in names.never and not names.is_of_others(words := words_in(label)):
        found = (
            _between_words(words, folded, names)
            or _after_place(label)
            or _names_together(label, folded, words, names)
            or _in_pieces(label, names)
            or _part_of_question(label, folded, words, names)
        )
    return found


def _between_words(words: list[str], folded: str, names: _Names) -> Meaning | None:
    if "ip" in words and _SERVERS.isdisjoint(words):
        return Meaning("ip", BETWEEN_WORDS)
    core = "".join(
        [word for word in words if word not in names.beside and word not in names.another and not word.isdecimal()]
    )
    found = names.meanings.get(core) if core and core != folded else None
    is_another = any(word in names.another or (word.isdecimal() and word.strip("0") not in ("", "1")) for word in words)
    return found and Meaning(found.field, BETWEEN_WORDS + found.rank + is_another * ANOTHER)


def _names_together(label: str, folded: str, words: list[str], names: _Names) -> Meaning | None:
    """Return the whole name, if a label asks for first and last name at once: `Votre prénom et nom de famille`.

    If it asks in brackets for one of them, as `お名前(姓)` does, return that one.
    """
    for within in _IN_BRACKETS.findall(label):
        found = names.meanings.get(_folded_anew(within))
        if found is not None and found.field in ("first_name", "last_name"):
            return Meaning(found.field, BETWEEN_WORDS)
    fields = {meant.field for word in words if word != "name" and (meant := names.meanings.get(word))}
    is_first = "first_name" in fields or bool(_FIRST_OF_BOTH.search(label))
    if ("last_name" in fields and (is_first or NAME in fields)) or (
        is_first and NAME in fields and not _BETWEEN_PIECES.search(label)
    ):
        return None if None in names.fields_of_parts_in(folded) else Meaning(NAME, BETWEEN_WORDS)
    return None


def _in_pieces(label: str, names: _Names) -> Meaning | None:
    """Return what the first piece of a label means, as of `Vārds / Name` or `Name (as in your passport)`."""
    pieces = _BETWEEN_PIECES.split(_BESIDE_LABEL.sub(" ", label))
    folded_pieces = list(filter(None, map(_folded_anew, pieces)))
    if folded_pieces == [_folded_anew(label)] or any(piece in names.other_things for piece in folded_pieces):
        return None
    for piece in pieces:
        folded = _folded_anew(piece)
        found = names.meanings.get(folded) or _between_words(words_in(piece), folded, names)
        if found is not None and folded not in names.never:
            return Meaning(found.field, max(found.rank, BETWEEN_WORDS))
    return None


def _after_place(label: str) -> Meaning | None:
    """Return what a name means behind the place in which a framework puts it, as in `ctl00$Main$txtName`."""
    place, mark, name = label.replace("$", ":").rpartition(":")
    if not (mark and name) or " " in label:
        return None
    found = meaning(name)
    around = fold(place.rpartition(":")[2]).rstrip("0123456789")
    if found is None or (around != "form" and around in _names().other_things):
        return None
    return Meaning(found.field, max(found.rank, BETWEEN_WORDS))


def is_of_others(label: str, effort: Effort | None = None) -> bool:
    """Say whether a label tells of somebody else than the lead, such as the agent.

    Raises:
        TooLaborious: That is more effort than there may be.
    """
    found = _of_others.get(label)
    if found is None:
        if effort is not None:
            effort.take()
        found = _names().is_of_others(words_in(_unescaped(label[:MAX_LABEL])))
        if len(label) <= MAX_LABEL:
            _remember(_of_others, label, found)
    return found


def is_of_recipient(label: str) -> bool:
    """Say whether a label of others tells of whom a lead goes to: theirs is no contact where nothing else is known."""
    words = words_in(label[:MAX_LABEL])
    return words[:1] == ["to"] or not _names().recipients.isdisjoint(words)


def is_of_organization(label: str) -> bool:
    """Say whether a label tells of a place or a thing with a phone of its own, such as a restaurant or a project."""
    return not _names().organizations.isdisjoint(words_in(label[:MAX_LABEL]))


def names_surname_first(label: str) -> bool | None:
    """Say whether a label of a whole name asks for the surname first; None if it may stand first, as where
    the label has initials.
    """
    found: bool | None = _orders.get(label, _UNKNOWN)
    if found is _UNKNOWN:
        names = _names()
        words = [word for word in words_in(label[:MAX_LABEL]) if word not in names.beside]
        meant = names.meanings.get(words[0]) if words else None
        found = meant is not None and meant.field == "last_name"
        if not names.surname_first.isdisjoint(("".join(words), _folded_anew(label[:MAX_LABEL]))):
            found = None
        if len(label) <= MAX_LABEL:
            _remember(_orders, label, found)
    return found


def meaning_of_rest(label: str, effort: Effort | None = None) -> Meaning | None:
    """Return what a label means without its words about other people and times: of `Partner's phone`, the phone.

    Raises:
        TooLaborious: That is more effort than there may be.
    """
    if len(label) > MAX_LABEL:
        return None
    found: Meaning | None = _rests.get(label, _UNKNOWN)
    if found is _UNKNOWN:
        words = words_in(label)
        rest = _names().without_others(words)
        found = meaning(" ".join(rest), effort) if len(rest) < len(words) else None
        _remember(_rests, label, found)
    return found


def may_ask_for_contact(label: str, effort: Effort | None = None) -> bool:
    """Say whether a label may ask for a contact, be it another's.

    Raises:
        TooLaborious: That is more effort than there may be.
    """
    found = _contacts.get(label)
    if found is None:
        meant = meaning(label, effort) or meaning_of_rest(label, effort)
        found = (meant is not None and meant.field in ("email", "phone")) or is_of_others(label)
        if len(label) <= MAX_LABEL:
            _remember(_contacts, label, found)
    return found


def words_in(label: str) -> list[str]:
    """Return the words of a label, without case and accents."""
    text = _CAMEL.sub(" ", label)
    if not text.isascii():
        text = _ACCENTS.sub("", normalize("NFKD", text)[:MAX_FOLDED])
    return _WORDS.findall(text.casefold())


def _part_of_question(label: str, folded: str, words: list[str], names: _Names) -> Meaning | None:
    fields = names.fields_of_parts_in(folded)
    if not fields and "tel" in words:
        # It is too short to be looked for within words.
        fields.add("phone")
    if not fields or None in fields or not names.apart.isdisjoint(words):
        return None
    if _ID.search(label):
        fields &= {"click_id"}
    rank = PART_OF_QUESTION + (not names.another.isdisjoint(words)) * ANOTHER
    return next((Meaning(field, rank) for field in names.fields_of_parts if field in fields), None)
