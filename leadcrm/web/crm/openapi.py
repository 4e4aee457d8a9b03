"""The OpenAPI description, made of the declarations of the routes (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from leadcrm import __version__
from leadcrm.crm.tokens import RIGHTS, Role
from leadcrm.web.crm.declarations import Parameter, Response, Route, Schema

_ABOUT = """The CRM of leadcrm: leads, the requests they were made of, and their statistics.

Every request bears `Authorization: Bearer` with ADMIN_TOKEN, or with the token of a person or program, whose role says
what it may do. Times are UTC. Leads themselves arrive at
`POST /api/lead`, which this description leaves to the README."""


_TOKENS = "ADMIN_TOKEN, or a token of `leadcrm token add`."


def describe(routes: Iterable[Route], schemas: Mapping[str, Schema], common: Mapping[int, Response]) -> dict[str, Any]:
    """Return the description; `common` are the responses that every route may give."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _describe_operation(route, common)
    return {
        "openapi": "3.1.0",
        "info": {"title": "leadcrm", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": dict(schemas),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": _TOKENS}},
        },
        "security": [{"token": []}],
    }


def _describe_operation(route: Route, common: Mapping[int, Response]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [_describe_parameter(parameter) for parameter in route.parameters],
        "responses": {
            str(status): _describe_response(response)
            for status, response in sorted({**common, **route.responses}.items())
        },
    }
    able = [role.value for role in Role if route.right in RIGHTS[role]]
    may = f"For {', '.join(able) or 'nobody'} and ADMIN_TOKEN."
    operation["description"] = f"{route.description} {may}".strip()
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.body.schema}}}
    return operation


def _describe_parameter(parameter: Parameter) -> dict[str, Any]:
    schema = {"type": "array", "items": parameter.schema} if parameter.repeatable else parameter.schema
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.is_required or parameter.place == "path",
        "description": parameter.description,
        "schema": schema,
    }


def _describe_response(response: Response) -> dict[str, Any]:
    description: dict[str, Any] = {"description": response.description}
    if response.content:
        description["content"] = {kind: {"schema": schema} for kind, schema in response.content.items()}
    if response.headers:
        description["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in response.headers.items()
        }
    return description
