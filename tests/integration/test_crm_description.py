"""The OpenAPI description against the server: generated requests get the responses that it describes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.schemas import BaseSchema

from leadcrm.web.crm.api import COMMON_RESPONSES
from tests.conftest import server_starter
from tests.support.server import Server

TOKEN = "a-token-for-the-description"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
OPERATIONS = (
    "GET /api/leads",
    "POST /api/leads/bulk",
    "GET /api/leads/{id}",
    "PATCH /api/leads/{id}",
    "GET /api/leads/count",
    "GET /api/leads/values",
    "GET /api/leads/others",
    "POST /api/leads/next",
    "POST /api/leads/{id}/notes",
    "GET /api/choices",
    "GET /api/leads/export",
    "GET /api/feed",
    "GET /api/raw",
    "GET /api/raw/{id}",
    "POST /api/raw/{id}/correct",
    "POST /api/raw/{id}/replay",
    "POST /api/raw/{id}/try",
    "GET /api/sources",
    "GET /api/sources/{source}",
    "GET /api/presets",
    "GET /api/sinks",
    "GET /api/deliveries",
    "POST /api/deliveries/retry",
    "POST /api/deliveries/drop",
    "POST /api/raw/archive",
    "GET /api/stats",
    "GET /api/stats/outcomes",
    "GET /api/openapi.json",
    "GET /api/session",
    "POST /api/session",
    "DELETE /api/session",
    "GET /api/tokens",
    "POST /api/tokens",
    "DELETE /api/tokens/{id}",
    "GET /api/audit",
)
STREAM = "GET /api/leads/stream"
"""It never ends, so no requests are generated for it."""

LEFT_OUT = {"ignored_auth"}
"""Requests with wrong tokens, which get slow responses on purpose."""

if sys.version_info < (3, 11):
    # The last release for this Python does not recognise an array of one text in a query string.
    LEFT_OUT |= {"negative_data_rejection"}

NOT_TOLD_APART = (
    "GET /api/leads",
    "GET /api/leads/count",
    "GET /api/leads/export",
    "GET /api/stats",
    "GET /api/stats/outcomes",
)
"""Most of their parameters are arrays, and schemathesis takes `country=1` for a number or text, not an array of one."""

NOT_GENERATED = ("cursor", "from", "after", "wait", "sort", "zone")
"""Parameters that depend on another response or parameter, or on the system\'s time zones: no schema can say that."""

TOO_LARGE = (413, 431)
"""Bodies and heads that are longer than any schema says are refused before they are looked at."""

EXAMPLES = 25
LONGEST_GENERATED = 10_000


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    for start in server_starter(request.node, tmp_path_factory.mktemp("description")):
        running = start(environment={"ADMIN_TOKEN": TOKEN})
        for number in range(3):
            running.client.post_lead({"email": f"a{number}@example.com", "country": "LV"}, key=f"key {number}")
        running.client.post_lead(b"bad")
        yield running


@pytest.fixture(scope="module")
def schema(server: Server) -> BaseSchema:
    load_all_checks()
    described = server.client.get("/api/openapi.json", headers=list(HEADERS.items())).json()
    return schemathesis.openapi.from_dict(_without_long_bounds(described))


def _without_long_bounds(described: Any) -> Any:
    """Leave out the longest lengths, which no generated text comes near: a pattern of such a length takes seconds."""
    if isinstance(described, list):
        return [_without_long_bounds(part) for part in described]
    if not isinstance(described, dict):
        return described
    return {
        name: _without_long_bounds(part)
        for name, part in described.items()
        if name != "maxLength" or not isinstance(part, int) or part <= LONGEST_GENERATED
    }


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_generated_request_is_answered_as_described(
    server: Server, schema: BaseSchema, operation: str, mode: GenerationMode
) -> None:
    left_out = LEFT_OUT | ({"negative_data_rejection"} if operation in NOT_TOLD_APART else set())
    checks = [check for check in CHECKS.get_all() if check.__name__ not in left_out]
    url = f"http://{server.host}:{server.port}"
    described = schema.find_operation_by_label(operation)
    assert described is not None

    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=described.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.query, dict):
            for name in NOT_GENERATED:
                case.query.pop(name, None)
            # With ADMIN_TOKEN a lead is taken for whom this names; other tokens have names of their own.
            case.headers.setdefault("X-Actor", "somebody")
        elif isinstance(case.query, dict):
            # An empty list is nothing in an address, and what is left may be right.
            assume([] not in case.query.values())
        response = case.call(base_url=url, headers=HEADERS)
        if response.status_code not in TOO_LARGE:
            case.validate_response(response, headers=HEADERS, checks=checks)

    try:
        ask()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # where nothing is accepted, nothing can be wrong


def test_the_description_names_every_route_and_every_common_answer(server: Server) -> None:
    described = server.client.get("/api/openapi.json", headers=list(HEADERS.items())).json()
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert operations.keys() == {*OPERATIONS, STREAM}
    for operation in operations.values():
        assert {str(status) for status in COMMON_RESPONSES} < set(operation["responses"])
        assert operation["summary"]
