"""Answers as a source's `answers` describes them: a list of pairs, or an object whose members are the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leadcrm.sources.leaves import MAX_JSON, Leaf, json_in, leaves, values_within
from leadcrm.sources.paths import Inputs, Path

MAX_ANSWERS = 400


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
    key: Path
    value: Path
    by: Path
    inner: Path | None = None


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
    keys: Sequence[Path]
    value: Path | None
    titles: Titles | None = None
    options: Path | None = None

    def read(self, found: Any, inputs: Inputs) -> list[Leaf]:
        """Return the labels and the value of each answer in what is at `place`."""
        if type(found) is str and found[:1] in ("{", "[") and len(found) <= MAX_JSON:
            found = json_in(found)
        if type(found) is dict:
            one = Inputs(found)
            if self.value is None or self.value(one) is None or not any(type(key(one)) is str for key in self.keys):
                return list(leaves(found, inputs.effort))
            found = [found]
        if type(found) is not list:
            return []
        if self.value is None:
            return list(leaves(found, inputs.effort))
        titles = self._titles(inputs)
        answers: list[Leaf] = []
        answer, keys, value_of = Inputs(None), self.keys, self.value
        for element in found[:MAX_ANSWERS]:
            answer.document = element
            labels = [label for key in keys if type(label := key(answer)) is str and label]
            if titles and self.titles is not None and (title := titles.get(_hashable(self.titles.by(answer)))):
                labels.insert(0, title)
            if labels:
                value = values_within(value_of(answer))
                answers.append((tuple(labels), value if self.options is None else self._chosen(value, answer)))
        return answers

    def _chosen(self, value: Any, answer: Inputs) -> Any:
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
            question = Inputs(element)
            if inner is not None and type(more := inner(question)) is list:
                elements += more[: MAX_ANSWERS - len(elements)]
            title = self.titles.value(question)
            if type(title) is str and title:
                titles[_hashable(self.titles.key(question))] = title
        return titles


def _hashable(value: Any) -> Any:
    return value if type(value) in (str, int) else None
