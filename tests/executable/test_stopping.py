"""The ends of the executable: asked for, in the middle of requests, and by force. It is two processes, or more."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.conversation import Conversation, lead_request
from tests.support.server import Server, StartServer
from tests.support.waiting import wait_until

IN_FLIGHT = 50
BODY = b'{"email": "in-flight@example.com"}'


def unpacked(folder: Path) -> list[str]:
    """Return the names of what executables have unpacked in a folder."""
    return [path.name for path in folder.glob("_MEI*")]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the executable unpacks itself."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def terminate_main(server: Server) -> None:
    server.send_signal(signal.SIGTERM)


def terminate_group(server: Server) -> None:
    os.killpg(server.pid, signal.SIGTERM)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("terminate", [terminate_main, terminate_group])
def test_fifty_requests_in_flight_are_answered_at_a_stop(
    start_server: StartServer, workers: str, terminate: Callable[[Server], None]
) -> None:
    server = start_server(environment={"WORKERS": workers})
    with ExitStack() as stack:
        senders = [stack.enter_context(Conversation(server.client)) for _ in range(IN_FLIGHT)]
        for number, sender in enumerate(senders):
            request = lead_request(BODY, (b"Expect", b"100-continue"), key=b"key-%d" % number)
            sender.send(request.removesuffix(BODY))
        for sender in senders:
            # The server has read the head: the request is in flight.
            sender.wait_for(b"100 Continue\r\n\r\n")
        terminate(server)
        wait_until(lambda: any(record["msg"] == "stopping" for record in server.log_records()))
        for sender in senders:
            sender.send(BODY)
        assert [sender.answer().status for sender in senders] == [201] * IN_FLIGHT
    assert server.exit_status() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nothing_unpacked_is_left_after_a_stop(start_server: StartServer, temporary: Path, workers: str) -> None:
    server = start_server(environment={"WORKERS": workers, "TMPDIR": str(temporary)})
    assert len(unpacked(temporary)) == 1
    assert server.terminate() == 0
    assert unpacked(temporary) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_killing_the_outer_process_leaves_no_orphan(start_server: StartServer, workers: str) -> None:
    server = start_server(environment={"WORKERS": workers})
    assert len(server.pids()) == 1 + (1 if workers == "1" else 3)
    server.kill9(only_main=True)
    wait_until(lambda: not server.processes(), what="every process of the executable to end")


def test_a_wrong_configuration_ends_with_78_and_leaves_nothing(start_server: StartServer, temporary: Path) -> None:
    server = start_server(environment={"MAX_BODY_BYTES": "much", "TMPDIR": str(temporary)}, wait=False)
    assert server.exit_status() == 78
    assert "MAX_BODY_BYTES" in server.stderr_path.read_text()
    assert unpacked(temporary) == []
