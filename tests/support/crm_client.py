"""A server's CRM, asked over HTTP with the token."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from tests.support.client import Answer
from tests.support.rows import Rows
from tests.support.server import Server

TOKEN = "a-token-no-log-may-hold"
BEARER = ("Authorization", f"Bearer {TOKEN}")
ENVIRONMENT = {"ADMIN_TOKEN": TOKEN}


class Crm:
    """A server and its database, asked with the token."""

    def __init__(self, server: Server, database: str) -> None:
        self.server = server
        self.database = database
        self.rows = Rows(database)

    def ask(self, method: str, target: str, document: Any = None, **headers: str) -> Answer:
        """Send a request with a JSON body; `If_Match` names the header If-Match."""
        given = [BEARER, *((name.replace("_", "-"), value) for name, value in headers.items())]
        body = None if document is None else json.dumps(document).encode()
        return self.server.client.request(method, target, body=body, headers=given)

    def get(self, target: str, **parameters: Any) -> Any:
        """Return the document that a target answers with 200."""
        answer = self.ask("GET", f"{target}?{urlencode(parameters, doseq=True)}")
        assert answer.status == 200, answer.body
        return answer.json()

    def ids(self, **parameters: Any) -> list[str]:
        """Return the ids of a page of leads."""
        return [lead["id"] for lead in self.get("/api/leads", **parameters)["leads"]]


def request_head(target: str, *, method: str = "GET") -> bytes:
    """Return the bytes of a request without a body, for a connection that the test reads by itself."""
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
