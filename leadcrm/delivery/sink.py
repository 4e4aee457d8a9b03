"""A sink: where events of the feed are delivered, which of them, and in what form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult

from leadcrm.configuration.parsing import RateLimit
from leadcrm.crm.feed import FeedEvent

ERASED = "lead.erased"
"""The event that goes to every sink: a receiver that was told of a lead must hear that it is gone."""


@dataclass(frozen=True, slots=True)
class Sink:
    """A sink, checked.

    Attributes:
        name: As in SINKS_FILE.
        kind: How an event is put for the receiver.
        url: Where it is sent.
        secrets: What a webhook is signed with, each; else the password or token.
        events: The types that are sent.
        only: Of a lead's column, in the database's words, the values that are sent.
        thin: A webhook says only which lead an event is about.
        rate: How many are sent at most; None for any number.
        text: The template of a message; empty for the kind's own.
        tests: Leads that are tests are sent too.
        enabled: It is delivered to.
        allow_private: The receiver may be in a private network, and may lack TLS.
    """

    name: str
    kind: str
    url: SplitResult
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    events: frozenset[str] = frozenset()
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)
    thin: bool = False
    rate: RateLimit | None = None
    text: str = ""
    tests: bool = False
    enabled: bool = True
    allow_private: bool = False

    @property
    def host(self) -> str:
        """The receiver's name, without the rest of its URL, which may be a secret."""
        return self.url.hostname or ""

    def wants(self, event: FeedEvent) -> bool:
        """Say whether an event is for this sink."""
        type = f"lead.{event.type}"
        if type == ERASED:
            return self.kind == "webhook" or ERASED in self.events
        if type not in self.events:
            return False
        lead = event.lead
        if lead is None:
            return self.kind == "webhook" and not self.only
        if lead.is_test and not self.tests:
            return False
        # As in the filter of the API, an empty value means none.
        return all((getattr(lead, column) or "") in values for column, values in self.only.items())
