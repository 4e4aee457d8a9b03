"""The contract holds for the executable as it does for the sources: their tests, run against it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import REPOSITORY, StartServer

CONTRACT = (
    "lead_endpoint",
    "refusals",
    "idempotency_keys",
    "hostile_payloads",
    "probes",
    "cross_origin",
)
"""The tests of tests/integration that speak of what a sender sees, on SQLite: others here use PostgreSQL's driver."""

AT_ONCE = {
    "WORKERS": "2",
    "HOST": "::",
    "INGEST_TOKEN": "in",
    "ADMIN_TOKEN": "admin",
    "METRICS_TOKEN": "metrics",
    "RATE_LIMIT": "100/s",
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "CORS_ORIGINS": "https://a.example",
    "TIME_ZONE": "Europe/Riga",
    "STATUSES": "new,called,won:won",
}
"""Settings whose code and data a program without them does not load."""


@pytest.mark.timeout(300)
def test_the_contract_s_tests_pass(executable: Path) -> None:
    files = [f"tests/integration/test_{name}.py" for name in CONTRACT]
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not postgres"]
    line += ["-p", "tests.executable.shared_servers", *files]
    environment = {**os.environ, "LEADCRM_TEST_EXECUTABLE": str(executable)}
    done = subprocess.run(
        line, check=False, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout


def test_whatever_is_set_is_inside(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text('[source.ads]\npreset = "google-ads"\nsecret = "s"\n')
    (tmp_path / "sinks.toml").write_text('[sink.crm]\nurl = "https://127.0.0.1:9/crm"\nallow_private = true\n')
    files = {f"{name.upper()}_FILE": str(tmp_path / f"{name}.toml") for name in ("sources", "sinks")}
    server = start_server(environment={**AT_ONCE, **files})

    def ask(target: str, token: str) -> int:
        return server.client.get(target, headers=[("Authorization", f"Bearer {token}")]).status

    assert server.client.post_lead({}, headers=[("X-Forwarded-For", "192.0.2.1")]).status == 401
    assert server.client.post_lead({}, headers=[("Authorization", "Bearer in")]).status == 201
    assert server.client.request("POST", "/in/ads", body=b'{"google_key": "s"}').status == 200
    assert [ask("/metrics", "metrics"), ask("/api/sources", "admin"), ask("/api/sinks", "admin")] == [200] * 3
    assert ask("/api/stats", "admin") == 200
