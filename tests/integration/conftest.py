"""A server with a CRM, which the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import new_database, server_starter
from tests.support.crm_client import ENVIRONMENT, Crm


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def crm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    """A server for all tests of a module; each test marks leads of its own."""
    for database in new_database(request.param, request, tmp_path_factory.mktemp("crm-database")):
        for start in server_starter(request.node, tmp_path_factory.mktemp("crm")):
            yield Crm(start(database, environment=ENVIRONMENT), database)
