"""An event as its receiver takes it: a signed webhook, a message for people, or a call of a CRM."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlunsplit

from leadcrm import __version__
from leadcrm.crm.documents import encode, feed_event_document, lead_document
from leadcrm.crm.feed import FeedEvent
from leadcrm.delivery.definition import PLACEHOLDER
from leadcrm.delivery.sink import Sink

DEFAULT_TEXT = "{type}: {firstName} {lastName} {phone} {email} {country} {offer}"

MAX_TELEGRAM = 4_096
"""Characters of a text that Telegram takes (https://core.telegram.org/bots/api#sendmessage)."""

MAX_SLACK = 40_000
"""Characters after which Slack cuts a text (https://docs.slack.dev/reference/methods/chat.postMessage)."""

_PART_OF_ENTITY = re.compile(r"&\w*…\Z")
"""What a cut leaves of an escaped character: every other `&` has its semicolon."""

_BITRIX_METHOD = "crm.lead.add.json"


class Message(NamedTuple):
    """A request to the receiver: its target is the path with the query."""

    target: str
    headers: dict[str, str]
    body: bytes


def message_id(event: FeedEvent) -> str:
    """Return what names an event for its receivers, the same at every attempt."""
    return f"msg_{event.seq}"


def make_message(sink: Sink, event: FeedEvent, now: datetime | None = None) -> Message:
    """Return the request that delivers an event over HTTP."""
    headers = {"content-type": "application/json", "user-agent": f"leadcrm/{__version__}"}
    if sink.url.username is not None:
        user = f"{unquote(sink.url.username)}:{unquote(sink.url.password or '')}"
        headers["authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    base = sink.url.path.rstrip("/")
    path = urlunsplit(("", "", sink.url.path or "/", sink.url.query, ""))
    if sink.kind == "webhook":
        body = encode(feed_event_document(event, thin=sink.thin))
        return Message(path, {**headers, **signature_headers(sink, event, body, now)}, body)
    if sink.kind == "slack":
        # https://docs.slack.dev/messaging/formatting-message-text: these three are special.
        text = text_of(sink, event).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return Message(path, headers, encode({"text": _PART_OF_ENTITY.sub("…", _cut(text, MAX_SLACK))}))
    if sink.kind == "telegram":
        document = {"chat_id": parse_qs(sink.url.query)["chat_id"][0], "text": _cut(text_of(sink, event), MAX_TELEGRAM)}
        return Message(f"{base}/bot{sink.secrets[0].decode()}/sendMessage", headers, encode(document))
    return Message(f"{base}/{_BITRIX_METHOD}", headers, encode(_bitrix_lead(sink, event)))


def signature_headers(sink: Sink, event: FeedEvent, body: bytes, now: datetime | None = None) -> dict[str, str]:
    """Return the headers of Standard Webhooks: one signature for each secret, so that receivers can change theirs."""
    id = message_id(event)
    moment = str(int((now or datetime.now(timezone.utc)).timestamp()))
    headers = {"webhook-id": id, "webhook-timestamp": moment}
    signed = f"{id}.{moment}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in sink.secrets]
    if signatures:
        headers["webhook-signature"] = " ".join(f"v1,{signature}" for signature in signatures)
    return headers


def text_of(sink: Sink, event: FeedEvent) -> str:
    """Return the text for people; what is unknown is left out."""
    values: dict[str, Any] = {
        "type": f"lead.{event.type}",
        "at": event.at,
        "id": event.lead_id,
    }
    if event.lead is not None:
        values = {**event.lead._asdict(), **lead_document(event.lead), **values}

    def value_of(name: str) -> str:
        value = values.get(name)
        if isinstance(value, datetime):
            return f"{value.isoformat(' ', 'seconds')} UTC"
        return "" if value is None else str(value)

    text = PLACEHOLDER.sub(lambda match: value_of(match[1]), sink.text or DEFAULT_TEXT)
    # A text without anything in it is refused by those who show it.
    return (" ".join(text.split()) if not sink.text else text) if text.strip() else f"{values['type']} {event.lead_id}"


def _cut(text: str, length: int) -> str:
    """Return a text of at most so many UTF-16 units, by which services count."""
    encoded = text.encode("utf-16-le", "replace")
    if len(encoded) <= 2 * length:
        return text
    return encoded[: 2 * (length - 1)].decode("utf-16-le", "ignore") + "…"


def _bitrix_lead(sink: Sink, event: FeedEvent) -> dict[str, Any]:
    """Return the arguments of Bitrix24's call, whose fields ORIGINATOR_ID and ORIGIN_ID name the lead."""
    lead = event.lead
    fields: dict[str, Any] = {"ORIGINATOR_ID": "leadcrm", "ORIGIN_ID": str(event.lead_id)}
    if lead is not None:
        fields |= {
            "TITLE": text_of(sink, event) if sink.text else f"Lead {lead.email or lead.phone or event.lead_id}",
            "NAME": lead.first_name,
            "LAST_NAME": lead.last_name,
            "COMMENTS": lead.description,
            "SOURCE_DESCRIPTION": lead.source,
            **{
                name: [{"VALUE": value, "VALUE_TYPE": "WORK"}]
                for name, value in (("PHONE", lead.phone), ("EMAIL", lead.email))
                if value
            },
        }
    return {"fields": {name: value for name, value in fields.items() if value}, "params": {"REGISTER_SONET_EVENT": "Y"}}
