"""Answers that the CRM sends piece by piece: how they go on, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from leadcrm.crm.audit import Actor, Via
from leadcrm.crm.feed import Feed
from leadcrm.errors import StoreUnavailable
from leadcrm.web.crm import api, export, stream, watch
from leadcrm.web.crm.caller import Caller
from leadcrm.web.crm.declarations import Call
from leadcrm.web.crm.export import ExportRoutes
from leadcrm.web.crm.feed import FeedRoutes
from leadcrm.web.crm.readers import Readers, TooBusy
from leadcrm.web.crm.stream import StreamRoutes
from leadcrm.web.crm.watch import FeedWatch
from tests.support.crm import keep, submission, url_of
from tests.support.writers import until

LEADS = 500


async def holds() -> bool:
    return True


ADMIN = Caller(Actor("api", Via.ADMIN_TOKEN), None, None, holds)


class Client:
    """A client of a streamed answer, as its handler meets it.

    Args:
        leaves_after: after so many pieces it is gone.
        stops_after: after so many pieces the server stops.
        last_event_id: its header Last-Event-ID.
    """

    def __init__(
        self, *, leaves_after: int = 1_000, stops_after: int = 1_000, last_event_id: int | None = None
    ) -> None:
        self._last_event_id = last_event_id
        self.received: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.end: str | None = None
        self._leaves_after = leaves_after
        self._stops_after = stops_after
        self._config = SimpleNamespace(KEEP_ALIVE=True)
        self.transport = SimpleNamespace(abort=lambda: setattr(self, "end", "aborted"), is_closing=lambda: False)
        self.app = SimpleNamespace(config=self._config)

    @property
    def call(self) -> Call:
        """Return its request, checked."""
        request: Any = self
        parameters = defaultdict(lambda: None, {"Last-Event-ID": self._last_event_id, "contains": ()})
        return Call(request, "a-request", parameters, None, ADMIN)

    async def respond(self, *, headers: dict[str, str], **_: Any) -> Client:
        self.headers = headers
        return self

    async def send(self, piece: bytes) -> None:
        if len(self.received) >= self._leaves_after:
            raise ConnectionResetError
        self.received.append(piece)
        self._config.KEEP_ALIVE = len(self.received) < self._stops_after

    async def eof(self) -> None:
        self.end = "complete"


@pytest.fixture
def database(tmp_path: Path) -> str:
    database = f"sqlite:///{tmp_path / 'leads.sqlite3'}"
    keep(database, [submission(json.dumps({"marker": str(number)}).encode()) for number in range(LEADS)])
    return database


def test_a_stream_ends_with_its_token_though_asking_for_it_has_failed(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "RECHECK_S", 0.01)
    answers = iter([RuntimeError("unforeseen"), StoreUnavailable("away"), True, False])

    async def holds_no_more() -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def stream() -> None:
        client = Client()
        call = replace(client.call, caller=replace(ADMIN, holds=holds_no_more))
        async with api._while_it_holds(call):
            await until(lambda: client.end == "aborted", "the stream's end")

    asyncio.run(stream())


@pytest.mark.parametrize(("max_log_bytes", "end"), [(0, "aborted"), (2 * 1024**3, "complete")])
def test_an_export_ends_before_sqlites_log_fills_the_disk(
    database: str, monkeypatch: pytest.MonkeyPatch, max_log_bytes: int, end: str
) -> None:
    monkeypatch.setattr(export, "MAX_LOG_BYTES", max_log_bytes)

    class ClientDuringWhoseExportLeadsArrive(Client):
        async def send(self, piece: bytes) -> None:
            keep(database, [submission(b"{}")])
            await super().send(piece)

    client = ClientDuringWhoseExportLeadsArrive()
    asyncio.run(ExportRoutes(url_of(database), lambda: 0).export(client.call))
    assert client.end == end
    is_whole = b"".join(client.received).count(b"\r\n") == LEADS + 1
    assert is_whole == (end == "complete")


@pytest.fixture
def routes(database: str, monkeypatch: pytest.MonkeyPatch) -> StreamRoutes:
    monkeypatch.setattr(watch, "POLL_INTERVAL_S", 0.01)
    monkeypatch.setattr(watch, "MAX_WAITING", 1)
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(stream, "MAX_EVENTS", 7)
    return StreamRoutes(FeedWatch(Readers(url_of(database)), Feed()))


LISTENING = b": listening\nid: %d\n\n" % LEADS


def test_a_listener_to_whom_nothing_is_announced_gets_heartbeats(routes: StreamRoutes) -> None:
    client = Client(stops_after=4)
    asyncio.run(asyncio.wait_for(routes.listen(client.call), 20))
    assert client.received[0] == LISTENING
    assert set(client.received[1:]) == {b": still here\n\n"}
    # Nor does a proxy keep them: by default nginx does.
    assert client.headers["x-accel-buffering"] == "no"
    assert client.end == "complete"


def test_a_listener_that_is_gone_is_noticed_by_its_heartbeat_and_makes_room(routes: StreamRoutes) -> None:
    gone, later, too_many = Client(leaves_after=2), Client(stops_after=1), Client()

    async def listen() -> None:
        listening = asyncio.ensure_future(routes.listen(gone.call))
        await asyncio.sleep(0)
        with pytest.raises(TooBusy):
            await routes.listen(too_many.call)
        with suppress(ConnectionResetError):
            await asyncio.wait_for(listening, 20)
        await routes.listen(later.call)

    asyncio.run(listen())
    assert later.received == [LISTENING]


def test_a_listener_that_comes_back_goes_on_where_he_was_and_gets_each_lead_once(routes: StreamRoutes) -> None:
    client = Client(last_event_id=3, stops_after=1 + -(-(LEADS - 3) // 7))
    asyncio.run(asyncio.wait_for(routes.listen(client.call), 20))
    events = [block.splitlines() for block in b"".join(client.received[1:]).decode().split("\n\n")[:-1]]
    assert [lines[0] for lines in events] == [f"id: {seq}" for seq in range(4, LEADS + 1)]
    assert {lines[1] for lines in events} == {"event: lead.created"}
    assert [json.loads(lines[2][6:])["lead"]["marker"] for lines in events] == [str(n) for n in range(3, LEADS)]


def test_requests_that_became_no_lead_are_passed_once(
    routes: StreamRoutes, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, [submission(b"bad") for _ in range(3)])
    read_after: list[int] = []
    read = Feed.read

    def note(self: Feed, entities: Any, after: int, **how: Any) -> Any:
        page = read(self, entities, after, **how)
        read_after.append(after)
        return page

    monkeypatch.setattr(Feed, "read", note)
    client = Client(last_event_id=LEADS, stops_after=3)
    asyncio.run(asyncio.wait_for(routes.listen(client.call), 20))
    assert (read_after[:2], set(read_after[2:])) == ([LEADS, LEADS], {LEADS + 3})

    async def poll() -> Any:
        call = replace(client.call, parameters=defaultdict(lambda: None, {"after": LEADS, "wait": 20}))
        client.app.config.KEEP_ALIVE = True
        polling = asyncio.ensure_future(FeedRoutes(FeedWatch(Readers(url_of(database)), Feed())).read(call))
        await until(lambda: LEADS in read_after, "the first reading")
        await asyncio.to_thread(keep, database, [submission(b"{}")])
        return json.loads((await polling).body)

    read_after.clear()
    page = asyncio.run(asyncio.wait_for(poll(), 20))
    assert ([event["seq"] for event in page["events"]], page["next"]) == ([LEADS + 4], LEADS + 4)
    assert read_after == [LEADS, LEADS + 3]
