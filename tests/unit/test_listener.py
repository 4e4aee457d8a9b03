"""The listening socket at the stop: who has connected before is accepted."""

from __future__ import annotations

import asyncio
import socket
import time

import uvloop

from leadcrm.web.http.listener import HANDSHAKE_S, accept_pending

SENDERS = 40


class Busy(asyncio.Protocol):
    """A connection that costs the loop so much time that it accepts few within `HANDSHAKE_S`."""

    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        time.sleep(HANDSHAKE_S / 10)  # the time is the point: there is no condition to wait for
        Busy.made += 1
        transport.close()


def test_a_busy_loop_accepts_every_connection_of_the_queue_before_it_stops() -> None:
    async def stop(listener: socket.socket) -> None:
        server = await asyncio.get_running_loop().create_server(Busy, sock=listener, backlog=SENDERS)
        senders = [socket.create_connection(listener.getsockname()) for _ in range(SENDERS)]
        await accept_pending((listener,), time.monotonic() + 30, asyncio.Event())
        server.close()
        for sender in senders:
            sender.close()

    with socket.create_server(("127.0.0.1", 0), backlog=SENDERS) as listener:
        listener.setblocking(False)
        loop = uvloop.new_event_loop()
        loop.run_until_complete(stop(listener))
        loop.close()
    assert Busy.made == SENDERS


def test_a_queue_of_which_nobody_takes_anything_delays_the_stop_for_its_time_and_a_second_signal_ends_it() -> None:
    async def stop(listener: socket.socket, *, is_at_once: bool) -> float:
        at_once = asyncio.Event()
        if is_at_once:
            at_once.set()
        began_at = time.monotonic()
        await asyncio.wait_for(accept_pending((listener,), began_at + 1, at_once), 20)
        return time.monotonic() - began_at

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        assert asyncio.run(stop(listener, is_at_once=False)) >= 1
        assert asyncio.run(stop(listener, is_at_once=True)) < 1
