"""The process that delivers: it holds leases, runs a courier for each sink that it holds, and says how far they are.

It is a process beside the workers, of lower priority, so that nothing it does delays ingestion. One thread uses the
database, over one connection, for all couriers.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

from leadcrm.configuration.config import Config
from leadcrm.crm.feed import Feed
from leadcrm.database.clock import now_utc
from leadcrm.database.data_dir import lock_file
from leadcrm.database.entities import Entities
from leadcrm.database.migrations import status
from leadcrm.database.sessions import bind
from leadcrm.database.slots import ConnectionSlots
from leadcrm.delivery.board import DeliveryBoard
from leadcrm.delivery.courier import Courier
from leadcrm.delivery.ledger import LeaseShared, backlog, find_stranded, hold_leases, release_leases
from leadcrm.delivery.live import LiveSinks
from leadcrm.delivery.sink import Sink
from leadcrm.delivery.versions import take_version
from leadcrm.errors import LeadcrmError, SchemaTooOld, StoreUnavailable

TICK_S = 0.2
"""How soon a new event is noticed."""

LEASE_RENEWAL_S = 5.0
BOARD_S = 1.0
LOOK_S = 2.0

STOP_S = 5.0
"""How long the stop waits for attempts under way; what is not kept by then is delivered again."""

SLOT_S = 5.0
"""How long it waits for one of the node's connections."""

NICENESS = 5

LOCK_FILE = "deliveries.lock"
"""Holds this node's name for its leases, and is locked by the process that delivers."""

logger = logging.getLogger("leadcrm.delivery")


def run_dispatcher(
    config: Config, sinks: LiveSinks, board: DeliveryBoard, slots: ConnectionSlots | None = None
) -> bool:
    """Deliver until a signal to stop."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
    with suppress(OSError):
        os.nice(NICENESS)
    if not config.uses_data_dir:
        # Without a place for its name a node takes its own sinks back only after their leases.
        Dispatcher(config, sinks, board, _new_holder(config), slots).run(stopping)
        return True
    lock = config.data_dir / LOCK_FILE
    while not stopping.is_set():
        with lock_file(lock, exclusively=True) as is_free:
            if is_free:
                Dispatcher(config, sinks, board, _holder(config, lock), slots).run(stopping)
                return True
        # The service that this one follows still delivers.
        board.say_alive()
        stopping.wait(TICK_S)
    return True


class Dispatcher:
    """The leases and couriers of one node."""

    def __init__(
        self,
        config: Config,
        sinks: LiveSinks,
        board: DeliveryBoard,
        holder: str,
        slots: ConnectionSlots | None = None,
    ) -> None:
        """Take what is delivered; nothing is opened before `run`."""
        self._config = config
        self._sinks = sinks
        self._board = board
        self._holder = holder
        self._slots = slots
        self._slot: int | None = None
        self._renewed: dict[str, datetime] = {}
        self._since = now_utc()
        self._numbered: Mapping[str, Sink] | None = None
        """The sinks whose version the database has."""
        self._feed = Feed()
        self._couriers: dict[str, Courier] = {}
        self._ending: dict[str, Courier] = {}
        # A process that takes the place of a dead one goes on counting.
        told = board.sinks()
        self._counted: dict[str, dict[str, int]] = {name: dict(one["outcomes"]) for name, one in told.items()}
        self._entities: Entities | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leadcrm-deliveries")
        self._renew_at = self._board_at = self._look_at = 0.0
        self._newest = -1

    def run(self, stopping: threading.Event) -> None:
        """Deliver until the event is set."""
        while not stopping.is_set():
            try:
                self._tick()
            except LeadcrmError as error:
                text = "deliveries wait for the database: %s"
                logger.warning(text, error, extra={"action": "deliver", "hint": error.hint, "repeat_key": text})
                stopping.wait(1.0)
            except Exception:
                text = "the sinks could not be looked at"
                logger.exception(text, extra={"action": "deliver", "repeat_key": text})
                stopping.wait(1.0)
            stopping.wait(TICK_S)
        self._stop()

    def _tick(self) -> None:
        now = monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            before = self._sinks.sinks
            self._sinks.look()
            if self._sinks.sinks is not before:
                self._since = now_utc()
                self._renew_at = 0.0
        if now >= self._renew_at:
            self._renew()
            self._renew_at = now + LEASE_RENEWAL_S
        if self._couriers:
            self._call(self._feed.horizon.advance)
            if self._feed.horizon.settled != self._newest:
                self._newest = self._feed.horizon.settled
                for courier in self._couriers.values():
                    courier.wake()
        if now >= self._board_at:
            self._tell()
            self._board_at = now + BOARD_S

    def _renew(self) -> None:
        """Renew the leases, and let the couriers be those of the sinks that this node holds."""
        sinks = self._sinks.sinks
        try:
            held: set[str] = self._call(hold_leases, sinks, self._holder, self._since, self._renewed)
        except LeaseShared:
            # The other keeps the sinks.
            self._holder, held = _take_new_name(self._config), set()
            self._renewed.clear()
            text = "another node delivers under this node's name, so that events were delivered twice: it has a new one"
            hint = "a DATA_DIR was copied: give each node an empty one, and its own NODE_NAME"
            logger.warning(text, extra={"action": "deliver", "hint": hint})
        for name, courier in list(self._couriers.items()):
            if name in held and courier.is_alive:
                courier.sink = sinks[name]
                continue
            courier.stop()
            self._ending[name] = self._couriers.pop(name)
        for name in [name for name, courier in self._ending.items() if not courier.is_alive]:
            self._counted[name] = self._outcomes(name, self._ending.pop(name))
        # What one has under way must be kept before another takes the same events.
        for name in held - self._couriers.keys() - self._ending.keys():
            self._couriers[name] = Courier(sinks[name], self._holder, self._feed, self._call)
        if sinks is not self._numbered:
            self._number(sinks)

    def _number(self, sinks: Mapping[str, Sink]) -> None:
        """Keep the version of sinks that are in force. It is for people: no delivery waits for it."""
        try:
            version = self._call(take_version, sinks)
        except LeadcrmError as error:
            text = "the version of the sinks cannot be kept: %s"
            logger.warning(text, error, extra={"action": "sinks", "hint": error.hint, "repeat_key": text})
            return
        self._numbered = sinks
        logger.info("a version of the sinks is in force", extra={"action": "sinks", "version": version})

    def _outcomes(self, name: str, courier: Courier | None) -> dict[str, int]:
        outcomes = dict(self._counted.get(name, {}))
        for outcome, number in dict(courier.outcomes if courier else {}).items():
            outcomes[outcome] = outcomes.get(outcome, 0) + number
        return outcomes

    def _tell(self) -> None:
        """Write on the board how far all sinks are, also those that another node holds."""
        told = {}
        for name, sink in self._sinks.sinks.items():
            state = self._call(backlog, name)
            is_behind = state is not None and state.oldest is not None and sink.enabled
            told[name] = {
                "outcomes": self._outcomes(name, self._couriers.get(name) or self._ending.get(name)),
                "oldest": state.oldest.replace(tzinfo=timezone.utc).timestamp() if is_behind else None,
                "disabled": state.disabled if state is not None else "",
            }
        stranded = self._call(find_stranded, self._sinks.sinks.keys(), self._holder)
        faults = [self._sinks.fault] + [
            f"the sink {name} is not in SINKS_FILE any more: {what}" for name, what in sorted(stranded.items())
        ]
        self._board.tell(told, "; ".join(filter(None, faults)))

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function with the bound entities in the thread of the database."""
        return self._thread.submit(self._in_thread, function, arguments).result()

    def _in_thread(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if self._slots is None:
            return function(self._bound(), *arguments)
        if self._slot is None and (slot := self._slots.take(monotonic() + SLOT_S)) is not None:
            self._slot = slot
        if self._slot is None:
            raise StoreUnavailable("no connection is free", hint="a higher connection_limit in DATABASE_URL")
        try:
            return function(self._bound(), *arguments)
        finally:
            # The last one is for whoever waits.
            if self._slots.are_all_taken():
                if self._entities is not None:
                    self._entities.database.disconnect()
                self._slots.give_back(self._slot)
                self._slot = None

    def _bound(self) -> Entities:
        if self._entities is None:
            entities = bind(self._config.database)
            if status(self._config.database)[1]:
                entities.database.disconnect()
                raise SchemaTooOld("the database's schema is older than this program needs", hint="leadcrm migrate")
            self._entities = entities
        return self._entities

    def _stop(self) -> None:
        for courier in self._couriers.values():
            courier.stop()
        ends_at = monotonic() + STOP_S
        for courier in (*self._couriers.values(), *self._ending.values()):
            courier.join(max(0.0, ends_at - monotonic()))
        with suppress(LeadcrmError):
            self._call(release_leases, self._holder)


def _holder(config: Config, lock: Path) -> str:
    """Return this node's name for leases, the same after a restart: nobody else can lock its file."""
    return lock.read_text().strip() or _take_new_name(config)


def _take_new_name(config: Config) -> str:
    """Return another name for this node's leases, the same after a restart."""
    text = _new_holder(config)
    if config.uses_data_dir:
        (config.data_dir / LOCK_FILE).write_text(f"{text}\n")
    return text


def _new_holder(config: Config) -> str:
    return f"{config.node_name} {uuid4()}"
