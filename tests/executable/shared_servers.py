"""A plugin of pytest: of the contract's tests only those that share a server, since the executable starts slowly.

Those that start servers with settings of their own show what the same program does with them.
"""

from __future__ import annotations

import pytest

STARTS = frozenset({"start_server", "own_postgres"})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the others."""
    others = [item for item in items if STARTS & set(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]
