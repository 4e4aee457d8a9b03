"""One sink's table in TOML, checked; and all sinks of a text of `SINKS_FILE`."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from leadcrm.configuration.parsing import RateLimit, rate_limit
from leadcrm.configuration.tables import DefinitionFault, compile_tables, read_secrets, read_text
from leadcrm.crm.feed import EVENT_TYPES
from leadcrm.database.entities import COLUMN_OF_FIELD
from leadcrm.delivery.addresses import is_public
from leadcrm.delivery.sink import Sink
from leadcrm.errors import SinksFault

KINDS = ("webhook", "slack", "telegram", "email", "bitrix24")

KEYS = frozenset(("kind", "url", "secret", "secret_file", "events", "only", "payload", "rate", "text", "tests"))
SWITCHES = frozenset(("enabled", "allow_private"))

EVENTS = tuple(f"lead.{type}" for type in EVENT_TYPES)

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

MAX_SINKS = 100
"""Each has a thread of its own."""

COLUMNS = {
    **{column: column for column in COLUMN_OF_FIELD.values()},
    **COLUMN_OF_FIELD,
    **{name: name for name in ("status", "assigned_to", "source")},
    "assignedTo": "assigned_to",
}
"""What `only` and a text may name, and the column that is meant."""

PLACEHOLDER = re.compile(r"\{(\w+)\}")
WORDS = frozenset((*COLUMNS, "id", "type", "at", "createdAt"))
"""What a text may name."""

_SCHEMES = {"email": ("smtps", "smtp")}
_PREFIX = "whsec_"

_METHODS = {
    "telegram": re.compile(r"/(bot\d+:[^/]+|sendmessage)/*$", re.IGNORECASE),
    "bitrix24": re.compile(r"/(crm(\.\w+){2,}|[\w.]+\.json)/*$", re.IGNORECASE),
}
"""What people copy to the url's end beyond what is its own; a path may go on after the like of it."""


def read_sinks(path: Path, *, may_be_empty: bool = True) -> dict[str, Sink]:
    """Read and check a file.

    Raises:
        SinksFault: It cannot be used.
    """
    return parse_sinks(read_text(path, SinksFault, may_be_empty=may_be_empty), path)


def parse_sinks(text: str, path: Path) -> dict[str, Sink]:
    """Check a text.

    Args:
        text: The text.
        path: Its file, from whose folder a relative `secret_file` starts.

    Raises:
        SinksFault: It cannot be used.
    """
    sinks = compile_tables(text, path, "sink", lambda name, table: _sink(name, table, path.parent), SinksFault)
    if len(sinks) > MAX_SINKS:
        raise SinksFault(str(path), [f"it has {len(sinks)} sinks, at most {MAX_SINKS} are taken"])
    return sinks


def unsigned_of(sinks: Mapping[str, Sink]) -> list[str]:
    """Return the names of the webhooks that sign nothing."""
    return [sink.name for sink in sinks.values() if sink.kind == "webhook" and not sink.secrets]


def _sink(name: str, table: Mapping[str, Any], directory: Path) -> Sink:
    if not NAME.fullmatch(name):
        raise DefinitionFault("", "a sink's name has small letters, digits and -, at most 63")
    for key in table:
        if key not in KEYS | SWITCHES:
            raise DefinitionFault(key, f"a sink has no such key; it has {', '.join(sorted(KEYS | SWITCHES))}")
    kind = table.get("kind", "webhook")
    if kind not in KINDS:
        raise DefinitionFault("kind", f"there is no kind {kind!r}; there are {', '.join(KINDS)}")
    is_webhook = kind == "webhook"
    for key, fits in (("payload", is_webhook), ("text", not is_webhook)):
        if key in table and not fits:
            raise DefinitionFault(key, f"a sink of the kind {kind} has none")
    allow_private = _switch(table, "allow_private", False)
    url = _url(kind, table.get("url"), allow_private=allow_private)
    secrets = _secrets(kind, table, directory)
    if kind == "email":
        _check_mail(url, has_secret=bool(secrets))
    return Sink(
        name=name,
        kind=kind,
        url=url,
        secrets=secrets,
        events=_events(kind, table.get("events")),
        only=_only(table.get("only", {})),
        thin=_choice(table, "payload", ("full", "thin")) == "thin",
        rate=_rate(table.get("rate")),
        text=_template(table.get("text", "")),
        tests=_switch(table, "tests", False),
        enabled=_switch(table, "enabled", True),
        allow_private=allow_private,
    )


def _url(kind: str, text: Any, *, allow_private: bool) -> SplitResult:
    schemes = _SCHEMES.get(kind, ("https", "http"))
    # The URL is not quoted: it often is a secret.
    if not isinstance(text, str) or re.search(r"[\x00-\x20\x7f]", text) or not text.isascii():
        raise DefinitionFault("url", f"it is no URL, such as {schemes[0]}://host/path")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise DefinitionFault("url", f"it is no URL, such as {schemes[0]}://host/path") from None
    if url.scheme not in schemes or not url.hostname or port == 0:
        raise DefinitionFault("url", f"it is no URL with a host that begins with {' or '.join(schemes)}")
    if url.scheme == "http" and not allow_private:
        raise DefinitionFault("url", "http:// needs allow_private = true: anybody on the way can read the leads")
    try:
        is_private = not is_public(ipaddress.ip_address(url.hostname))
    except ValueError:
        is_private = False
    if is_private and not allow_private:
        raise DefinitionFault("url", f"{url.hostname} is a private address, which needs allow_private = true")
    if (method := _METHODS.get(kind)) is not None and method.search(url.path):
        raise DefinitionFault("url", "it ends before the method, which is added to it")
    query = parse_qs(url.query)
    needed = {"email": ("from", "to"), "telegram": ("chat_id",)}.get(kind, ())
    for name in needed:
        if name not in query:
            raise DefinitionFault("url", f"its query lacks {name}=")
    return url


def _check_mail(url: SplitResult, *, has_secret: bool) -> None:
    query = parse_qs(url.query)
    for address in (*query["from"], *query["to"]):
        if "@" not in address or re.search(r"[\x00-\x1f\x7f]", address):
            raise DefinitionFault("url", f"{address!r} is no mail address")
    if url.password is not None:
        raise DefinitionFault("url", "the password of a mail server is the sink's secret, not a part of its url")
    if bool(url.username) != has_secret:
        raise DefinitionFault("url", "a user in the url and the secret, which is the user's password, go together")


def _secrets(kind: str, table: Mapping[str, Any], directory: Path) -> tuple[bytes, ...]:
    secrets = read_secrets(table, directory)
    place = "secret" if "secret" in table else "secret_file"
    if kind != "webhook":
        if len(secrets) > 1:
            raise DefinitionFault(place, f"a sink of the kind {kind} has one secret")
        if secrets and kind not in ("telegram", "email"):
            raise DefinitionFault(place, f"the secret of a sink of the kind {kind} is its url")
        if not secrets and kind == "telegram":
            raise DefinitionFault("", "it lacks its secret, the bot's token")
        if kind == "telegram" and not re.fullmatch(rb"[\w:-]+", secrets[0]):
            raise DefinitionFault(place, "it is no bot's token, such as 123456:ABC-def")
        return secrets
    return tuple(_key(secret.decode(), place) for secret in secrets)


def _key(text: str, place: str) -> bytes:
    """Return the key in a secret, which the libraries of Standard Webhooks read as Base64, with its prefix or without.

    A text that is no Base64 is a key by its bytes.
    """
    text = text.strip()
    encoded = text.removeprefix(_PREFIX)
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        if encoded != text:
            raise DefinitionFault(place, f"what follows {_PREFIX} is no Base64") from None
    return text.encode()


def _events(kind: str, given: Any) -> frozenset[str]:
    if given is None:
        return frozenset(EVENTS if kind == "webhook" else EVENTS[:1])
    events = _texts(given, "events")
    if unknown := [event for event in events if event not in EVENTS]:
        raise DefinitionFault("events", f"there is no event {unknown[0]!r}; there are {', '.join(EVENTS)}")
    if kind == "bitrix24" and events != {EVENTS[0]}:
        raise DefinitionFault("events", f"Bitrix24 would add a lead for each: it takes {EVENTS[0]} alone")
    return events


def _only(given: Any) -> dict[str, frozenset[str]]:
    if not isinstance(given, dict):
        raise DefinitionFault("only", "write only = {COLUMN = [values]}")
    for name in given:
        if name not in COLUMNS:
            raise DefinitionFault(f"only.{name}", f"a lead has no column {name!r}; it has {', '.join(sorted(COLUMNS))}")
    return {COLUMNS[name]: _texts(values, f"only.{name}") for name, values in given.items()}


def _texts(given: Any, key: str) -> frozenset[str]:
    values = given if isinstance(given, list) else [given]
    if not values or not all(isinstance(value, str) for value in values):
        raise DefinitionFault(key, "it is a text or a list of texts, not empty")
    return frozenset(values)


def _rate(given: Any) -> RateLimit | None:
    if given is None:
        return None
    try:
        return rate_limit(str(given), Path())
    except ValueError as error:
        raise DefinitionFault("rate", f"{error}, such as 10/s") from None


def _template(given: Any) -> str:
    if not isinstance(given, str):
        raise DefinitionFault("text", "it is a text")
    if unknown := [name for name in PLACEHOLDER.findall(given) if name not in WORDS]:
        raise DefinitionFault("text", f"there is no {{{unknown[0]}}}; there are {', '.join(sorted(WORDS))}")
    return given


def _switch(table: Mapping[str, Any], key: str, default: bool) -> bool:
    value = table.get(key, default)
    if not isinstance(value, bool):
        raise DefinitionFault(key, "it is true or false")
    return value


def _choice(table: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = table.get(key, choices[0])
    if value not in choices:
        raise DefinitionFault(key, f"it is {' or '.join(choices)}")
    return str(value)
