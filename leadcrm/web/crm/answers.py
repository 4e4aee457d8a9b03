"""What the CRM's answers have in common: never cached, never guessed at by a browser, JSON with times in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sanic.response import HTTPResponse

from leadcrm.crm.documents import encode
from leadcrm.web.http.responses import Refusal

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def answer(status: int, document: Any, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """Return a JSON answer; `document` may be encoded already."""
    body = document if isinstance(document, bytes) else encode(document)
    return HTTPResponse(body, status=status, headers={**HEADERS, **(headers or {})}, content_type="application/json")


def refuse(refusal: Refusal, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> HTTPResponse:
    """Return an error's answer, with a message for people."""
    return answer(refusal.status, {"ok": False, "error": refusal.error, "message": message, **more}, headers)
