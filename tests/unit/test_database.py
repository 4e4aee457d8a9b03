"""The database's module by itself."""

from __future__ import annotations

import subprocess
import sys


def test_pony_has_its_providers_before_two_threads_can_bind_at_once() -> None:
    """Both threads of a start bind; Pony's own late import handed one of them a module that was half imported."""
    script = (
        "import sys, leadcrm.database; "
        "print(all(f'pony.orm.dbproviders.{name}' in sys.modules for name in ('sqlite', 'postgres')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
