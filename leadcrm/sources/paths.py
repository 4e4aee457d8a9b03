"""Paths into a request: the part of JMESPath's syntax (https://jmespath.org) that can neither loop nor raise.

`name`, `"quoted name"`, `[n]`, `[]` and `||`, and in front of them `query:NAME` and `header:NAME`. A path is compiled
once, into a closure. The `jmespath` library takes nine times as long for a lead, and a tenth of a second for a hostile
body of a mebibyte; it reads the same paths, should somebody need more of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from leadcrm.sources.cleaning import BEFORE_NOTHING, says_nothing
from leadcrm.sources.labels import Effort

MAX_LENGTH = 400
MAX_STEPS = 12
"""The bounds of a path, so that evaluating it takes microseconds."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)+"')
_INDEX = re.compile(r"\[(-?[0-9]{1,6})\]")
_INPUT = re.compile(r"(query|header):([^\s|]+)")
_BLANKS = re.compile(r"[ \t\n]*")

NUMBERS = frozenset((int, bool, float))
"""Of these, nothing is empty."""

Step = str | int | None
"""A member's name, a list's index, or None for `[]`."""

_Steps = list[Step] | tuple[str, str]
"""The steps of one alternative, or the kind and name of an input."""


class Inputs:
    """What paths lead into: one lead's document, the answers in it, and the request's query and headers."""

    __slots__ = ("answers", "document", "effort", "headers", "is_inexact", "is_test", "query")

    def __init__(
        self,
        document: Any,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        effort: Effort | None = None,
    ) -> None:
        self.document = document
        self.query: Mapping[str, Any] = query or {}
        self.headers: Mapping[str, str] = headers or {}
        self.answers: Mapping[str, Any] = {}
        self.effort = effort
        """Bounds the labels that may be looked up; None if nothing does."""
        self.is_inexact = False
        """A number was read whose text may not be the sender's."""
        self.is_test = False
        """A value was read that only a sender's tests have."""


Path = Callable[[Inputs], Any]
"""Returns the value at a path, or None if nothing is there."""

Within = Callable[[Any], Any]
"""The same of a path that begins at a value, such as one of several answers."""


class PathFault(ValueError):  # noqa: N818 - named by the condition
    """A text is no path of this syntax."""


def compile_path(text: str | Sequence[str], fold_label: Callable[[str], str] | None = None) -> Path:
    """Compile a path, or several of which the first that leads to something counts.

    Args:
        text: The path or the paths.
        fold_label: Folds the label in `answers.LABEL` as those of `Inputs.answers` are folded; None where there are no
            answers, so that `answers` is a member like any other.

    Raises:
        PathFault: A text is no path.
    """
    alternatives = _alternatives(text)
    if any(_is_of_inputs(steps, fold_label) for steps in alternatives):
        return _first([_compile(steps, fold_label) for steps in alternatives])
    within = _first_within(alternatives)
    return lambda inputs: within(inputs.document)


def compile_within(text: str | Sequence[str]) -> Within:
    """Compile a path that begins at a value, or several of which the first that leads to something counts.

    Raises:
        PathFault: A text is no path, or one into the query or the headers.
    """
    alternatives = _alternatives(text)
    if any(isinstance(steps, tuple) for steps in alternatives):
        raise PathFault(f"{text!r} leads out of the answers")
    return _first_within(alternatives)


def _alternatives(text: str | Sequence[str]) -> list[_Steps]:
    return [steps for one in ([text] if isinstance(text, str) else text) for steps in _parsed(one)]


def _parsed(text: str) -> Iterator[_Steps]:
    if len(text) > MAX_LENGTH:
        raise PathFault(f"the path is longer than {MAX_LENGTH} characters")
    position = 0
    while True:
        steps, position = _parse(text, position)
        yield steps
        if position == len(text):
            return
        if not text.startswith("||", position):
            raise PathFault(f"{text!r} has no meaning from character {position + 1}")
        position += 2


def _first_within(alternatives: Sequence[_Steps]) -> Within:
    walks: list[Within] = []
    for are_names, group in groupby(alternatives, lambda steps: len(steps) == 1 and isinstance(steps[0], str)):
        if are_names:
            walks.append(_first_member([str(steps[0]) for steps in group]))
        else:
            walks += [_walk(list(steps)) for steps in group]
    return _first(walks)


def _first(alternatives: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Return the path to the first alternative's value that is there."""
    if len(alternatives) == 1:
        return alternatives[0]

    def read(start: Any) -> Any:
        for path in alternatives:
            value = path(start)
            if (value or type(value) in NUMBERS) and not (type(value) is str and says_nothing(value)):
                return value
        return None

    return read


def _first_member(names: Sequence[str]) -> Within:
    """Return the path of `_first` to members of an object, as most alternatives are."""
    if len(names) == 1:
        return _member(names[0])

    def read(value: Any) -> Any:
        if type(value) is dict:
            for name in names:
                member = value.get(name)
                if type(member) is str:
                    if member and not (member[0] in BEFORE_NOTHING and says_nothing(member)):
                        return member
                elif member or type(member) in NUMBERS:
                    return member
        return None

    return read


def names_in(text: str | Sequence[str]) -> set[str]:
    """Return the names of the members and of the query's fields to which a path leads."""
    names: set[str] = set()
    for steps in _alternatives(text):
        kind, last = steps if isinstance(steps, tuple) else ("", steps[-1])
        if isinstance(last, str) and kind != "header":
            names.add(last)
    return names


def headers_in(text: str) -> set[str]:
    """Return the names of the headers that a path reads, in lower case."""
    return {name.lower() for kind, name in _INPUT.findall(text) if kind == "header"}


def _parse(text: str, position: int) -> tuple[_Steps, int]:
    """Return the steps of one alternative, or the kind and name of an input, and the position after its blanks."""
    position = _skip_blanks(text, position)
    if found := _INPUT.match(text, position):
        return (found[1], found[2]), _skip_blanks(text, found.end())
    steps: list[Step] = []
    is_first = True
    while True:
        if text.startswith("[", position) and not (steps and steps[-1] == "."):
            position = _parse_bracket(text, position, steps)
        elif is_first or text.startswith(".", position):
            position = _parse_name(text, position + (not is_first), steps)
        else:
            break
        is_first = False
    if len(steps) > MAX_STEPS:
        raise PathFault(f"{text!r} has more than {MAX_STEPS} steps")
    return steps, _skip_blanks(text, position)


def _parse_bracket(text: str, position: int, steps: list[Step]) -> int:
    if text.startswith("[]", position):
        steps.append(None)
        return position + 2
    if found := _INDEX.match(text, position):
        steps.append(int(found[1]))
        return found.end()
    raise PathFault(f"{text!r} has a bracket that is neither [] nor [number]")


def _parse_name(text: str, position: int, steps: list[Step]) -> int:
    if found := _QUOTED.match(text, position):
        try:
            steps.append(json.loads(found[0]))
        except ValueError:
            raise PathFault(f"{text!r} has a quoted name that is no JSON string") from None
        return found.end()
    if found := _NAME.match(text, position):
        if (after := text[found.end() : found.end() + 1]) and after not in ".[| \t\n":
            raise PathFault(f'{text!r}: a name with {after!r} in it must be quoted, as in "{found[0]}{after}…"')
        steps.append(found[0])
        return found.end()
    raise PathFault(f"{text!r} lacks a name at character {position + 1}; names with other characters must be quoted")


def _skip_blanks(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    return found.end() if found else position


def _is_of_inputs(steps: _Steps, fold_label: Callable[[str], str] | None) -> bool:
    """Say whether a path leads elsewhere than into the document."""
    return isinstance(steps, tuple) or (
        fold_label is not None and steps[0] == "answers" and len(steps) > 1 and isinstance(steps[1], str)
    )


def _compile(steps: _Steps, fold_label: Callable[[str], str] | None) -> Path:
    if isinstance(steps, tuple):
        kind, name = steps
        if kind == "query":
            return lambda inputs: inputs.query.get(name)
        header = name.lower()
        return lambda inputs: inputs.headers.get(header)
    if fold_label is not None and _is_of_inputs(steps, fold_label):
        label = fold_label(str(steps[1]))
        if len(steps) == 2:
            return lambda inputs: inputs.answers.get(label)
        rest = _walk(steps[2:])
        return lambda inputs: rest(inputs.answers.get(label))
    walk = _walk(steps)
    return lambda inputs: walk(inputs.document)


def _member(name: str) -> Within:
    """Return the path to a member of an object, as most are."""

    def read(value: Any) -> Any:
        return value.get(name) if type(value) is dict else None

    return read


def _walk(steps: Sequence[Step]) -> Within:
    """Return the function that follows the steps from a value."""
    if len(steps) == 1 and isinstance(steps[0], str):
        return _member(steps[0])
    if all(isinstance(step, str) for step in steps):
        names = tuple(steps)

        def follow_names(value: Any) -> Any:
            for name in names:
                if type(value) is not dict:
                    return None
                value = value.get(name)
            return value

        return follow_names
    if None in steps:
        # The last one first: what stands before it may be a projection itself, whose lists it flattens.
        last = len(steps) - 1 - steps[::-1].index(None)
        return _project(_walk(steps[:last]), _walk(steps[last + 1 :]))
    fixed = tuple(steps)

    def follow(value: Any) -> Any:
        for step in fixed:
            if type(step) is int:
                if type(value) is not list or not -len(value) <= step < len(value):
                    return None
                value = value[step]
            else:
                if type(value) is not dict:
                    return None
                value = value.get(step)
        return value

    return follow


def _project(before: Within, after: Within) -> Within:
    def flatten(value: Any) -> Any:
        found = before(value)
        if type(found) is not list:
            return None
        results = []
        for element in found:
            for part in element if type(element) is list else (element,):
                result = after(part)
                if result is not None:
                    results.append(result)
        return results

    return flatten
