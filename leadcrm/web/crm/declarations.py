"""Declarations of the CRM's routes, with their parameters, bodies and responses.

Requests are checked by the declaration, Sanic's route and the OpenAPI description are made of it, so the three always
agree. sanic-ext was weighed against this: it makes its description of decorators beside the handlers, checks nothing
by it, and adds pydantic and its own imports to every start.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl
from uuid import UUID

import orjson
from sanic.request import Request
from sanic.response import HTTPResponse

from leadcrm.configuration.time_zone import UTC, TimeZone
from leadcrm.crm.audit import Action, Actor
from leadcrm.crm.tokens import Right
from leadcrm.web.crm.caller import Caller

Schema = Mapping[str, Any]

UUID_PATTERN = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

MAX_PARAMETERS = 1_000

UUID_SCHEMA: Schema = {"type": "string", "format": "uuid", "pattern": UUID_PATTERN}


class InvalidRequest(Exception):  # noqa: N818 - named by the condition, like all of ours
    """A parameter or body is not as declared; the text names it and says what is accepted."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a route.

    Attributes:
        name: Its public name.
        description: One sentence for the OpenAPI description.
        schema: The JSON schema of one value.
        parse: Makes a value of the text, or raises ValueError that says what is accepted.
        place: Where it stands in a request.
        repeatable: It may stand several times; its value is then a tuple.
        is_required: A request without it is refused.
    """

    name: str
    description: str
    schema: Schema
    parse: Callable[[str], Any]
    place: Literal["query", "path", "header"] = "query"
    repeatable: bool = False
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON body: `parse` makes a value of the document, or raises ValueError that says what is accepted."""

    schema: Schema
    parse: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Response:
    """One response of a route: the schema of its documents by media type, and its headers with descriptions."""

    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was checked by its route. Absent parameters are None, or an empty tuple where repeatable.

    A handler that responds by itself sends `request_id` in `X-Request-Id`.
    """

    request: Request
    request_id: str
    parameters: Mapping[str, Any]
    body: Any
    caller: Caller
    zone: TimeZone = UTC
    """Whose days a date means unless the request says otherwise."""

    @property
    def actor(self) -> Actor:
        """Return who asks, for histories and the audit trail."""
        return self.caller.actor

    def __getitem__(self, name: str) -> Any:
        """Return the value of a parameter."""
        return self.parameters[name]


@dataclass(frozen=True, slots=True)
class Route:
    """One route; `path` is written as in OpenAPI, `name` is unique among the routes.

    Attributes:
        right: What a token's role must have; without one the route is for ADMIN_TOKEN alone.
        audited: What the audit trail calls its use, where that is not recorded with a change or by the handler.
    """

    method: str
    path: str
    name: str
    summary: str
    responses: Mapping[int, Response]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    right: Right | None = None
    audited: Action | None = None

    @property
    def changes(self) -> bool:
        """Say whether it may change something."""
        return self.method != "GET"

    @property
    def sanic_path(self) -> str:
        """Return the path as Sanic writes it."""
        return re.sub(r"{(\w+)}", r"<\1:str>", self.path)

    def check(
        self,
        request: Request,
        request_id: str,
        path_values: Mapping[str, str],
        caller: Caller,
        zone: TimeZone = UTC,
    ) -> Call:
        """Check a request by the declaration.

        Raises:
            InvalidRequest: It is not as declared.
        """
        texts = _parameter_texts(request, path_values)
        declared = {parameter.name for parameter in self.parameters if parameter.place == "query"}
        unknown = next((name for place, name, _ in texts if place == "query" and name not in declared), None)
        if unknown is not None:
            names = ", ".join(sorted(declared)) or "none"
            raise InvalidRequest(f"{unknown[:100]}: there is no such parameter; accepted: {names}")
        values = {parameter.name: _parse_parameter(parameter, texts) for parameter in self.parameters}
        body = None if self.body is None else _parse_body(self.body, request.body)
        return Call(request, request_id, values, body, caller, zone)


Handler = Callable[[Call], Awaitable["HTTPResponse | None"]]
"""Handles a checked request; None where it has responded by itself."""


class Endpoint(NamedTuple):
    """A route and its handler."""

    route: Route
    handler: Handler


_ParameterText = tuple[str, str, str]
"""Place, name and text of one parameter in a request."""


def _parameter_texts(request: Request, path_values: Mapping[str, str]) -> list[_ParameterText]:
    try:
        query = parse_qsl(request.query_string, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise InvalidRequest(f"up to {MAX_PARAMETERS} parameters are accepted") from None
    return [
        *(("query", name, text) for name, text in query),
        *(("path", name, text) for name, text in path_values.items()),
        *(("header", name.lower(), text) for name, text in request.headers.items()),
    ]


def _parse_parameter(parameter: Parameter, parameter_texts: list[_ParameterText]) -> Any:
    name = parameter.name.lower() if parameter.place == "header" else parameter.name
    texts = [text for place, other, text in parameter_texts if (place, other) == (parameter.place, name)]
    if len(texts) > 1 and not parameter.repeatable:
        raise InvalidRequest(f"{parameter.name}: is given {len(texts)} times; once is accepted")
    values = []
    for text in texts:
        try:
            # No database holds these characters, and each driver fails on them in another way.
            if "\x00" in text or (not text.isascii() and text != text.encode(errors="replace").decode()):
                raise ValueError("holds characters that no text here has")  # noqa: TRY301 - reported like the others
            values.append(parameter.parse(text))
        except ValueError as error:
            raise InvalidRequest(f"{parameter.name}: {error}") from None
    if parameter.is_required and not values:
        raise InvalidRequest(f"{parameter.name}: is needed")
    if parameter.repeatable:
        return tuple(values)
    return values[0] if values else None


def _parse_body(body: Body, content: bytes) -> Any:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise InvalidRequest("the body is no JSON") from None
    try:
        return body.parse(document)
    except ValueError as error:
        raise InvalidRequest(f"the body: {error}") from None


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers in a range."""

    def parse(text: str) -> int:
        if re.fullmatch("[0-9]{1,9}", text) and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"a whole number from {least} to {most} is accepted")

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser of one of these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"accepted: {', '.join(words)}")
        return text

    return parse


def text_up_to(max_chars: int) -> Callable[[str], str]:
    """Return a parser of texts of up to so many characters."""

    def parse(text: str) -> str:
        if len(text) > max_chars:
            raise ValueError(f"0 to {max_chars} characters are accepted")
        return text

    return parse


def parse_uuid(text: object) -> UUID:
    """Read an id in its usual form only; Python accepts others."""
    if isinstance(text, str) and re.fullmatch(UUID_PATTERN, text):
        return UUID(text)
    raise ValueError("an id such as 0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e is accepted")
