"""Recovery: reconnects the writer to the database and drains the spool.

Each process has one recovery thread. While the writer has no store, the thread tries to connect (capped backoff with
jitter), proves the new connection with a real write and hands it over. Now and then it looks through an embedded
database for damage, and makes the writer abandon a damaged one. Then it drains the spool over a second
connection, in one process of the node at a time, while new leads go straight to the database. Once after each start,
and so after every upgrade, it replays the failed rows. Between its pauses it makes the leads of bodies that were too
laborious to be read on arrival. Every hour it prunes the feed, in turns.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import monotonic, time

from leadcrm.database.postgres import deadline
from leadcrm.database.slots import ConnectionSlots
from leadcrm.errors import LeadcrmError, StoreDamaged, StoreUnavailable
from leadcrm.ingest.driving import block
from leadcrm.ingest.leisure import REST_SHARE
from leadcrm.ingest.replay import Postponed
from leadcrm.ingest.spool.drain import DRAIN_BYTES, DRAIN_ROWS, drain_batch, refuse
from leadcrm.ingest.spool.file import unsalvaged_files
from leadcrm.ingest.spool.salvage import salvage_all
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.store.store import Store
from leadcrm.ingest.submission import SourceReader
from leadcrm.ingest.writer import Writer

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 3.0
"""The bounds of the pause between two attempts to reach the database."""

FIRST_REFUSED_PAUSE_S = 60.0
MAX_REFUSED_PAUSE_S = 3600.0
"""The pause before rows that the database refused are tried again; it doubles while none of them gets through."""

IDLE_PAUSE_S = 1.0
"""The interval between two checks of the spool, which another worker may have filled."""

POSTPONED_PAUSE_S = 0.15
"""The same while postponed rows wait and leads arrive, from which they take a quarter of a processor at most. It is
longer after a body that takes long by itself, for which the leads wait."""

POSTPONED_LOOK_S = 60.0
"""How often it looks for postponed rows that nobody tells of: their senders hung up, a command drained them, or their
node is gone."""

QUIET_S = 1.0
"""How long this process must have got no lead for them to be read without a pause."""

INSPECTION_PAUSE_S = 60.0
"""The interval between two looks for damage, each of which reads the file for half a second at most."""

FAILED_ALONE = 5
"""How often a row may fail alone in its batch, with an error that may be its own, before the row behind it is tried."""

KEPT_OUT_S = 30.0
"""How long another process may hold the spool without moving a row, such as a command that somebody has suspended."""

STUCK_ROUNDS = 3
"""After so many rounds in a row that failed beside a database that takes leads, people are told."""

SLOT_WAIT_S = 0.5
"""How long the drain waits for a slot; the writer may need a new connection meanwhile."""

TURN_S = 1.0
"""How long the drain keeps its connection while all slots are taken; then the CRM gets it for `IDLE_PAUSE_S`."""

PRUNE_INTERVAL_S = 3600.0

PRUNE_TURN_S = 1.0
"""How long old events are deleted at a time: the drain and a lost connection do not wait longer for it."""

PRUNE_WAIT_S = 3.0
"""How much longer PostgreSQL may take to answer: as long as it may for a batch."""

STOP_TIMEOUT_S = 3.0

logger = logging.getLogger("leadcrm.ingest.recovery")


class Recovery:
    """Reconnects and drains, in a thread of its own, until it is stopped."""

    def __init__(
        self,
        writer: Writer,
        spool: Spool | None,
        connect: Callable[[], Store],
        replay_failed: Callable[[Callable[[], bool]], int],
        *,
        max_decoded_bytes: int,
        database: Path | None = None,
        inspect: Callable[[], None] = lambda: None,
        replay_postponed: Callable[[], Postponed] = lambda: Postponed(0, are_left=False, longest_s=0),
        sources: SourceReader | None = None,
        slots: ConnectionSlots | None = None,
        prune_feed: Callable[[Callable[[], bool]], int] = lambda _is_stopping: 0,
        first_prune_s: float = 0.0,
    ) -> None:
        """Assemble the recovery; nothing runs before `start`.

        Args:
            writer: The writer that gets a new store after each loss.
            spool: The spool for this thread alone; None if spooling is off.
            connect: Opens a store, after applying pending migrations if that is its task; raises a `LeadcrmError`.
            replay_failed: Replays failed rows until its argument returns True, and returns how many became leads.
            max_decoded_bytes: The limit of a spooled body once its content codings are undone.
            database: The embedded database, if what was kept of it must be salvaged too.
            inspect: Looks through the database; raises `StoreDamaged`.
            replay_postponed: Makes the leads of postponed rows for a moment.
            sources: What reads the spooled bodies of sources; None if there are none.
            slots: For the connection of the drain and of the replay; None if they are not limited.
            prune_feed: Deletes old events until its argument returns True, and returns how many.
            first_prune_s: How long after the start it first does.
        """
        self._writer = writer
        self._spool = spool
        self._database = database
        self._connect = connect
        self._replay_failed = replay_failed
        self._inspect = inspect
        self._slots = slots
        self._inspect_at = monotonic() + INSPECTION_PAUSE_S
        self._has_replayed = False
        self._replay_postponed = replay_postponed
        self._are_postponed = True  # at the start there may be some
        self._postponed_look_at = 0.0  # monotonic
        self._rest_s = POSTPONED_PAUSE_S
        self._prune_feed = prune_feed
        self._prune_at = monotonic() + first_prune_s
        self._pruned = 0  # since it was last done
        self._max_decoded_bytes = max_decoded_bytes
        self._sources = sources
        self._store: Store | None = None
        self._drain_rows = DRAIN_ROWS
        self._failed_alone = 0
        self._is_to_compact = False
        self._failed_rounds = 0
        self._kept_out: tuple[str, float] | None = None  # the row that waits longest, and since when (monotonic)
        self._refused_pause_s = FIRST_REFUSED_PAUSE_S
        self._release_at = 0.0  # monotonic; at the start too
        self.fault: LeadcrmError | None = None
        """The error of the last attempt; None once an attempt has succeeded."""
        self._woken = threading.Event()
        self._has_tried = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="leadcrm-recovery", daemon=True)

    def start(self) -> None:
        """Start the thread, which connects at once."""
        self._thread.start()

    def wait_for_first_attempt(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` until the first attempt to connect has ended, with or without success."""
        self._has_tried.wait(timeout_s)

    def wake(self) -> None:
        """End the current pause, because the writer has lost its store."""
        self._woken.set()

    def replay_soon(self) -> None:
        """Make the leads of postponed rows, of which there is one now, after the current pause."""
        self._are_postponed = True

    def stop(self) -> None:
        """End the thread after its current batch. Rows left in the spool wait for the next start.

        A connection attempt that hangs ends with the process.
        """
        self._stopping = True
        self._woken.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping:
            try:
                self._salvage()
                if not self._writer.has_store:
                    self._reconnect()
                self._inspect_now_and_then()
                self._do_the_rest()
            except LeadcrmError as error:
                self.fault = error
                self._failed_rounds += 1
                text = "the database cannot be reached, or the spool cannot be drained: %s"
                repeat_key = f"{text} {type(error).__name__}"  # so that another condition is logged at once
                logger.warning(text, error, extra={"action": "recover", "hint": error.hint, "repeat_key": repeat_key})
                self._drop_store()
                # Jitter: when a database comes back, its nodes must not all connect at once.
                self._pause(pause_s * random.uniform(0.5, 1))  # noqa: S311
                pause_s = min(pause_s * 2, MAX_PAUSE_S)
            except Exception:
                self._failed_rounds += 1
                text = "recovery failed"
                logger.exception(text, extra={"action": "recover", "repeat_key": text})
                self._drop_store()
                self._pause(MAX_PAUSE_S)
            else:
                self.fault = None
                self._failed_rounds = 0
                pause_s = FIRST_PAUSE_S
                if self._writer.has_store:
                    self._pause(self._rest_s if self._are_postponed else IDLE_PAUSE_S)
        self._drop_store()
        if self._spool is not None:
            self._spool.close()

    @property
    def is_stuck(self) -> bool:
        """Say whether it fails again and again, or is kept from the spool, although the database may take leads."""
        is_kept_out = self._kept_out is not None and monotonic() - self._kept_out[1] > KEPT_OUT_S
        return is_kept_out or self._failed_rounds >= STUCK_ROUNDS

    def _do_the_rest(self) -> None:
        """Drain, replay and prune. A step that fails keeps no other from its turn, unless the database is away."""
        fault: LeadcrmError | None = None
        for step in (self._drain, self._replay_once, self._replay_for_a_moment, self._prune):
            try:
                step()
            except LeadcrmError as error:
                if isinstance(error, StoreUnavailable) and not error.sqlstate:
                    raise
                fault = fault or error
        if fault is not None:
            raise fault

    def _pause(self, seconds: float) -> None:
        self._woken.wait(seconds)
        if not self._stopping:
            self._woken.clear()

    def _reconnect(self) -> None:
        try:
            store = self._proved_store()
            self._writer.hand_over(store)
        finally:
            self._has_tried.set()
        standing = store.standing
        where = {"host": standing.host, "replication": standing.replication} if standing.host else {}
        logger.info("the database takes leads", extra={"action": "recover", **where})

    def _proved_store(self) -> Store:
        store = self._connect()
        try:
            block(store.prove())
        except BaseException:
            store.close()
            raise
        return store

    def _inspect_now_and_then(self) -> None:
        if monotonic() < self._inspect_at:
            return
        self._inspect_at = monotonic() + INSPECTION_PAUSE_S
        try:
            self._inspect()
        except StoreDamaged as damage:
            self._writer.loss = damage
            raise

    def _salvage(self) -> None:
        """Salvage the rows of damaged spool files, and of overwritten ones, into the file in use."""
        if self._spool is None or not unsalvaged_files(self._spool.data_dir, self._database):
            return
        try:
            with self._spool.drain_lock() as may_salvage:
                if may_salvage:
                    salvage_all(self._spool, self._database)
        except Exception as error:
            # A failed salvage must not stop the attempts to reach the database.
            hint = error.hint if isinstance(error, LeadcrmError) else ""
            text = "the rows of damaged or overwritten files will be salvaged later: %s"
            logger.warning(text, error, extra={"action": "salvage", "hint": hint, "repeat_key": text})

    def _drain(self) -> None:
        """Drain until the spool is empty, the database fails or the thread must end."""
        spool = self._spool
        if spool is None or (spool.is_empty() if self._is_release_due else spool.is_drained()):
            if spool is not None and self._is_to_compact and spool.is_empty():
                self._compact(spool)
            return
        with spool.drain_lock() as may_drain, self._slot() as may_connect:
            self._note_whether_kept_out(spool, may_drain=may_drain)
            if not (may_drain and may_connect):
                return
            began_at = monotonic()
            released = spool.release_refused() if self._is_release_due else 0
            moved = 0
            # Without a store the writer fills the spool meanwhile, and waits for this thread to bring it one.
            while not self._stopping and self._writer.has_store:
                if self._store is None:
                    self._store = self._proved_store()
                count = self._drain_batch(spool, self._store)
                if not count:
                    break
                moved += count
                if self._slots and monotonic() - began_at > TURN_S and self._slots.are_all_taken():
                    break
            self._drop_store()
            if moved:
                self._are_postponed = True
                logger.info("the spool was drained", extra={"action": "drain", "rows": moved})
            if spool.is_empty():
                self._is_to_compact = True
                self._compact(spool)
            elif released:
                self._schedule_release(spool, released)

    def _note_whether_kept_out(self, spool: Spool, *, may_drain: bool) -> None:
        """Note since when another process holds the spool without moving the row that waits longest."""
        first = [] if may_drain else [row.id for row in spool.oldest(1, 1)]
        if not first:
            self._kept_out = None
        elif self._kept_out is None or self._kept_out[0] != first[0]:
            self._kept_out = first[0], monotonic()

    def _compact(self, spool: Spool) -> None:
        """Give back the disk of an empty spool, at the next look if a commit or a full disk is in the way."""
        spool.compact()
        self._is_to_compact = False

    @property
    def _is_release_due(self) -> bool:
        return monotonic() >= self._release_at

    def _schedule_release(self, spool: Spool, released: int) -> None:
        """Set when rows that the database still refuses are tried again: ever later while none gets through."""
        refused = spool.status().refused
        self._refused_pause_s = (
            FIRST_REFUSED_PAUSE_S if refused < released else min(2 * self._refused_pause_s, MAX_REFUSED_PAUSE_S)
        )
        self._release_at = monotonic() + self._refused_pause_s

    def _drain_batch(self, spool: Spool, store: Store) -> int:
        """Drain one batch; halve its size after each failure of the database, double it after each success."""
        try:
            count = drain_batch(
                spool,
                store,
                max_decoded_bytes=self._max_decoded_bytes,
                sources=self._sources,
                max_rows=self._drain_rows,
            )
        except StoreUnavailable as error:
            if self._drain_rows > 1 or not error.sqlstate:
                self._failed_alone = 0
                self._drain_rows = max(1, self._drain_rows // 2)
                raise
            self._failed_alone += 1
            if self._failed_alone < FAILED_ALONE:
                raise
            self._failed_alone = 0
            count = self._pass_by_first(spool, store, error)
        self._failed_alone = 0
        self._drain_rows = min(DRAIN_ROWS, 2 * self._drain_rows)
        return count

    def _pass_by_first(self, spool: Spool, store: Store, error: StoreUnavailable) -> int:
        """Drain the row behind the first, and let that one wait as one that was refused: its error is its own.

        Raises:
            StoreUnavailable: There is no row behind it, or that one fails too, so that the error is not of a row.
        """
        first, *behind = spool.oldest(2, DRAIN_BYTES)
        if not behind:
            raise error
        count = drain_batch(
            spool, store, max_decoded_bytes=self._max_decoded_bytes, sources=self._sources, max_rows=1, behind=1
        )
        refuse(spool, first, str(error))
        # Else the first look would release it.
        self._release_at = max(self._release_at, monotonic() + self._refused_pause_s)
        return count

    def _replay_once(self) -> None:
        """Replay failed rows once, unless another process of the node is replaying them."""
        if self._has_replayed:
            return
        lock = nullcontext(True) if self._spool is None else self._spool.drain_lock()
        with lock as may_replay, self._slot() as may_connect:
            # Who holds the lock may only be draining, and be refused it in its turn.
            if not (may_replay and may_connect):
                return
            leads = self._replay_failed(lambda: self._stopping or not self._writer.has_store)
        self._has_replayed = self._writer.has_store
        if leads:
            logger.info("failed rows became leads", extra={"action": "replay", "rows": leads})

    def _replay_for_a_moment(self) -> None:
        """Make the leads of some postponed rows, unless another process of the node does."""
        if not (self._are_postponed or monotonic() >= self._postponed_look_at):
            return
        lock = nullcontext(True) if self._spool is None else self._spool.drain_lock()
        with lock as may_replay, self._slot() as may_connect:
            # While another process replays, this one looks again after a pause, not at once.
            self._rest_s = POSTPONED_PAUSE_S
            if may_replay and may_connect:
                # Before the rows are read: one that is postponed meanwhile sets it again.
                self._are_postponed, are_left = False, True
                try:
                    replayed = self._replay_postponed()
                    are_left = replayed.are_left
                    self._postponed_look_at = monotonic() + POSTPONED_LOOK_S
                finally:
                    self._are_postponed |= are_left
                if time() - (self._writer.last_commit or 0) > QUIET_S:
                    self._rest_s = 0.0
                else:
                    self._rest_s = max(POSTPONED_PAUSE_S, REST_SHARE * replayed.longest_s)

    @contextmanager
    def _slot(self) -> Iterator[bool]:
        """Hold a slot for a connection; yield False if none was free for a while."""
        if self._slots is None:
            yield True
            return
        slot = self._slots.take(monotonic() + SLOT_WAIT_S)
        try:
            yield slot is not None
        finally:
            self._drop_store()
            if slot is not None:
                self._slots.give_back(slot)

    def _prune(self) -> None:
        if monotonic() < self._prune_at:
            return
        with self._slot() as has_slot:
            if not has_slot:
                return
            ends_at = monotonic() + PRUNE_TURN_S
            # Over a connection that has fallen silent it would wait ten times as long, and the spool with it.
            with deadline(PRUNE_TURN_S + PRUNE_WAIT_S):
                self._pruned += self._prune_feed(lambda: self._stopping or monotonic() > ends_at)
        if monotonic() > ends_at:
            return
        self._prune_at = monotonic() + PRUNE_INTERVAL_S
        if self._pruned:
            logger.info("old events of the feed were deleted", extra={"action": "prune", "rows": self._pruned})
            self._pruned = 0

    def _drop_store(self) -> None:
        store, self._store = self._store, None
        if store is None:
            return
        try:
            store.close()
        except Exception:
            # What cannot be closed must not end the thread.
            text = "a connection could not be closed"
            logger.exception(text, extra={"action": "recover", "repeat_key": text})
