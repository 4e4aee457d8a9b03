"""Tokens: who guesses waits, who has the right one never does, and weak ones are told of."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.command import leadcrm
from tests.support.conversation import Conversation
from tests.support.server import Server
from tests.support.waiting import wait_until

TOKEN = "a-token-of-an-honest-length-1"
METRICS_TOKEN = "a-token-of-an-honest-length-2"


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return start_server(
        environment={
            "INGEST_TOKEN": TOKEN,
            "METRICS_TOKEN": METRICS_TOKEN,
            "RATE_LIMIT": "30/h",
            "TRUSTED_PROXIES": "127.0.0.0/8",
        }
    )


def test_guesses_at_a_leads_door_wait_and_are_limited_and_the_right_token_is_not(server: Server) -> None:
    guess = b"POST /api/lead HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nContent-Length: 0\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(Conversation(server.client)).send(guess)
        honest = server.client.post_lead({}, headers=[bearer(TOKEN)])
        assert (honest.status, honest.latency_s < 5) == (201, True), "it waits for no guess from its address"
        refused = wait_until(
            lambda: (
                found
                if len(found := [line for line in server.log_records() if line.get("status") == 429]) >= 20
                else None
            )
        )
    assert {line["remote_addr"] for line in refused} == {"127.0.0.1"}
    other = server.client.post_lead({}, headers=[bearer("wrong"), ("X-Forwarded-For", "198.51.100.9")])
    assert other.status == 401


def test_metrics_and_the_parts_of_ready_need_their_token_where_it_is_set(server: Server) -> None:
    assert server.client.get("/metrics").status == 401
    assert server.client.get("/metrics", headers=[bearer("wrong")]).status == 401
    metrics = server.client.get("/metrics", headers=[bearer(METRICS_TOKEN)])
    assert b"leadcrm_ready 1.0" in metrics.body
    assert set(server.client.get("/ready").json()) == {"ok", "timestamp"}
    assert "disk_free_bytes" in server.client.get("/ready", headers=[bearer(METRICS_TOKEN)]).json()
    assert server.client.get("/health").status == 200


def test_weak_tokens_are_named_by_check_and_at_the_start(start_server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "metrics-token"
    file.write_text("short")
    file.chmod(0o644)
    settings = {"INGEST_TOKEN": "a" * 20, "ADMIN_TOKEN": "short", "METRICS_TOKEN_FILE": str(file)}
    told = [
        "INGEST_TOKEN has few different characters: it can be guessed",
        "ADMIN_TOKEN has 5 characters, fewer than 16: it can be guessed",
        "METRICS_TOKEN is the same as ADMIN_TOKEN: who has the one has the other",
        f"{file}, which holds METRICS_TOKEN, is readable by every user of this machine",
    ]
    server = start_server(environment=settings)
    check = leadcrm(tmp_path, "check", **settings, DATA_DIR=str(server.data_dir))
    log = server.log_text()
    for text in told:
        assert text in check.stdout
        assert text in log
    assert check.returncode == 0
    assert "short" not in log
    strong = leadcrm(tmp_path, "check", INGEST_TOKEN=TOKEN, ADMIN_TOKEN=METRICS_TOKEN, DATA_DIR=str(server.data_dir))
    assert "WARNING" not in strong.stdout
