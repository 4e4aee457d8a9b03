"""Requests as real senders send them, a source for each, and what its sender counts as success."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "integration" / "senders"

PRESET_OF = {
    "boberdoo-style-form-post": "boberdoo",
    "calendly-invitee-created": "calendly",
    "contact-form-7-cf7-to-webhook": "cf7",
    "elementor-pro-advanced-data": "elementor-advanced",
    "elementor-pro-default": "elementor",
    "google-ads-lead-form": "google-ads",
    "google-ads-test-lead": "google-ads",
    "gravity-forms-all-fields-json": "gravity-forms",
    "html-form-enctype-text-plain": "html-form",
    "hubspot-webhooks-api-array": "hubspot-webhooks",
    "hubspot-workflow-webhook-contact": "hubspot-workflow",
    "jotform": "jotform",
    "keitaro-style-get-postback": "postback",
    "lead-sent-as-get-with-fields": "generic",
    "leadconduit-generic-post": "leadconduit",
    "linkedin-lead-notification": "linkedin",
    "meta-lead-as-zapier-make-pass-field-data": "meta-lead",
    "meta-leadgen-1-change": "meta-leadgen",
    "meta-leadgen-batch-of-2": "meta-leadgen",
    "plain-html-form-browser": "html-form",
    "plain-html-form-our-own-names": "html-form",
    "postback-as-post-all-in-the-query": "postback",
    "snapchat-lead": "snapchat",
    "tally": "tally",
    "typeform": "typeform",
    "unbounce-default-urlencoded": "unbounce",
    "webflow": "webflow",
    "wpforms-webhook-mapped-names": "wpforms",
    "xml-adf-unbounce-xml-boberdoo": "generic",
    "zapier-make-n8n-our-own-names": "zapier",
    "zapier-wrap-request-in-array": "zapier",
}

SECRETS = {
    "meta-leadgen": "appsecret",
    "google-ads": "SECRET-GOOGLE-KEY",
    "linkedin": "clientsecret",
    "typeform": "tfsecret",
    "tally": "tasecret",
    "webflow": "wfsecret",
    "calendly": "cal",
}
"""With which the requests are signed."""

OWN = {
    "gravity-forms": """map.click_id = '"5"'\n""",
    "html-form": """respond.location = "https://land.example/thanks"\n""",
}
"""What the owner of such a form adds to the preset."""


@dataclass(frozen=True)
class Sent:
    """One request, and what a lead's buyer expects of it."""

    name: str
    preset: str
    method: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    columns: dict[str, str]
    has_key: bool

    @property
    def target(self) -> str:
        """The path and query of its source."""
        return f"/in/{self.name}{self.query}"

    @property
    def accepts(self) -> tuple[int, ...]:
        """The statuses that its sender takes for success."""
        return (303,) if self.preset == "html-form" else (200,)


def senders() -> list[Sent]:
    """Return all requests."""
    sent = []
    for file in sorted(FOLDER.glob("*.json")):
        request = json.loads(file.read_text())
        sent.append(
            Sent(
                file.stem,
                PRESET_OF[file.stem],
                request["method"],
                request["target"],
                tuple(request["headers"].items()),
                request["body"].encode(),
                request["columns"],
                bool(request["key"]),
            )
        )
    return sent


def sources_text() -> str:
    """Return a text of SOURCES_FILE with a source for each request."""
    text = ""
    for name, preset in PRESET_OF.items():
        text += f'[source.{name}]\npreset = "{preset}"\n'
        if preset in SECRETS:
            text += f'secret = "{SECRETS[preset]}"\n'
        text += OWN.get(preset, "")
    return text
