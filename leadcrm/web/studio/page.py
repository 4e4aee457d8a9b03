"""The studio: one page and its files, served as they lie in the package.

The page loads and runs these files alone: its policy forbids inline code, inline styles, frames and other origins. It
gets its data from the CRM's API.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from gzip import compress
from hashlib import sha256
from importlib.resources import files
from time import perf_counter
from typing import Any

from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.web.crm.gate import HOW_TO_OPEN, Gate
from leadcrm.web.http.request_id import new_request_id, request_id_of
from leadcrm.web.request_log import RequestLog

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

PAGE = "index.html"

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Browsers revalidate every file, so that an upgrade never mixes old files with new ones.
    "cache-control": "no-cache",
}


class StudioPage:
    """The files of the studio, in memory: some hundred kilobytes, and a third of it where asked for compressed."""

    def __init__(self, gate: Gate, log: RequestLog) -> None:
        """Read the files into memory."""
        self._gate = gate
        self._log = log
        self._files: dict[str, tuple[bytes, str, str]] = {}
        self._compressed: dict[str, bytes] = {}
        for file in files("leadcrm.web.studio").joinpath("files").iterdir():
            suffix = f".{file.name.rpartition('.')[2]}"
            if suffix in _KINDS:
                content = file.read_bytes()
                self._files[file.name] = (content, _KINDS[suffix], f'"{sha256(content).hexdigest()[:32]}"')

    def register(self, app: Any) -> None:
        """Add the routes of the page and its files to the application."""
        app.add_route(self._handler_of(PAGE), "/studio", methods=["GET", "HEAD"], name="studio", error_format="json")
        for name in self._files:
            if name != PAGE:
                route = f"studio_{name.replace('.', '_')}"
                app.add_route(
                    self._handler_of(name), f"/studio/{name}", methods=["GET", "HEAD"], name=route, error_format="json"
                )

    def _handler_of(self, name: str) -> Callable[[Request], Awaitable[HTTPResponse]]:
        async def handle(request: Request) -> HTTPResponse:
            started = perf_counter()
            response = self._answer(request, name)
            request_id = request_id_of(request) or new_request_id()
            response.headers["x-request-id"] = request_id
            self._log.record(request, started, response.status, request_id)
            return response

        return handle

    def _answer(self, request: Request, name: str) -> HTTPResponse:
        if self._gate.is_closed:
            return HTTPResponse(f"{HOW_TO_OPEN}\n", 403, HEADERS, "text/plain; charset=utf-8")
        if request.path.endswith("/"):
            # The page's links are relative, so that it may lie below any path of a proxy.
            query = f"?{request.query_string}" if request.query_string else ""
            return HTTPResponse(None, 308, {**HEADERS, "location": f"../studio{query}"})
        content, kind, tag = self._files[name]
        headers = {**HEADERS, "etag": tag, "vary": "Accept-Encoding"}
        takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
        if takes_gzip:
            tag = f"W/{tag}"
            headers |= {"content-encoding": "gzip", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return HTTPResponse(None, 304, headers)
        if takes_gzip:
            # Nothing in these files is a secret, which its compression beside chosen texts could tell.
            content = self._compressed.get(name) or self._compressed.setdefault(name, compress(content, mtime=0))
        return HTTPResponse(content, 200, headers, kind)
