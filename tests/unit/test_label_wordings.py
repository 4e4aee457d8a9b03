"""How forms ask for a lead's fields, in thirty languages: what each label means, and what means none of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leadcrm.configuration.toml import read_toml
from leadcrm.sources.labels import meaning

WORDINGS = read_toml(Path(__file__).with_name("label_wordings.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("field", WORDINGS)
def test_a_label_means_the_field_that_it_asks_for(field: str) -> None:
    labels = [label for piece in re.split(r"[|\n]", WORDINGS[field]) if (label := piece.strip())]
    expected = None if field == "other" else field
    meant = {label: found.field if (found := meaning(label)) else None for label in labels}
    assert {label: other for label, other in meant.items() if other != expected} == {}


@pytest.mark.parametrize(
    ("labels", "surest"),
    [
        (["Company email", "And your own email?"], 1),
        (["Work phone", "Best number to reach you"], 1),
        (["Teléfono alternativo", "¿A qué teléfono podemos llamarte?"], 1),
        (["Second phone", "Phone 1"], 1),
        (["Email", "Work email"], 0),
        (["Secondary email", "And your own email?"], 1),
        (["Traveller's name", "How should we call you?"], 1),
    ],
)
def test_the_surest_of_several_labels_is_the_persons_own_and_first(labels: list[str], surest: int) -> None:
    found = [meaning(label) for label in labels]
    ranks = [meant.rank for meant in found if meant is not None]
    assert len(ranks) == len(labels)
    assert ranks.index(min(ranks)) == surest
