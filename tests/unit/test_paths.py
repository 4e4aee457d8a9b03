"""Paths: JMESPath's syntax for names, indexes, `[]` and `||`, which never raise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadcrm.sources.labels import fold
from leadcrm.sources.paths import Inputs, PathFault, compile_path

DOCUMENT = {
    "a": {"b": [{"c": 1}, {"c": 2}, {"d": 3}]},
    "empty": "",
    "your-name": "Una",
    "lists": [[1, 2], [3], 4],
    "entry": [{"changes": [{"value": 1}, {"value": 2}]}, {"changes": [{"value": 3}]}],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b[0].c", 1),
        ("a.b[-1].d", 3),
        ("a.b[9].c", None),
        ("a.b[].c", [1, 2]),
        ("a.b.c", None),
        ("lists[]", [1, 2, 3, 4]),
        ("entry[].changes[].value", [1, 2, 3]),
        ('"your-name"', "Una"),
        ("empty || missing || a.b[0].c", 1),
        ("empty", ""),
        ("missing.more[3].still", None),
        ("query:gclid", "g"),
        ("header:X-Event", "e"),
        ("missing || header:x-event", "e"),
        ('answers."Your e-mail *"', "una@example.com"),
    ],
)
def test_a_path_leads_to_its_value_or_to_none(path: str, value: object) -> None:
    inputs = Inputs(DOCUMENT, {"gclid": "g"}, {"x-event": "e"})
    inputs.answers = {fold("your email"): "una@example.com"}
    assert compile_path(path, fold)(inputs) == value


@pytest.mark.parametrize(
    "path", ["", ".", "a.", "a..b", "a[", "a[x]", "a-b", "a b", "a || ", "[?c]", "a.[0]", "*", "@"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(PathFault):
        compile_path(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=20,
)
STEPS = st.lists(st.sampled_from(["a", "b", "c", '"a"', "[0]", "[-1]", "[]"]), min_size=1, max_size=6)


@given(VALUES, STEPS)
def test_no_document_makes_a_path_raise(document: Any, steps: list[str]) -> None:
    text = ".".join(steps).replace(".[", "[")
    compile_path(f"{text} || a.b")(Inputs(document))
