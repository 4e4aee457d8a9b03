"""A source: where requests of one sender come in, and how they become leads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from leadcrm.errors import TooLaborious
from leadcrm.sources.charset_labels import UTF_8
from leadcrm.sources.cleaning import NOTHINGS, is_macro
from leadcrm.sources.labels import Effort
from leadcrm.sources.mapping import LeadMapping, scalar_of
from leadcrm.sources.paths import Inputs, Path
from leadcrm.sources.proof import SECRET_QUERY_NAMES, Proof
from leadcrm.sources.replies import Replies
from leadcrm.sources.several import is_one_lead, leads_within
from leadcrm.sources.wholes import plain

T = TypeVar("T")

MAX_PARTS = 1_000
"""Leads in one body: as many as Meta sends at most."""

MAX_HURRIED_PARTS = 100
"""That are mapped while others wait."""

_NO_KEYS = NOTHINGS | {"", "0", "false", "true", "#n/a", "empty", "(empty)", "(null)", "optional", "replace"}

_TRUE = frozenset(("true", "1"))
_MAX_TRUE = 8
"""With blanks around it."""

_TEST = "test"
"""Part of the name of each flag that is known however it is written, so that it is quick to see that there is none."""

TEST_NAMES = frozenset(("istest", "testlead", "testmode"))
"""Members that say of any source's lead that it is a test."""

_MAX_INNER = 400
"""Members whose own are looked at for flags."""


class TooManyLeads(ValueError):  # noqa: N818 - named by the condition
    """A body holds more leads than `MAX_PARTS`."""


@dataclass(frozen=True, slots=True)
class Only:
    """Which documents are leads: those with something at the path, one of these values if there are any.

    An empty text among the values means those without anything at the path.
    """

    path: Path
    values: frozenset[str]

    def holds(self, inputs: Inputs) -> bool:
        """Say whether a document is a lead."""
        value = scalar_of(self.path(inputs), inputs)
        return (value or "") in self.values if self.values else value is not None


class Lead(NamedTuple):
    """One lead in a body.

    Attributes:
        item: The document that is it.
        columns: The 14 columns, in their order.
        key: What the sender knows it by; None if the source has no rule or the rule finds nothing.
        is_test: The sender says that it is a test.
        is_inexact: A number in it may not be as the sender wrote it.
    """

    item: Any
    columns: Sequence[str | None]
    key: str | None
    is_test: bool
    is_inexact: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A source, checked and compiled.

    Attributes:
        name: As in its URL.
        preset: The preset that it begins with.
        proof: How its sender proves itself.
        mapping: How a document becomes a lead.
        replies: What its sender is told.
        enabled: It makes leads; else it only keeps requests.
        charset: The codec of text that is not UTF-8 and for which the sender names no charset.
        json: The members that hold JSON as text.
        each: The list of leads in a body; None where a body is one lead, or a list of them.
        keys: Alternatives, of each the paths whose values together are the key.
        test: What says that a lead is a test.
        test_names: The names of such members, as `plain` returns them.
        only: Which documents are leads; None if all are.
        header_names: The headers that its paths read, in lower case.
    """

    name: str
    preset: str
    proof: Proof
    mapping: LeadMapping
    replies: Replies
    enabled: bool = True
    charset: str = UTF_8
    json: Sequence[Sequence[str]] = ()
    each: Path | None = None
    keys: Sequence[Sequence[Path]] = ()
    test: Path | None = None
    test_names: frozenset[str] = TEST_NAMES
    only: Only | None = None
    header_names: frozenset[str] = field(default=frozenset())

    @property
    def secret_names(self) -> frozenset[str]:
        """The headers and fields of a query that hold its secret, in lower case."""
        return frozenset((self.proof.name,)) if self.proof.kind in ("header", "query") else frozenset()

    @property
    def takes_several(self) -> bool:
        """Whether leads may take the place of a document: the source's own rules look for nothing in it."""
        return self.each is None and self.only is None and self.proof.kind != "body"

    def reopened(self) -> Source:
        """Return the source as if it were switched on."""
        return replace(self, enabled=True)

    def query_of(self, fields: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Return the fields of a query string that may be a lead's: the last of each name, and no secret."""
        return self.without_secrets(dict(fields)) if fields else {}

    def without_secrets(self, fields: Mapping[str, T]) -> dict[str, T]:
        """Return a query string's fields that are no secrets."""
        hidden = SECRET_QUERY_NAMES | self.secret_names
        return {name: value for name, value in fields.items() if name.lower() not in hidden}

    def leads(
        self,
        document: Any,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        parse: Any = None,
        *,
        unescape: Callable[[Any], Any] | None = None,
        is_part: bool = False,
        at_leisure: bool = True,
    ) -> list[Lead]:
        """Return the leads in a document; none if it is no lead by the source's rules.

        Args:
            document: What the body holds.
            query: The fields of the query string.
            headers: By name in lower case.
            parse: Parses the JSON in a text, or returns None.
            unescape: Undoes an escaping in the values of which columns are made; None where there is none.
            is_part: The document is one of the leads already.
            at_leisure: Whether the mapping may take long. Otherwise others wait for it.

        Raises:
            TooManyLeads: There are more than `MAX_PARTS`.
            TooLaborious: Without leisure, they cannot be mapped.
        """
        if not is_part and self.json and parse is not None:
            _parse_members(document, self.json, parse)
        effort = None if at_leisure else Effort()
        items = [document] if is_part else self._items(document, query, headers, effort)
        if len(items) > MAX_PARTS:
            raise TooManyLeads(f"the body holds {len(items)} leads, at most {MAX_PARTS} are taken")
        if len(items) > MAX_HURRIED_PARTS and not at_leisure:
            raise TooLaborious
        return [lead for item in items if (lead := self._lead(item, query, headers, effort, unescape)) is not None]

    def _items(
        self, document: Any, query: Mapping[str, Any], headers: Mapping[str, str], effort: Effort | None
    ) -> list[Any]:
        if self.each is not None:
            found = self.each(Inputs(document, query, headers))
            found = found if type(found) is list else [found]
        elif type(document) is list and not is_one_lead(document, effort):
            found = document
        elif type(document) is dict and (found := self._leads_within(document, query, headers, effort)):
            pass
        else:
            return [document]
        return [item for item in found if type(item) is dict]

    def _leads_within(
        self, document: dict[str, Any], query: Mapping[str, str], headers: Mapping[str, str], effort: Effort | None
    ) -> list[dict[str, Any]] | None:
        """Return the leads of an object that holds several and that the source's own rules do not know."""
        found = None if self.mapping.answers or self.only is not None else leads_within(document, effort)
        # What has a key as a whole is one lead: its tries would not be known again by its parts.
        is_whole = found and self.keys and self._key(Inputs(document, query, headers)) is not None
        return None if is_whole else found

    def _lead(
        self,
        item: Any,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        effort: Effort | None,
        unescape: Callable[[Any], Any] | None,
    ) -> Lead | None:
        inputs = Inputs(item, query, headers, effort)
        answers = self.mapping.read_answers(inputs) if self.mapping.answers else None
        if self.only is not None and not self.only.holds(inputs):
            return None
        is_test = (self.test is not None and _is_true(self.test(inputs))) or self._is_flagged(inputs)
        key = self._key(inputs) if self.keys else None
        if unescape is not None:
            # The key stays as it was sent, and so does what is kept as one of several leads.
            sent, inputs = inputs, Inputs(unescape(item), unescape(query), headers, effort)
            answers = self.mapping.read_answers(inputs) if self.mapping.answers else None
            inputs.is_inexact = sent.is_inexact
        columns = self.mapping.columns(inputs, answers)
        return Lead(item, columns, key, is_test or inputs.is_test, inputs.is_inexact)

    def _is_flagged(self, inputs: Inputs) -> bool:
        """Say whether a member says that the lead is a test, however its name is written."""
        names, document = self.test_names, inputs.document
        if type(document) is dict:
            if _has_flag(document, names):
                return True
            for value in islice(document.values(), _MAX_INNER):
                if type(value) is dict and _has_flag(value, names):
                    return True
        return bool(inputs.query) and _has_flag(inputs.query, names)

    def _key(self, inputs: Inputs) -> str | None:
        for paths in self.keys:
            texts = []
            for path in paths:
                value = path(inputs)
                text = "" if value is None else (scalar_of(value, inputs) or "").strip()
                if is_no_key(text):
                    break
                if text[:2] == "l:" and text[2:].isdecimal():
                    # As Facebook's CSV writes the id of a lead.
                    text = text[2:]
                texts.append(text)
            else:
                return "\n".join(texts)
        return None

    def key_sha256(self, key: bytes) -> bytes:
        """Return the hash by which a key of this source is compared: no other source can take it."""
        return sha256(b"source\0" + self.name.encode() + b"\0" + key).digest()


def is_no_key(text: str) -> bool:
    """Say whether a text stands where a sender has no id: one key for many people would be one lead."""
    return text.lower() in _NO_KEYS or is_macro(text)


def _has_flag(place: Mapping[str, Any], names: frozenset[str]) -> bool:
    if _TEST not in "\n".join(place).lower():
        return False
    for name, value in place.items():
        if value and (type(value) is not str or len(value) <= _MAX_TRUE) and plain(name) in names and _is_true(value):
            return True
    return False


def _is_true(value: Any) -> bool:
    return value is True or (type(value) in (str, int) and str(value).strip().lower() in _TRUE)


def _parse_members(document: Any, members: Sequence[Sequence[str]], parse: Any) -> None:
    for names in members:
        place = document
        for name in names[:-1]:
            place = place.get(name) if type(place) is dict else None
        if type(place) is dict and type(text := place.get(names[-1])) is str:
            parsed = parse(text)
            if parsed is not None:
                place[names[-1]] = parsed
