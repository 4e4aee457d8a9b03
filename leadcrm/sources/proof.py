"""Whether a request comes from a source's sender: a token, a secret in its body, or a signature of its bytes.

Secrets are compared in constant time. A row keeps only the hashes of the credentials that came with it (`credentials`),
so that a replay can compare them again once the secret is mended.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256
from math import inf
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import orjson

from leadcrm.sources.paths import Inputs, Path

HANDSHAKES = ("meta", "linkedin", "zoom", "slack")
"""Whose URLs are asked by a challenge: in the query of a GET by the first two, in the body of a POST by the others."""

KINDS = ("token", "body", "header", "basic", "query", "hmac")

MAX_AGE_S = 300
"""The age of a signature after which a request without a key may be a replay."""

_MAX_SIGNATURES = 8
_MAX_QUOTINGS = 3
_GLUED_QUERY = re.compile(r"[&;]|%(?:26|3b|3f)", re.IGNORECASE)
_SOURCE_PATH = re.compile(r"(?:^|[/\\])in[/\\]+([a-z0-9-]*)(.*)", re.IGNORECASE | re.DOTALL)
_FIELD_SEPARATOR = re.compile("([&;])")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""No challenge may look like what LinkedIn and Zoom sign, or the answer to it would be a signature for anybody."""

SECRET_QUERY_NAMES = frozenset(
    ("token", "secret", "api_key", "apikey", "api-key", "access_token", "auth_token", "password", "hub.verify_token")
)
"""Fields of a query string whose values are never stored."""

TOKEN_HEADERS = ("x-api-key", "x-auth-token", "api-key", "x-webhook-secret", "x-webhook-token")
"""Headers in which senders put a token, besides Authorization."""


class Evidence(NamedTuple):
    """What a request brings to prove its sender.

    Attributes:
        method: Of the request.
        target: Its path and query, as received.
        headers: By name in lower case.
        body: As received.
        credentials: The SHA-256 of each token that came in path, query and headers.
        received_at: When it arrived, aware UTC.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    credentials: frozenset[bytes]
    received_at: datetime


class Verdict(NamedTuple):
    """What a request proves of its sender, whatever its body holds.

    Attributes:
        fault: Why it proves nothing; None if it is from the source's sender.
        is_old: Its signature is too old to tell it from a replay.
    """

    fault: str | None = None
    is_old: bool = False

    def fault_of(self, *, has_key: bool) -> str | None:
        """Return why the request is not proved, or None if it is.

        Args:
            has_key: The lead has a key within what is signed, so that a replay of it is the same lead.
        """
        if self.is_old and not has_key:
            return "its signature is old, and without a key it cannot be told from a replay"
        return self.fault


@dataclass(frozen=True, slots=True)
class Proof:
    """How a source's sender proves itself; without a secret everyone may send.

    Attributes:
        kind: One of `KINDS`.
        secrets: Those that count now: two while one follows the other.
        name: Of the header or the query's field that holds the secret or the signature, in lower case.
        path: To the secret in the body.
        prefix: In front of the signature; it may be missing.
        encoding: `hex` or `base64`.
        signed: The text that is signed, with `{body}`, `{t}`, `{timestamp}`, `{method}` and `{url}` in it.
        timestamp: Of the signature; None if it stands beside it as `t=`.
        algorithm: Of the HMAC.
        handshake: One of `HANDSHAKES`, or none.
    """

    kind: str = "token"
    secrets: tuple[bytes, ...] = ()
    name: str = ""
    path: Path | None = None
    prefix: str = ""
    encoding: str = "hex"
    signed: str = "{body}"
    timestamp: Path | None = None
    algorithm: str = "sha256"
    handshake: str = ""

    def verdict(self, evidence: Evidence) -> Verdict:
        """Judge a request by all that it brings but what its body holds."""
        if not self.secrets or self._bears_secret(evidence):
            return Verdict()
        if self.kind == "hmac":
            return self._verdict_on_signature(evidence)
        return Verdict(f"it lacks the source's secret ({self.kind})")

    def is_in(self, document: Any) -> bool:
        """Say whether a body holds the secret, where the source's sender puts it there."""
        if self.kind != "body" or self.path is None:
            return False
        given = self.path(Inputs(document))
        return type(given) in (str, int) and self._is_secret(sha256(str(given).encode()).digest())

    def challenge_answer(self, query: Mapping[str, str]) -> tuple[str, bytes] | None:
        """Return content type and body of the answer to a handshake, or None if it is none or not proved."""
        if self.handshake == "meta" and (challenge := query.get("hub.challenge")):
            given = query.get("hub.verify_token", "")
            if query.get("hub.mode") == "subscribe" and (
                not self.secrets or self._is_secret(sha256(given.encode()).digest())
            ):
                return "text/plain; charset=utf-8", challenge[:1000].encode(errors="replace")
        if self.handshake == "linkedin" and (code := query.get("challengeCode")) and self.secrets:
            if not _CHALLENGE.fullmatch(code):
                return None
            return "application/json", orjson.dumps({"challengeCode": code, "challengeResponse": self._signed(code)})
        return None

    def answer_to(self, document: Any) -> tuple[str, bytes] | None:
        """Return content type and body of the answer to a handshake in a body that is proved, or None if it is none."""
        if type(document) is not dict:
            return None
        if self.handshake == "slack" and document.get("type") == "url_verification":
            if type(challenge := document.get("challenge")) is str:
                return "text/plain; charset=utf-8", challenge[:1000].encode(errors="replace")
        elif self.handshake == "zoom" and document.get("event") == "endpoint.url_validation" and self.secrets:
            payload = document.get("payload")
            token = payload.get("plainToken") if type(payload) is dict else None
            if type(token) is str and _CHALLENGE.fullmatch(token):
                return "application/json", orjson.dumps({"plainToken": token, "encryptedToken": self._signed(token)})
        return None

    def _signed(self, challenge: str) -> str:
        return hmac.new(self.secrets[0], challenge.encode(), "sha256").hexdigest()

    def is_handshake(self, query: Mapping[str, str]) -> bool:
        """Say whether a GET is a handshake, right or wrong."""
        return bool(self.handshake) and ("hub.challenge" in query or "challengeCode" in query)

    def _is_secret(self, digest: bytes) -> bool:
        found = False
        for secret in self.secrets:
            found |= hmac.compare_digest(digest, sha256(secret).digest())
        return found

    def _bears_secret(self, evidence: Evidence) -> bool:
        return any(self._is_secret(credential) for credential in evidence.credentials)

    def _verdict_on_signature(self, evidence: Evidence) -> Verdict:
        header = evidence.headers.get(self.name, "")
        if not header:
            return Verdict(f"it has no signature ({self.name})")
        parts = [part.strip() for part in header.split(",")]
        stamp = ""
        if "{t}" in self.signed:
            pairs = [part.partition("=") for part in parts]
            mark = self.prefix.rstrip("=") or "v1"
            given = [value for name, _, value in pairs if name == mark]
            stamp = {name: value for name, _, value in pairs}.get("t", "")
        else:
            given = [part.removeprefix(self.prefix) for part in parts]
        if self.timestamp is not None:
            stamp = str(self.timestamp(Inputs(None, headers=evidence.headers)) or "")
        signatures = [decoded for text in given[:_MAX_SIGNATURES] if (decoded := self._decode(text)) is not None]
        if not any(self._signs(evidence, stamp, signature) for signature in signatures):
            return Verdict("its signature does not fit its bytes and the source's secret")
        # Where a time is signed, what is none is a time and a body that are divided at another place.
        return Verdict(is_old=self._signs_time and _age_s(stamp, evidence.received_at) > MAX_AGE_S)

    @property
    def _signs_time(self) -> bool:
        return "{t}" in self.signed or "{timestamp}" in self.signed

    def _decode(self, text: str) -> bytes | None:
        try:
            return bytes.fromhex(text) if self.encoding == "hex" else base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            return None

    def _signs(self, evidence: Evidence, stamp: str, signature: bytes) -> bool:
        found = False
        for message in self._messages(evidence, stamp):
            for secret in self.secrets:
                found |= hmac.compare_digest(hmac.digest(secret, message, self.algorithm), signature)
        return found

    def _messages(self, evidence: Evidence, stamp: str) -> Sequence[bytes]:
        """Return what may have been signed; a proxy in front may have changed the scheme."""
        if self.signed == "{body}":
            return [evidence.body]
        schemes = ("https", "http") if "{url}" in self.signed else ("",)
        host = evidence.headers.get("x-forwarded-host") or evidence.headers.get("host", "")
        messages = []
        for scheme in schemes:
            before, _, after = self.signed.partition("{body}")
            filled = []
            for text in (before, after):
                for name, value in (
                    ("{t}", stamp),
                    ("{timestamp}", stamp),
                    ("{method}", evidence.method),
                    ("{url}", f"{scheme}://{host}{evidence.target}"),
                ):
                    text = text.replace(name, value)  # noqa: PLW2901
                filled.append(text.encode(errors="surrogateescape"))
            messages.append(evidence.body.join(filled) if "{body}" in self.signed else filled[0])
        return messages


def credentials_in(
    token: str | None, query: Sequence[tuple[str, str]], headers: Mapping[str, str], names: frozenset[str] = frozenset()
) -> frozenset[bytes]:
    """Return the SHA-256 of each token that a request brings.

    Args:
        token: The one in its path.
        query: Its query string's fields.
        headers: By name in lower case.
        names: More headers and fields of the query in which the source expects its secret.
    """
    found = [token] if token else []
    found += [value for name, value in query if name.lower() in SECRET_QUERY_NAMES or name.lower() in names]
    found += [headers[name] for name in (*TOKEN_HEADERS, *names) if name in headers]
    scheme, _, given = headers.get("authorization", "").partition(" ")
    given = given.strip()
    if scheme.lower() == "bearer":
        found.append(given)
    elif scheme.lower() == "basic":
        try:
            pair = base64.b64decode(given, validate=True).decode()
        except ValueError:
            pair = ""
        found += [pair, pair.partition(":")[2]]
    elif scheme and not given:
        found.append(scheme)
    return frozenset(sha256(text.encode(errors="surrogateescape")).digest() for text in found[:10] if text)


def with_query_apart(target: str) -> str:
    """Return a target whose query begins with `?`: trackers append `&name=value` to any URL that they are given."""
    path, mark, query = target.partition("?")
    path, glued, fields = path.partition("&")
    return f"{path}?{fields}{'&' if mark else ''}{query}" if glued else target


def query_of(target: str) -> list[tuple[str, str]]:
    """Return the fields of a target's query string."""
    _, _, query = target.partition("?")
    if not query:
        return []
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=500)
    except ValueError:
        return []


def redacted_target(target: str, names: frozenset[str] = frozenset()) -> str:
    """Return a target without the token in its path and without the secrets in its query string."""
    path, mark, query = target.partition("?")
    path = redacted_path(path)
    if not mark:
        return path
    fields = []
    for field in _FIELD_SEPARATOR.split(query):
        name, equals, _ = field.partition("=")
        is_secret = (plain := _unquoted(name)) in SECRET_QUERY_NAMES or plain in names
        fields.append(f"{name}=***" if equals and is_secret else field)
    return f"{path}?{''.join(fields)}"


def redacted_path(path: str) -> str:
    """Return a path without what may be a secret or tell of a person.

    That is what follows the name of a source, however it is written, for it may be a token, and a query that somebody
    has glued to the path, as in `/in/name&email=...`.
    """
    if glued := _GLUED_QUERY.search(path):
        path = f"{path[: glued.end()]}***"
    plain = path
    for _ in range(_MAX_QUOTINGS):
        if (unquoted := unquote(plain)) == plain:
            break
        plain = unquoted
    found = _SOURCE_PATH.search(plain)
    if found is None or not found[2].strip("/"):
        return path
    return f"/{plain[: found.start(2)].lstrip('/')}/***"


def _unquoted(name: str) -> str:
    decoded = parse_qsl(f"{name}=1")
    return decoded[0][0].lower() if decoded else name.lower()


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _age_s(stamp: str, received_at: datetime) -> float:
    """Return the age of a time in seconds or milliseconds, or as ISO 8601 writes it; infinite if it is none."""
    try:
        seconds = float(stamp)
    except ValueError:
        try:
            seconds = _utc(datetime.fromisoformat(stamp.replace("Z", "+00:00"))).timestamp()
        except (ValueError, OverflowError):
            return inf
    if seconds > 1e11:
        seconds /= 1000
    return abs(received_at.timestamp() - seconds)
