"""What all responses of the CRM have in common: no cache, no guessing of types by browsers, JSON with times in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sanic.response import HTTPResponse

from leadcrm.crm.documents import encode
from leadcrm.web.http.responses import Refusal

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def json_response(status: int, document: Any, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """Return a JSON response; bytes are taken as JSON already."""
    body = document if isinstance(document, bytes) else encode(document)
    return HTTPResponse(body, status=status, headers={**HEADERS, **(headers or {})}, content_type="application/json")


def refuse(refusal: Refusal, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> HTTPResponse:
    """Return the response for an error, with a message for people."""
    document = {"ok": False, "error": refusal.error, "message": message, **more}
    return json_response(refusal.status, document, headers)
