"""Tells how many leads a document holds: whether a list is one lead's fields or a lead each, and where leads stand."""

from __future__ import annotations

from itertools import islice
from typing import Any

from leadcrm.sources.contacts import FIELDS, is_contact, reaches_lead
from leadcrm.sources.labels import KNOWN_MEANINGS, Effort, meaning, means_one_of
from leadcrm.sources.leaves import MAX_LEAVES, leaves
from leadcrm.sources.wholes import LABELS, MAX_PAIR_MEMBERS, PAIR_NAMES, VALUES, plain, spelled

_LISTS_OF_LEADS = frozenset((
    "applications", "array", "clients", "customers", "data", "entries", "item", "items", "lead", "leads", "list",
    "objects", "payload", "prospects", "records", "requests", "responses", "results", "rows", "submissions",
    "subscribers", "users", "values"
))  # fmt: skip
"""Lists of which each object is a lead. Others are of one lead: its contacts, its guests."""


def holds_contact(document: Any, effort: Effort | None) -> bool:
    """Say whether a document holds a contact of the lead's own, wherever it stands.

    Raises:
        TooLaborious: There are more labels than there may be.
    """
    return any(reaches_lead(labels, value, effort) for labels, value in leaves(document, effort))


def is_one_lead(items: list[Any], effort: Effort | None) -> bool:
    """Say whether a list is one lead's names and values, not a lead each.

    Raises:
        TooLaborious: There are more labels that were never met than there may be.
    """
    labels: set[str] = set()
    titles: list[str] = []
    has_any = False
    for item in items[:MAX_LEAVES]:
        if type(item) is not dict or len(item) > MAX_PAIR_MEMBERS:
            return False
        pair = spelled(item)
        value = next((name for name in VALUES[:4] if name in pair), None)
        if value is None:
            return False
        texts = [str(text) for name in LABELS if type(text := pair.get(name)) in (str, int)]
        labels.update(texts)
        if pair.keys() <= PAIR_NAMES and texts:
            titles.append(texts[0])
            has_any = has_any or is_contact(pair[value])
    # Labels that say nothing, such as numbers, are those of one lead where none comes twice.
    is_of_one = has_any and 1 < len(titles) == len(items) == len(set(titles))
    return is_of_one or any(means_one_of(label, FIELDS, effort) for label in labels)


def leads_within(document: dict[str, Any], effort: Effort | None) -> list[dict[str, Any]] | None:
    """Return the leads of an object that holds a list of them, each with a contact of its own; None of any other.

    Raises:
        TooLaborious: There are more labels that were never met than there may be.
    """
    while len(document) == 1 and type(only := next(iter(document.values()))) is dict:
        document = only
    lists = [(name, member) for name, member in islice(document.items(), MAX_LEAVES) if type(member) is list]
    if len(lists) != 1 or has_contact(document, effort):
        return None
    ((name, items),) = lists
    is_list_of_leads = len(items) > 1 and plain(name) in _LISTS_OF_LEADS
    return items if is_list_of_leads and are_leads(items, effort) else None


def are_leads(items: list[Any], effort: Effort | None) -> bool:
    """Say whether each element of a list is a lead with a contact of its own.

    Raises:
        TooLaborious: There are more labels that were never met than there may be.
    """
    return all(type(item) is dict and has_contact(item, effort) for item in items) and not is_one_lead(items, effort)


def has_contact(value: dict[str, Any], effort: Effort | None) -> bool:
    """Say whether a member is called as emails and phones are, and looks so.

    Raises:
        TooLaborious: There are more labels that were never met than there may be.
    """
    for name, member in islice(value.items(), MAX_LEAVES):
        known = KNOWN_MEANINGS.get(name)
        if known is not None and known.field not in FIELDS:
            continue
        if is_contact(member) and (meant := known or meaning(name, effort)) is not None and meant.field in FIELDS:
            return True
    return False
