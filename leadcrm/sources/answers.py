"""Answers as a source's `answers` describes them: a list of pairs, or an object whose members are the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leadcrm.sources.contacts import Leaf, is_about_person, reaches_lead
from leadcrm.sources.labels import Effort
from leadcrm.sources.leaves import leaves
from leadcrm.sources.paths import Inputs, Path, Within
from leadcrm.sources.texts import MAX_CHARACTERS, json_in
from leadcrm.sources.wholes import values_within

MAX_ANSWERS = 400

MAX_OBJECTS = 8
"""Answers that are looked into."""


@dataclass(frozen=True, slots=True)
class Titles:
    """A list that names the questions apart from their answers, as Typeform's definition does.

    Attributes:
        place: The list.
        key: Within an element, what answers know it by.
        value: Within an element, the title.
        by: Within an answer, the key.
        inner: Within an element, a list of more such elements; None if there is none.
    """

    place: Path
    key: Within
    value: Within
    by: Within
    inner: Within | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """Where answers are, and what of each is its label and its value.

    Attributes:
        place: The list or object.
        keys: Within an answer, its labels, the best first; empty for an object whose members are the answers.
        value: Within an answer, its value.
        titles: More labels.
        options: Within an answer, its choices with `id` and `text`, if its value names them by their ids.
    """

    place: Path
    keys: Sequence[Within]
    value: Within | None
    titles: Titles | None = None
    options: Within | None = None

    def read(self, found: Any, inputs: Inputs) -> list[Leaf]:
        """Return the labels and the value of each answer in what is at `place`."""
        if type(found) is str and found[:1] in ("{", "[") and len(found) <= MAX_CHARACTERS:
            found = json_in(found)
        keys, value_of = self.keys, self.value
        if type(found) is dict:
            if value_of is None or value_of(found) is None or not any(type(key(found)) is str for key in keys):
                return leaves(found, inputs.effort)
            found = [found]
        if type(found) is not list:
            return []
        if value_of is None:
            return leaves(found, inputs.effort)
        titles = self._titles(inputs)
        answers: list[Leaf] = []
        objects: list[tuple[str, dict[str, Any]]] = []
        for answer in found[:MAX_ANSWERS]:
            labels = [label for key in keys if type(label := key(answer)) is str and label]
            if titles and self.titles is not None and (title := titles.get(_hashable(self.titles.by(answer)))):
                labels.insert(0, title)
            if labels:
                value = value_of(answer)
                if type(value) is not str:
                    value = values_within(value)
                answers.append((tuple(labels), value if self.options is None else self._chosen(value, answer)))
                if type(value) is dict:
                    objects.append((labels[0], value))
        return answers + _within(objects[:MAX_OBJECTS], answers, inputs.effort) if objects else answers

    def _chosen(self, value: Any, answer: Any) -> Any:
        """Return the texts of the choices that a value names by their ids."""
        options = self.options(answer) if self.options is not None else None
        if type(options) is not list:
            return value
        texts = {
            _hashable(option.get("id")): option.get("text", option.get("label"))
            for option in options[:MAX_ANSWERS]
            if type(option) is dict
        }
        if type(value) is list:
            return [texts.get(_hashable(chosen), chosen) for chosen in value[:MAX_ANSWERS]]
        return texts.get(_hashable(value), value)

    def _titles(self, inputs: Inputs) -> dict[Any, str]:
        if self.titles is None:
            return {}
        found = self.titles.place(inputs)
        if type(found) is not list:
            return {}
        titles: dict[Any, str] = {}
        inner = self.titles.inner
        elements = list(found[:MAX_ANSWERS])
        for element in elements:
            if inner is not None and type(more := inner(element)) is list:
                elements += more[: MAX_ANSWERS - len(elements)]
            title = self.titles.value(element)
            if type(title) is str and title:
                titles[_hashable(self.titles.key(element))] = title
        return titles


def _within(
    objects: Sequence[tuple[str, dict[str, Any]]], answers: Sequence[Leaf], effort: Effort | None
) -> list[Leaf]:
    """Return what is in answers that are objects, such as a name in pieces.

    A label that does not ask for a person may name a plan or a calendar: its object counts if it holds
    the only contact.
    """
    found: list[Leaf] = []
    aside: list[list[Leaf]] = []
    for label, value in objects:
        within = leaves({label: value}, effort)
        if is_about_person(label, effort):
            found += within
        else:
            aside.append(within)
    if aside and not _hold_contact([*answers, *found], effort):
        for within in aside:
            if _hold_contact(within, effort):
                found += within
    return found


def _hold_contact(found: Sequence[Leaf], effort: Effort | None) -> bool:
    return any(reaches_lead(labels, value, effort) for labels, value in found)


def _hashable(value: Any) -> Any:
    return value if type(value) in (str, int) else None
