"""A person, known by an email or a phone, and whether a lead or a text is about them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol
from urllib.parse import unquote

from leadcrm.crm.phones import has_number, is_same_number, spellings_of
from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.content_coding import decode_body

MAX_NESTING = 3
"""How often a text is undone that holds another one: JSON in a form, percent signs in a query."""

_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)

_ESCAPED = re.compile(r"[%\\&]")

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody by email, in any case, or by phone, by its digits; by either if both are given."""

    email: str | None = None
    phone: str | None = None

    @property
    def is_known(self) -> bool:
        """Say whether whoever is meant can be looked for: a phone has seven digits at least."""
        return bool(self.email or self.phone) and (self.phone is None or bool(spellings_of(self.phone)))

    def has_columns(self, email: str | None, phone: str | None) -> bool:
        """Say whether a lead with this email and this phone is theirs."""
        is_by_email = bool(self.email and email) and str(email).casefold() == str(self.email).casefold()
        return is_by_email or (
            bool(self.phone and phone) and is_same_number(spellings_of(self.phone or ""), phone or "")
        )

    def is_named_in(self, text: str) -> bool:
        """Say whether email or phone stand in a text, also in one that is escaped as forms, JSON or HTML are."""
        return any(self._is_named_in(reading) for reading in _readings(text))

    def _is_named_in(self, text: str) -> bool:
        if self.email and (email := self.email.casefold()) in (folded := text.casefold()):
            pattern = rf"(?<![\w.+-]){re.escape(email)}(?![\w-]|\.\w)"
            if re.search(pattern, folded):
                return True
        return bool(self.phone) and has_number(_spellings(self.phone or ""), text)


_spellings = cache(spellings_of)


class Request(Protocol):
    """What a request says, as it is kept."""

    @property
    def target(self) -> str:
        """Path and query."""

    @property
    def idempotency_key(self) -> str | None:
        """The text of its key."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in lower case."""

    @property
    def body(self) -> bytes | None:
        """As it was received."""


def text_of(row: Request, *, max_decoded_bytes: int) -> str | None:
    """Return all that a request says, as one text; None if its body's content coding cannot be undone."""
    body = row.body or b""
    try:
        body = decode_body(body, row.headers.get("content-encoding", ""), max_decoded_bytes)
    except InvalidPayload:
        return None
    said = body.decode("utf-16" if body.startswith(_UTF16_MARKS) else "utf-8", errors="replace")
    return "\n".join((row.target, row.idempotency_key or "", *row.headers.values(), said))


def _readings(text: str) -> Iterator[str]:
    yield text
    for _ in range(MAX_NESTING):
        if not _ESCAPED.search(text):
            return
        undone = html.unescape(_JSON_ESCAPE.sub(_unescaped, unquote(text)))
        if undone == text:
            return
        yield (text := undone)


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return {"n": "\n", "r": "\r", "t": "\t"}.get(match[2], match[2])
