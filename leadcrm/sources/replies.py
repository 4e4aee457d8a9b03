"""What a source's sender is told: status, body and type by the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OUTCOMES = ("created", "duplicate", "invalid")

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Replies:
    """A source's answers.

    Attributes:
        statuses: By outcome.
        bodies: By outcome; without one, the JSON of the contract. `{lead_id}` and `{outcome}` are filled in.
        location: Where a browser goes on after a lead, with a status of 3xx.
        type: The content type of `bodies`.
    """

    statuses: Mapping[str, int] = field(default_factory=lambda: {"created": 200, "duplicate": 200, "invalid": 400})
    bodies: Mapping[str, str] = field(default_factory=dict)
    location: str = ""
    type: str = ""

    def reply(self, outcome: str, lead_id: str, leads: list[tuple[str, bool]]) -> Reply:
        """Return the answer to a request.

        Args:
            outcome: One of `OUTCOMES`.
            lead_id: The id that leads to the lead, or the raw row's.
            leads: The ids of a body's several leads, and whether each was known before.
        """
        status = self.statuses[outcome]
        if 300 <= status < 400:
            if self.location:
                location = self._filled(self.location, outcome, lead_id)
                return Reply(status, b"", {"location": location, "content-type": "text/plain; charset=utf-8"})
            status = 200
        template = self.bodies.get(outcome)
        if template is not None:
            kind = self.type or ("text/xml" if template.startswith("<") else _kind_of(template))
            return Reply(status, self._filled(template, outcome, lead_id).encode(), {"content-type": kind})
        if outcome == "invalid":
            return Reply(status, b'{"ok":false,"error":"invalid_payload"}', {"content-type": JSON})
        body = '{"ok":true,"lead_id":"%s","deduplicated":%s' % (lead_id, _json(outcome == "duplicate"))  # noqa: UP031
        if leads:
            parts = ",".join('{"lead_id":"%s","deduplicated":%s}' % (id, _json(known)) for id, known in leads)  # noqa: UP031
            body += f',"leads":[{parts}]'
        return Reply(status, f"{body}}}".encode(), {"content-type": JSON})

    @staticmethod
    def _filled(template: str, outcome: str, lead_id: str) -> str:
        return template.replace("{lead_id}", lead_id).replace("{outcome}", outcome)


def _kind_of(template: str) -> str:
    return JSON if template.startswith(("{", "[")) else "text/plain; charset=utf-8"


def _json(value: bool) -> str:
    return "true" if value else "false"
