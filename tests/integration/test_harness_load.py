"""The load client tells apart every way in which an attempt can end, and the journal keeps what it saw."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.connection import Connection
from tests.support.journal import Journal, Outcome, read_journal
from tests.support.load import Lead, Load, generated_leads
from tests.support.ports import free_port

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SMALL_REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"
LARGE_REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 30000000\r\n\r\n" + b"x" * 30_000_000
"""Larger than what the kernel buffers on both sides of a connection."""


def answer(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d Whatever" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


@contextmanager
def misbehaving_server(behave: Behaviour) -> Iterator[int]:
    """Serve every connection with `behave` and yield the port."""
    port = free_port()
    started = threading.Event()
    ending: list[Callable[[], object]] = []

    async def serve() -> None:
        done = asyncio.Event()
        ending.append(lambda: loop.call_soon_threadsafe(done.set))
        loop = asyncio.get_running_loop()
        serving: set[asyncio.Task[None]] = set()

        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await behave(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(serve_one(reader, writer))
            serving.add(task)
            task.add_done_callback(serving.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", port)
        started.set()
        await done.wait()
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(10)
    try:
        yield port
    finally:
        ending[0]()
        thread.join()


def reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return head + await reader.readexactly(length)


async def reset_before_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(1000)
    reset(writer)


async def reset_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    reset(writer)


async def close_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def answer_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(answer(201, b"0123456789")[:-5])
    await writer.drain()


async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def refuse_a_large_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(1000)
    writer.write(answer(413, b"{}"))
    await writer.drain()
    await reader.read()


@pytest.mark.parametrize(
    ("behave", "request_bytes", "outcome", "status"),
    [
        (reset_before_reading, LARGE_REQUEST, Outcome.UNSENT, None),
        (reset_after_reading, SMALL_REQUEST, Outcome.UNANSWERED, None),
        (close_after_reading, SMALL_REQUEST, Outcome.UNANSWERED, None),
        (answer_half, SMALL_REQUEST, Outcome.TORN, None),
        (never_answer, SMALL_REQUEST, Outcome.TIMED_OUT, None),
        (refuse_a_large_body, LARGE_REQUEST, Outcome.ANSWERED, 413),
    ],
    ids=["reset early", "reset late", "closed", "torn", "silent", "answered early"],
)
def test_the_end_of_an_attempt_is_told_exactly(
    behave: Behaviour, request_bytes: bytes, outcome: Outcome, status: int | None
) -> None:
    with misbehaving_server(behave) as port:
        connection = Connection("127.0.0.1", port)
        exchange = asyncio.run(connection.exchange(request_bytes, timeout_s=2))
        connection.close()
    assert exchange.outcome is outcome
    assert (exchange.answer.status if exchange.answer else None) == status


def test_a_port_on_which_nothing_listens_refuses() -> None:
    exchange = asyncio.run(Connection("127.0.0.1", free_port()).exchange(SMALL_REQUEST, timeout_s=2))
    assert exchange.outcome is Outcome.REFUSED


def test_a_request_is_on_its_way_before_the_loop_does_anything_else() -> None:
    """A stopping server waits 0.25 s for it, and a loop with other connections may come round later than that."""

    async def take_two(listener: socket.socket, connection: Connection) -> list[bytes]:
        taken = []
        peer = None
        for _ in range(2):
            exchanging = asyncio.ensure_future(connection.exchange(SMALL_REQUEST, timeout_s=10))
            await asyncio.sleep(0)
            # These block the loop.
            peer = peer or listener.accept()[0]
            taken.append(peer.recv(1000))
            peer.sendall(answer(201, b"{}"))
            await exchanging
        connection.close()
        assert peer is not None
        peer.close()
        return taken

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(2)
        taken = asyncio.run(take_two(listener, Connection(*listener.getsockname())))
    assert taken == [SMALL_REQUEST] * 2


async def keep_leads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        request = await read_request(reader)
        head, _, body = request.partition(b"\r\n\r\n")
        key = next((line for line in head.split(b"\r\n") if line.lower().startswith(b"idempotency-key:")), None)
        lead_id = str(uuid.uuid5(uuid.NAMESPACE_OID, (key or body).decode()))
        told = json.dumps({"ok": True, "lead_id": lead_id, "deduplicated": False}).encode()
        receipt = f"Lead-Receipt: raw={lead_id}; sha256={hashlib.sha256(body).hexdigest()}; stored=database"
        writer.write(answer(201, told, receipt.encode()))
        await writer.drain()


def test_a_load_sends_every_lead_and_journals_every_answer(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with misbehaving_server(keep_leads) as port, Journal(path) as journal:
        leads = generated_leads(1, repeat_share=0.3, conflict_share=0.1, keyless_share=0.1)
        Load("127.0.0.1", port, journal, leads, connections=8, most_leads=300).start().wait()
    entries = read_journal(path)
    assert len(entries) == 300
    assert all(entry.acknowledged and entry.stored == "database" for entry in entries)
    keys = [entry.key for entry in entries if entry.key]
    assert len(set(keys)) < len(keys) < 300
    assert entries == journal.entries


def test_a_lead_in_doubt_is_sent_again_only_with_a_key(tmp_path: Path) -> None:
    requests = []

    async def answer_the_second_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        if len(requests) > 2:
            writer.write(answer(503, b"{}") if len(requests) == 3 else answer(400, b"{}"))
            await writer.drain()

    with misbehaving_server(answer_the_second_time) as port, Journal(tmp_path / "journal") as journal:
        leads = [Lead(None, b"keyless"), Lead(b"\xe9", b"with a key")]
        Load("127.0.0.1", port, journal, leads, connections=1).start().wait()
    assert [(entry.key, entry.outcome, entry.status) for entry in journal.entries] == [
        (None, Outcome.UNANSWERED, None),
        ("\xe9", Outcome.UNANSWERED, None),
        ("\xe9", Outcome.ANSWERED, 503),
        ("\xe9", Outcome.ANSWERED, 400),
    ]
    assert b"Idempotency-Key: \xe9\r\n" in requests[1]


def test_a_load_ends_when_told_though_nothing_answers(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "journal") as journal,
        Load("127.0.0.1", free_port(), journal, generated_leads(1), connections=2) as load,
    ):
        assert load.running
    assert {entry.outcome for entry in journal.entries} == {Outcome.REFUSED}


def test_the_blocking_client_sends_header_bytes_as_they_are_and_malformed_requests() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, await reader.readuntil(b"\r\n\r\n")))
        await writer.drain()

    with misbehaving_server(echo) as port:
        client = Client("127.0.0.1", port)
        assert b"\r\nIdempotency-Key: caf\xe9\r\n" in client.post_lead({}, key=b"caf\xe9").body
        assert client.send_raw(b"NONSENSE\r\n\r\n").endswith(b"\r\n\r\nNONSENSE\r\n\r\n")
