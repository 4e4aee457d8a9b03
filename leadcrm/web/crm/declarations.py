"""How a route of the CRM is declared: once, with its parameters, its body and its answers.

The declaration is what requests are checked by, what Sanic is given and what the OpenAPI description is made of, so
none of them can say another thing. sanic-ext was weighed against this: it makes its description of decorators beside
the handlers, checks nothing by it, and brings pydantic and an import of its whole house to every start.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl
from uuid import UUID

import orjson
from sanic.request import Request
from sanic.response import HTTPResponse

Schema = Mapping[str, Any]

UUID_PATTERN = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

MOST_PARAMETERS = 1_000

UUID_SCHEMA: Schema = {"type": "string", "format": "uuid", "pattern": UUID_PATTERN}


class InvalidRequest(Exception):  # noqa: N818 - named by the condition, as all of ours
    """A parameter or body is not as declared; the text names it and says what is accepted."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: `parse` makes a value of its text or raises ValueError with what is accepted.

    A `repeatable` one becomes a tuple.
    """

    name: str
    description: str
    schema: Schema
    parse: Callable[[str], Any]
    place: Literal["query", "path", "header"] = "query"
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON body: `parse` makes a value of the document or raises ValueError with what is accepted."""

    schema: Schema
    parse: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that a route gives: its media types, each with the schema of its documents, and its headers."""

    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a declared route, checked: absent parameters are None, or an empty tuple where repeatable.

    A handler that answers by itself sends `request_id` in `X-Request-Id`.
    """

    request: Request
    request_id: str
    parameters: Mapping[str, Any]
    body: Any

    def __getitem__(self, name: str) -> Any:
        """Return a parameter."""
        return self.parameters[name]


Handler = Callable[[Call], Awaitable["HTTPResponse | None"]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route: `path` as OpenAPI writes it, `handler` what answers a checked request."""

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    answers: Mapping[int, Answer]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None

    @property
    def sanic_path(self) -> str:
        """Return the path as Sanic writes it."""
        return re.sub(r"{(\w+)}", r"<\1:str>", self.path)

    def check(self, request: Request, request_id: str, path_values: Mapping[str, str]) -> Call:
        """Check a request by the declaration. Raises `InvalidRequest`."""
        given = _texts(request, path_values)
        declared = {parameter.name for parameter in self.parameters if parameter.place == "query"}
        unknown = next((name for place, name, _ in given if place == "query" and name not in declared), None)
        if unknown is not None:
            names = ", ".join(sorted(declared)) or "none"
            raise InvalidRequest(f"{unknown[:100]}: there is no such parameter; accepted: {names}")
        values = {parameter.name: _value(parameter, given) for parameter in self.parameters}
        return Call(request, request_id, values, None if self.body is None else _document(self.body, request.body))


def _texts(request: Request, path_values: Mapping[str, str]) -> list[tuple[str, str, str]]:
    try:
        query = parse_qsl(request.query_string, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise InvalidRequest(f"up to {MOST_PARAMETERS} parameters are accepted") from None
    return [
        *(("query", name, text) for name, text in query),
        *(("path", name, text) for name, text in path_values.items()),
        *(("header", name.lower(), text) for name, text in request.headers.items()),
    ]


def _value(parameter: Parameter, given: list[tuple[str, str, str]]) -> Any:
    name = parameter.name.lower() if parameter.place == "header" else parameter.name
    texts = [text for place, of, text in given if (place, of) == (parameter.place, name)]
    if len(texts) > 1 and not parameter.repeatable:
        raise InvalidRequest(f"{parameter.name}: is given {len(texts)} times; once is accepted")
    values = []
    for text in texts:
        try:
            # No database holds these, and drivers fail on them each in its own way.
            if "\x00" in text or (not text.isascii() and text != text.encode(errors="replace").decode()):
                raise ValueError("holds characters that no text here has")  # noqa: TRY301 - told as every other fault
            values.append(parameter.parse(text))
        except ValueError as error:
            raise InvalidRequest(f"{parameter.name}: {error}") from None
    if parameter.repeatable:
        return tuple(values)
    return values[0] if values else None


def _document(body: Body, content: bytes) -> Any:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise InvalidRequest("the body is no JSON") from None
    try:
        return body.parse(document)
    except ValueError as error:
        raise InvalidRequest(f"the body: {error}") from None


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number in a range."""

    def parse(text: str) -> int:
        if re.fullmatch("[0-9]{1,9}", text) and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"a whole number from {least} to {most} is accepted")

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """Return what reads one of some words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"accepted: {', '.join(words)}")
        return text

    return parse


def text_of(most: int, least: int = 0) -> Callable[[str], str]:
    """Return what reads a text of a length."""

    def parse(text: str) -> str:
        if not least <= len(text) <= most:
            raise ValueError(f"{least} to {most} characters are accepted")
        return text

    return parse


def uuid_of(text: object) -> UUID:
    """Read an id in its usual form alone."""
    if isinstance(text, str) and re.fullmatch(UUID_PATTERN, text):
        return UUID(text)
    raise ValueError("an id such as 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e is accepted")
